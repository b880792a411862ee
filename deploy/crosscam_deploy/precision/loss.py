"""How much of what a model says is lost: a number for each picture, 0 for nothing, 1 for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crosscam_deploy.detection_scores import overlaps
from crosscam_deploy.verify.answers import answers_to
from crosscam_kernels.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.detections import Detections
    from crosscam_deploy.verify.answers import Inputs

    Outputs = Sequence[NDArray[np.float32]]

_SCORE = 0.1  # below, no run looks at boxes, and their scores are noise


@dataclass(frozen=True, slots=True)
class Limits:
    """Most that may be lost.

    Attributes:
        mean: Over pictures.
        worst: Of one picture.
    """

    mean: float
    worst: float

    def share(self, lost: NDArray[np.float64]) -> float:
        """Return how much of the limits losses take, above 1 when they are too high."""
        return max(float(lost.mean()) / self.mean, float(lost.max()) / self.worst)


def lost(
    bundle: Bundle, inputs: Inputs, reference: Outputs, candidate: Outputs
) -> NDArray[np.float64]:
    """Compare a model's outputs with those of the float model.

    Args:
        bundle: Of either.
        inputs: The pictures.
        reference: Outputs of the float graph, in manifest order.
        candidate: Of the other graph.

    Returns:
        `(N,)`. Embeddings: 1 - cosine. Boxes: the share of the reference's boxes, weighted by their
        scores, that is not covered by boxes of similar score; boxes that only the candidate has
        count as much. 1 for all when the candidate's outputs are no answers.
    """
    was = answers_to(bundle, inputs, reference)
    try:
        becomes = answers_to(bundle, inputs, candidate)
    except RunError:  # numbers that are not finite, or vectors without a direction
        return np.ones(len(inputs.batch))
    if was.rows is not None and becomes.rows is not None:
        cosines = (was.rows.astype(np.float64) * becomes.rows).sum(1)
        return np.asarray(np.clip(1 - cosines, 0, 2))
    pairs = zip(was.boxes or (), becomes.boxes or (), strict=True)
    return np.array([_missing(one, two) for one, two in pairs])


def _missing(was: Detections, becomes: Detections) -> float:
    uncovered, weight = 0.0, 0.0
    for mine, theirs in ((was, becomes), (becomes, was)):
        sure = mine[mine.confidence >= _SCORE]
        if not len(sure):
            continue
        covered = np.zeros(len(sure))
        if len(theirs):
            ratio = sure.confidence[:, None] / np.maximum(theirs.confidence[None, :], 1e-6)
            likeness = overlaps(sure.xyxy, theirs.xyxy) * np.minimum(ratio, 1 / ratio)
            covered = likeness.max(1)
        uncovered += float((sure.confidence * (1 - covered)).sum())
        weight += float(sure.confidence.sum())
    return uncovered / weight if weight else 0.0
