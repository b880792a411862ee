"""What a run must do to be solved, however its pairs are held."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from crosscam_edge.associate import calibrate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from crosscam_edge.associate.calibrate import ScoreModel
    from crosscam_edge.associate.knowledge import Knowledge
    from crosscam_edge.associate.learned import Learned
    from crosscam_edge.associate.types import Assignment, Calibration


@dataclass(frozen=True, slots=True)
class Attempt:
    """One solution of a run.

    Attributes:
        labels: `(N,)` groups of the tracklets in order of time.
        calibration: What was learned.
        knowledge: The same, to judge further tracklets by.
        explain: Returns why each tracklet has its identity; holds the similarities of all pairs.
    """

    labels: NDArray[np.int64]
    calibration: Calibration
    knowledge: Knowledge
    explain: Callable[[], list[Assignment]]


class Run(Protocol):
    """The tracklets of a run in order of time, and all that does not change between attempts."""

    mean: NDArray[np.floating]
    camera: NDArray[np.int64]

    def attempt(
        self,
        model_id: str,
        shift: NDArray[np.float64],
        impostor_prior: float,
        rivals: int,
        transits: Mapping[tuple[str, str], Sequence[float]],
    ) -> Attempt:
        """Score, calibrate and solve once.

        Args:
            model_id: The model that made the embeddings.
            shift: `(C, D)` to subtract from the embeddings of each camera.
            impostor_prior: Expected mean similarity of two people in this space.
            rivals: People among whom a tracklet could be mistaken for another.
            transits: Seconds of the transits found so far, per ordered pair of cameras.
        """
        ...


def fit_models(
    impostors: NDArray[np.float32],
    ends: NDArray[np.float32],
    *,
    across: NDArray[np.float32],
    within: NDArray[np.float32],
    best: NDArray[np.float32],
    impostor_prior: float,
    rivals: int,
    sights: float,
    learned: Learned | None = None,
) -> tuple[ScoreModel, ScoreModel]:
    """Return the score models of pairs of two cameras, and of pairs of one.

    Args:
        impostors: Similarities of pairs seen at once in one camera.
        ends: Similarities of the two ends of tracklets.
        across: Similarities of pairs of different cameras.
        within: Similarities of pairs of one camera that are not seen at once.
        best: Similarities of mutually best pairs of different cameras.
        impostor_prior: Expected mean similarity of two people in this space.
        rivals: People among whom a tracklet could be mistaken for another.
        sights: Tracklets that a person has in the mean.
        learned: What earlier footage of the site has shown.
    """
    model = calibrate.fit(
        impostors,
        ends,
        across,
        impostor_prior=impostor_prior,
        transfer=calibrate.ACROSS,
        rivals=rivals,
        sights=sights,
        best=best,
        prior=calibrate.Prior.of(learned, across=True),
    )
    returning = calibrate.fit(
        impostors,
        ends,
        within,
        impostor_prior=impostor_prior,
        transfer=calibrate.RETURN,
        rivals=rivals,
        sights=sights,
        prior=calibrate.Prior.of(learned, across=False),
    )
    # One camera shows a person, and two people, more alike than two cameras do.
    if returning.threshold < model.threshold:
        returning = replace(returning, threshold=model.threshold)
    return model, returning
