"""The types that a family of GPU benchmarks is written in; see the package's docstring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

OURS = "crosscam"
Side = Callable[[], Any]
# On the CPU torch.compile takes seconds to test nothing of ours; a slow test adds it.
COMPILED_ON = {"cuda"}


class WrongAnswerError(Exception):
    """A side's answer is not the one of the specification."""


@dataclass(frozen=True)
class Sides:
    """One problem in memory, and who solves it.

    Attributes:
        run: Name to a function without arguments that solves the problem once. The one named
            ``"crosscam"`` is ours and must be there; further sides of ours start with it
            (``"crosscam, groups"``).
        check: Given a side's name and its answer, raises `WrongAnswerError` (or `AssertionError`)
            if the answer is not that of the float64 specification.
        missing: Peers that are not run, and why (``{"flashlib": "not installed"}``).
    """

    run: Mapping[str, Side]
    check: Callable[[str, Any], None]
    missing: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if OURS not in self.run:
            raise ValueError(f"sides {list(self.run)} lack {OURS!r}")


@dataclass(frozen=True)
class Case:
    """One row group of the result: an operator at one shape.

    Attributes:
        op: Public name of the operator.
        shape: Sizes by their usual letters, and other parameters worth a column.
        dtype: Type of the large operand, a name of torch (``"float16"``).
        prepare: Makes the problem; called once, when the case is measured.
        bytes_moved: Least bytes that any solution must move.
        flops: Least floating-point (or integer) operations on the matrix units; 0 where none.
        rate: Type whose measured matrix rate bounds the case; `dtype` where empty.
        graph: Also measure the sides captured into a CUDA graph (for launch-bound cases).
        direction: ``"forward"`` or ``"forward+backward"``, for operators that have both.
    """

    op: str
    shape: Mapping[str, int | str]
    dtype: str
    prepare: Callable[[], Sides]
    bytes_moved: int
    flops: int
    rate: str = ""
    graph: bool = False
    direction: str = "forward"

    @property
    def label(self) -> str:
        """One line that names the case."""
        sizes = " ".join(f"{key}={value}" for key, value in self.shape.items())
        return f"{self.op} {sizes} {self.dtype} {self.direction}"


def compiled(
    device: torch.device, function: Callable[..., Any], *, dynamic: bool = False
) -> dict[str, Callable[..., Any]]:
    """``{"torch.compile": function}`` compiled when first called; empty where that is not done."""
    if device.type not in COMPILED_ON:
        return {}
    return {"torch.compile": torch.compile(function, dynamic=dynamic)}


def assert_close(found: Any, wanted: torch.Tensor, *, rtol: float, atol: float) -> None:
    """Raises `WrongAnswerError` unless `found` is `wanted` within the tolerances, in float64."""
    try:
        torch.testing.assert_close(
            torch.as_tensor(found).detach().double().cpu(),
            wanted.detach().double().cpu(),
            rtol=rtol,
            atol=atol,
        )
    except AssertionError as error:
        raise WrongAnswerError(" ".join(str(error).split())) from error
