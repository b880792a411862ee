"""`normalise_quantise` on the CPU against NumPy and, where it is installed, eager torch.

python benchmarks/kernels_normalise.py [--threads 2] [--output FILE]

Every rival's answer is checked first; the sides take turns (see kernels_cpu.py).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from kernels_cpu import Side, environment, report, timed

from crosscam_kernels import normalise_quantise
from crosscam_kernels.reference import normalise as reference

SHAPES = [(64, 512), (1000, 512), (100_000, 512), (20_000, 2048)]


def with_numpy(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    scale = np.abs(unit).max(axis=1) / 127
    return np.rint(unit / scale[:, None]).astype(np.int8), scale


def torch_side(x: np.ndarray, threads: int) -> Side | None:
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads)
    rows = torch.from_numpy(x)

    def run() -> Any:
        unit = torch.nn.functional.normalize(rows)
        scale = unit.abs().amax(1) / 127
        codes = torch.round(unit / scale[:, None]).to(torch.int8)
        return codes.numpy(), scale.numpy()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    rows = []
    for n, d in SHAPES:
        x = np.random.default_rng(0).standard_normal((n, d)).astype(np.float32)
        sides: dict[str, Side] = {
            "crosscam": lambda x=x: normalise_quantise(x, threads=arguments.threads),
            "numpy": lambda x=x: with_numpy(x),
        }
        eager = torch_side(x, arguments.threads)
        if eager is not None:
            sides["torch eager"] = eager
        wanted = reference.normalise_quantise(x[:1000])
        for name, side in sides.items():
            codes, scale = side()
            assert np.abs(codes[:1000].astype(int) - wanted.codes).max() <= 1, name
            np.testing.assert_allclose(scale[:1000], wanted.scale, rtol=1e-5, err_msg=name)
        times = timed(sides, 30 if n <= 1000 else 9)
        rows.append(report({"op": "normalise_quantise", "N": n, "D": d}, times))
    if arguments.output:
        result = {"environment": environment(arguments.threads), "rows": rows}
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
