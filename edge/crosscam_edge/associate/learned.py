"""What footage of a site has taught about a model: where the next association begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crosscam_edge.associate.calibrate import ScoreModel

MOST_PAIRS = 100.0
"""Pairs that older footage counts for at most: light, clothes and cameras change."""
MOST_PEOPLE = 30.0
"""People that it counts for at most where the colour cast of a camera is told."""


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """Scores and colour casts of a site, learned from earlier footage with one model.

    A run that is given them does not begin from what is true of any site. They are no rule: what
    the run shows itself is weighed against them.

    Attributes:
        model_id: The model; scores of another one lie elsewhere.
        cameras: The C cameras that something is known of.
        shift: `(C, D)` to subtract from the embeddings of each.
        people: `(C,)` people whom that was told from.
        impostors: Mean and standard deviation of pairs seen at once in one camera.
        ends: Mean similarity of the two ends of a tracklet.
        pairs: Certain pairs of either kind that stand behind these figures, the fewer of the two.
        across: Scores of pairs of two cameras.
        within: Scores of pairs of one.
        least_threshold: Similarity below which two tracklets of different cameras never count as
            one person by their looks; None where nobody asked for one.
    """

    model_id: str
    cameras: tuple[str, ...]
    shift: NDArray[np.float64]
    people: NDArray[np.float64]
    impostors: tuple[float, float]
    ends: float
    pairs: int
    across: ScoreModel
    within: ScoreModel
    least_threshold: float | None = None

    def require(self, model_id: str) -> None:
        """Refuse to be used with another model.

        Raises:
            InputError: `model_id` is not that of the calibration.
        """
        if model_id != self.model_id:
            raise InputError(
                f"the calibration is of model {self.model_id[:16]}, the run uses {model_id[:16]}",
                expected="a calibration made with the very model of the run",
                fix="calibrate anew: process some footage with this model, then crosscam calibrate",
            )

    def shift_of(self, names: Sequence[str], dim: int) -> NDArray[np.float64]:
        """Return `(len(names), dim)` to begin with; of a new camera what all have in common."""
        out = np.tile(self._centre(dim), (len(names), 1))
        for row, name in enumerate(names):
            if name in self.cameras:
                out[row] = self.shift[self.cameras.index(name)]
        return out

    def blend(
        self, shift: NDArray[np.float64], names: Sequence[str], people: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Return `(N, D)`: what a run has told of its cameras, weighed with what was known.

        Args:
            shift: `(N, D)` of the run.
            names: Its N cameras.
            people: `(N,)` people that the run has seen in each.
        """
        known = self.shift_of(names, shift.shape[1])
        common = float(np.min(self.people)) if len(self.people) else 0.0
        before = np.array(
            [
                self.people[self.cameras.index(name)] if name in self.cameras else common
                for name in names
            ]
        )
        before = np.minimum(before, MOST_PEOPLE)
        kept = before / np.maximum(before + people, 1.0)
        out: NDArray[np.float64] = kept[:, None] * known + (1.0 - kept)[:, None] * shift
        return out

    def _centre(self, dim: int) -> NDArray[np.float64]:
        if len(self.cameras) and self.shift.shape[1] != dim:
            raise InputError(
                f"the calibration has colour casts of length {self.shift.shape[1]}",
                expected=f"{dim}, the length of the run's embeddings",
                fix="calibrate anew with this model",
            )
        centre: NDArray[np.float64] = (
            self.shift.mean(axis=0) if len(self.cameras) else np.zeros(dim)
        )
        return centre


def people_by_camera(
    camera: NDArray[np.int64], person: NDArray[np.int64], cameras: int
) -> NDArray[np.float64]:
    """Return `(cameras,)`: how many different people each camera has seen.

    Args:
        camera: `(N,)` camera numbers.
        person: `(N,)` who each tracklet is.
        cameras: Number of cameras.
    """
    pairs = np.unique(np.stack([camera, person]), axis=1)
    return np.bincount(pairs[0], minlength=cameras).astype(np.float64)
