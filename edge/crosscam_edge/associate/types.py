"""Results of association: which tracklets are the same person, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crosscam_edge.types import TrackletKey


class Reason(StrEnum):
    """Why a tracklet carries its global id."""

    CREATED = "created"
    MATCHED = "matched"


@dataclass(frozen=True, slots=True)
class Assignment:
    """The identity of one tracklet and the evidence for it.

    Attributes:
        key: The tracklet.
        global_id: Identity, from 1.
        reason: Whether the tracklet started the identity or was matched to it.
        score: Similarity to the rest of its identity; NaN when there is no rest.
        runner_up: Similarity to the best other identity it could have had; NaN when there is none.
        runner_up_id: That identity; 0 when there is none.
        matched_to: The tracklet it was joined to first; None when it started the identity.
    """

    key: TrackletKey
    global_id: int
    reason: Reason
    score: float
    runner_up: float
    runner_up_id: int
    matched_to: TrackletKey | None

    @property
    def margin(self) -> float:
        """How far the chosen identity is ahead of the runner-up; NaN when either is missing."""
        return self.score - self.runner_up


@dataclass(frozen=True, slots=True)
class Calibration:
    """Score statistics learned from the run itself, and the threshold that follows.

    Attributes:
        model_id: Embedding space in which the scores were made.
        threshold: Similarity from which two tracklets of different cameras count as one person.
        bin_edges: `(B + 1,)` similarity.
        genuine: `(B,)` counts of pairs that are certainly one person (halves of tracklets).
        impostor: `(B,)` counts of pairs that are certainly two (seen at once in one camera).
        fmr: False match rate on the impostors at the threshold, in [0, 1].
        fnmr: False non-match rate on the genuines at the threshold, in [0, 1].
        source: ``"run"`` when learned from enough pairs of this run, ``"prior"`` otherwise.
    """

    model_id: str
    threshold: float
    bin_edges: NDArray[np.float64]
    genuine: NDArray[np.int64]
    impostor: NDArray[np.int64]
    fmr: float
    fnmr: float
    source: str


@dataclass(frozen=True, slots=True)
class Association:
    """Outcome of the offline association of a run.

    Attributes:
        assignments: One for each tracklet, in order of the input.
        calibration: What was learned and used.
        transits: Seconds between leaving a camera and appearing in another, per ordered pair.
    """

    assignments: list[Assignment]
    calibration: Calibration
    transits: dict[tuple[str, str], list[float]] = field(default_factory=dict)
