"""Association of ever more tracklets: time, peak memory, and what is found.

python benchmarks/associate_scale.py --output benchmarks/results/associate_scale.json

Made embeddings: people that walk past all cameras in every lap, with a cast per camera and noise
per tracklet and per embedding. Each row is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from crosscam_edge.associate import associate, pipeline
from crosscam_edge.types import Tracklet

# people, cameras, laps, noise, whether all pairs are held as well
ROWS = [
    (50, 4, 5, 0.8, True),
    (25, 3, 12, 1.2, True),
    (100, 4, 6, 1.0, True),
    (250, 4, 5, 0.8, False),
    (500, 4, 10, 0.8, False),
    (1000, 4, 5, 0.8, False),
    (1000, 4, 5, 1.1, False),
    (2000, 4, 5, 0.8, False),
]
DIM = 256


def day(
    people: int, cameras: int, laps: int, noise: float, seed: int = 1
) -> tuple[list[Tracklet], np.ndarray]:
    """Return tracklets and the person of each."""
    rng = np.random.default_rng(seed)
    looks, casts = rng.normal(size=(people, DIM)), 0.5 * rng.normal(size=(cameras, DIM))
    common = rng.normal(size=DIM)
    out, truth = [], []
    for lap in range(laps):
        for c in range(cameras):
            for p in range(people):
                start = lap * max(90.0, people * 2.0) + p * 1.5 + c * 10
                look = common + looks[p] + casts[c] + noise * rng.normal(size=DIM)
                e = look + noise * rng.normal(size=(6, DIM))
                e = (e / np.linalg.norm(e, axis=1, keepdims=True)).astype(np.float32)
                box = np.zeros(4, np.float32)
                times = np.arange(6, dtype=np.int64)
                out.append(
                    Tracklet(
                        f"c{c}", len(out), int(start * 1e9), int((start + 4) * 1e9),
                        int(start * 10), int(start * 10) + 40, 41, box, box, (640, 480),
                        e, times, np.ones(6, np.float32),
                    )
                )  # fmt: skip
                truth.append(p)
    return out, np.array(truth)


def pair_figures(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return precision, recall and F1 of pairs of tracklets, without looking at each pair."""

    def pairs(labels: np.ndarray) -> int:
        counts = np.unique(labels, axis=-1, return_counts=True)[1].astype(np.int64)
        return int((counts * (counts - 1) // 2).sum())

    hits, claimed, real = pairs(np.stack([found, truth])), pairs(found), pairs(truth)
    return {
        "precision": round(hits / max(claimed, 1), 4),
        "recall": round(hits / max(real, 1), 4),
        "f1": round(2 * hits / max(claimed + real, 1), 4),
        "identities": len(np.unique(found)),
    }


def measure(row: int, dense: bool) -> dict[str, float]:
    """Return the figures of one row; only good for a process that does nothing else."""
    items, truth = day(*ROWS[row][:4])
    pipeline.DENSE = len(items) if dense else 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    result = associate(items, model_id="benchmark")
    figures = {
        "tracklets": len(items),
        "cpu_s": round(time.process_time() - cpu, 1),
        "wall_s": round(time.perf_counter() - wall, 1),
        "made_mib": before // 1024,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    return figures | pair_figures(np.array([a.global_id for a in result.assignments]), truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--most", type=int, default=40_000, help="tracklets of the largest row")
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--dense", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.row is not None:
        print(json.dumps(measure(args.row, args.dense)))
        return
    table = []
    for number, (people, cameras, laps, noise, both) in enumerate(ROWS):
        if people * cameras * laps > args.most:
            continue
        for dense in (True, False) if both else (False,):
            command = [sys.executable, __file__, "--row", str(number), *["--dense"] * dense]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            path = "dense" if dense else "sparse"
            setting = {"people": people, "cameras": cameras, "noise": noise, "path": path}
            table.append(setting | json.loads(done.stdout))
            print(table[-1], flush=True)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        document = {"processors": os.cpu_count(), "dimension": DIM, "rows": table}
        args.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
