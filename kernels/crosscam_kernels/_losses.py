"""What the training losses have in common when they are given NumPy arrays."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crosscam_kernels.errors import UsageError

Reduction = Literal["mean", "sum", "none"]
REDUCTIONS: tuple[Reduction, ...] = ("mean", "sum", "none")


class LossAndGradient(NamedTuple):
    """Value and gradient of a loss, for callers without automatic differentiation.

    Attributes:
        loss: () float32, or (N,) with ``reduction="none"``.
        gradient: (N, D) float32 gradient of the loss with respect to the features; with
            ``reduction="none"``, row i is the gradient of loss i.
    """

    loss: NDArray[np.float32]
    gradient: NDArray[np.float32]


def check_reduction(reduction: str) -> None:
    """Checks the name of a reduction.

    Raises:
        UsageError: It is none of `REDUCTIONS`.
    """
    if reduction not in REDUCTIONS:
        raise UsageError(f"reduction={reduction!r}", expected="one of " + ", ".join(REDUCTIONS))


def check_temperature(temperature: float) -> None:
    """Checks the temperature of a softmax.

    Raises:
        UsageError: It is not a positive finite number.
    """
    if not 0 < temperature < float("inf"):
        raise UsageError(f"temperature={temperature}", expected="a positive number")


def sample_weight(counted: NDArray[np.bool_], reduction: str) -> NDArray[np.float32]:
    """(N,) float32: what each sample's loss is multiplied by before they are added up."""
    share = 1.0 / max(1, int(counted.sum())) if reduction == "mean" else 1.0
    return np.full(counted.shape, share, np.float32)


def reduced(
    losses: NDArray[np.float32], weight: NDArray[np.float32], reduction: str
) -> NDArray[np.float32]:
    """The losses, or their weighted sum, added in float64."""
    if reduction == "none":
        return losses
    return np.asarray(np.dot(losses.astype(np.float64), weight.astype(np.float64)), np.float32)
