"""Measures the scores of a model on a site's own footage; nobody has to label anything.

Certain impostors are tracklets seen at once in one camera, certain genuines the two ends of one
tracklet. All else is what the association itself makes of the footage, solved as a whole.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from crosscam_edge.associate.calibrate import MIN_PAIRS
from crosscam_edge.associate.learned import people_by_camera
from crosscam_edge.associate.pipeline import solve
from crosscam_edge.calibration.file import (
    CameraCast,
    OperatingPoint,
    Scores,
    SiteCalibration,
)
from crosscam_kernels.errors import InputError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.associate.calibrate import ScoreModel
    from crosscam_edge.calibration.footage import Footage

_LEAST_PEOPLE = 3
_DIGITS = 6  # of a colour cast: finer than float32 embeddings are told apart by


def calibrate(footage: Footage, *, run: str, fmr: float | None = None) -> SiteCalibration:
    """Measure a model's scores on a site.

    Args:
        footage: What was seen.
        run: Name of it, for people.
        fmr: Most false matches among the certain impostors, as a share in (0, 1): pairs of two
            cameras that are less alike than that never count as one person by their looks. None
            leaves the threshold where the association finds it.

    Raises:
        UsageError: `fmr` is out of range.
        InputError: The footage has too few certain pairs or people, or none of its impostors is as
            rare as `fmr`.
    """
    if fmr is not None and not 0 < fmr < 1:
        raise UsageError(
            f"fmr is {fmr:g}", expected="a share above 0 and below 1", fix="correct it"
        )
    tracklets = footage.tracklets
    found = solve(tracklets, model_id=footage.model_id, config=footage.site)
    scores, knowledge = found.calibration, found.knowledge
    names = knowledge.names
    number = {name: k for k, name in enumerate(names)}
    camera = np.array([number[t.camera_id] for t in tracklets], np.int64)
    people = people_by_camera(camera, found.labels, len(names))
    least = min(int(scores.genuine.sum()), int(scores.impostor.sum()))
    if least < MIN_PAIRS or len(np.unique(found.labels)) < _LEAST_PEOPLE:
        raise InputError(
            f"too little was seen to calibrate with: {scores.impostor.sum()} pairs of people seen "
            f"at once in one camera, {scores.genuine.sum()} tracks that are long enough to compare "
            f"their ends, {len(np.unique(found.labels))} people",
            expected=f"at least {MIN_PAIRS} of both kinds of pairs, and {_LEAST_PEOPLE} people",
            fix="take a longer recording, or one of a busier hour",
        )
    centres = (scores.bin_edges[:-1] + scores.bin_edges[1:]) / 2
    threshold = float(knowledge.across.threshold)
    if fmr is not None:
        threshold = max(threshold, threshold_at(scores.impostor, scores.bin_edges, fmr))
    chosen = knowledge.across.threshold < threshold
    counts = np.bincount(camera, minlength=len(names))
    return SiteCalibration(
        crosscam_version=version("crosscam"),
        created=datetime.now(UTC),
        model_id=footage.model_id,
        run=run,
        cameras={
            name: CameraCast(
                people=int(people[k]),
                tracklets=int(counts[k]),
                shift=[round(float(v), _DIGITS) for v in knowledge.shift[k]],
            )
            for k, name in enumerate(names)
        },
        operating_point=_point(scores.genuine, scores.impostor, centres, knowledge.across,
                               threshold, by_fmr=chosen),
        impostors=_moments(centres, scores.impostor),
        ends=_moments(centres, scores.genuine)[0],
        across=Scores.of(knowledge.across),
        within=Scores.of(knowledge.within),
        genuine=scores.genuine.tolist(),
        impostor=scores.impostor.tolist(),
    )  # fmt: skip


def rates(
    genuine: NDArray[np.int64], impostor: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return `(B + 1,)` false match and false non-match rates at the edges of `(B,)` counts."""
    above = np.concatenate([np.cumsum(impostor[::-1])[::-1], [0]])
    below = np.concatenate([[0], np.cumsum(genuine)])
    return above / max(int(impostor.sum()), 1), below / max(int(genuine.sum()), 1)


def threshold_at(impostor: NDArray[np.int64], edges: NDArray[np.float64], fmr: float) -> float:
    """Return the lowest edge above which there are no more impostors than the share `fmr`.

    Raises:
        InputError: There are so few impostors that such a share cannot be told.
    """
    count = int(impostor.sum())
    if fmr * count < 1:
        raise InputError(
            f"{count} certain impostors cannot tell a false match rate of {fmr:g}",
            expected=f"at least {int(np.ceil(1 / fmr))} of them",
            fix="take a longer recording, or a higher rate",
        )
    match, _ = rates(np.zeros_like(impostor), impostor)
    return float(edges[int(np.argmax(match <= fmr))])


def _point(
    genuine: NDArray[np.int64],
    impostor: NDArray[np.int64],
    centres: NDArray[np.float64],
    across: ScoreModel,
    threshold: float,
    *,
    by_fmr: bool,
) -> OperatingPoint:
    return OperatingPoint(
        threshold=threshold,
        chosen="fmr" if by_fmr else "learned",
        fmr=float(impostor[centres >= threshold].sum() / impostor.sum()),
        fnmr=float(genuine[centres < threshold].sum() / genuine.sum()),
        fmr_across=float(ndtr((across.impostor[0] - threshold) / across.impostor[1])),
        fnmr_across=float(ndtr((threshold - across.genuine[0]) / across.genuine[1])),
    )


def _moments(centres: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[float, float]:
    """Return mean and standard deviation of `(B,)` counts; at least that of one bin."""
    mean = float(centres @ counts / counts.sum())
    spread = float(np.sqrt((centres - mean) ** 2 @ counts / counts.sum()))
    return mean, max(spread, float(centres[1] - centres[0]) / np.sqrt(12.0))
