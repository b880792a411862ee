"""`normalise_quantise` of a frame's crops and of a whole gallery, against torch."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from crosscam_kernels import normalise_quantise
from gpu_cases.protocol import Case, Side, Sides, WrongAnswerError, assert_close, compiled


def eager(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    unit = torch.nn.functional.normalize(rows.float())
    scale = unit.abs().amax(1) / 127
    codes = torch.round(unit / scale[:, None].clamp_min(1e-30)).to(torch.int8)
    return codes, scale


def check(rows: torch.Tensor, name: str, found: Any) -> None:
    """The first rows in float64; codes may differ by one where 127 y is a hair from a half."""
    del name
    codes, scale = found
    few = rows[:64].double()
    peak = few.abs().amax(1)
    wanted = torch.round(few / peak[:, None] * 127)
    if (codes[:64].double() - wanted).abs().max().item() > 1:
        raise WrongAnswerError("codes differ by more than one")
    assert_close(scale[:64], peak / few.norm(dim=1) / 127, rtol=1e-5, atol=0)


def quantise_case(device: torch.device, n: int, d: int, dtype: torch.dtype) -> Case:
    def prepare() -> Sides:
        rows = torch.randn(n, d, device=device, generator=torch.Generator(device).manual_seed(0))
        rows = rows.to(dtype)
        run: dict[str, Side] = {
            "crosscam": partial(normalise_quantise, rows),
            "torch eager": partial(eager, rows),
        }
        for name, function in compiled(device, eager).items():
            run[name] = partial(function, rows)
        return Sides(run, partial(check, rows))

    return Case(
        "normalise_quantise",
        {"N": n, "D": d},
        str(dtype).removeprefix("torch."),
        prepare,
        bytes_moved=n * d * (dtype.itemsize + 1) + 4 * n,
        flops=0,
        graph=n <= 4096,
    )


def cases(device: torch.device, tiny: bool) -> list[Case]:
    if tiny:
        return [quantise_case(device, 16, 40, torch.float32)]
    shapes = [(1_000_000, 512), (64, 512), (100_000, 2048)]
    return [quantise_case(device, n, d, torch.float16) for n, d in shapes]
