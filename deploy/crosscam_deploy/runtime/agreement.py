"""Whether two runtimes of one model say the same, before one takes over from the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosscam_deploy.embedding import unit_rows
from crosscam_deploy.preprocess import LetterboxTransform
from crosscam_deploy.verify.answers import SAME_BOXES, Inputs, answers_to, in_common
from crosscam_kernels.errors import CrosscamError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.runtime.base import Outputs

LEAST_COSINE = 0.995
"""Of each picture's outputs; the mean that `crosscam verify` asks of a build."""


def disagreement(
    bundle: Bundle, batch: NDArray[np.float32], usual: Outputs, other: Outputs
) -> str | None:
    """Say how the outputs of two runtimes differ; None when they agree.

    Vectors, and the raw outputs of detectors, are compared by their cosine; detectors also by the
    boxes that a run would see. The rows of end-to-end detectors have no order to compare.

    Args:
        bundle: The model.
        batch: `(B, 3, H, W)` float32, what both were asked.
        usual: Of the runtime that is trusted, in manifest order.
        other: Of the one that is not.
    """
    for name, one, two in zip(bundle.manifest.output_names, usual, other, strict=True):
        if one.shape != two.shape:
            return f"the output {name!r} has shape {two.shape} instead of {one.shape}"
    sizes = np.tile(np.array(batch.shape[:1:-1], np.int64), (len(batch), 1))
    asked = Inputs(batch, (LetterboxTransform(1.0, 1.0),) * len(batch), sizes)
    try:
        trusted, tried = (answers_to(bundle, asked, outputs) for outputs in (usual, other))
    except CrosscamError as error:  # not finite, or no vector
        return str(error)
    decoder = bundle.manifest.decoder
    if decoder is None or decoder.kind != "end2end":
        for name, one, two in zip(bundle.manifest.output_names, usual, other, strict=True):
            cosine = _least_cosine(one, two)
            if not cosine >= LEAST_COSINE:
                return f"the output {name!r} has a cosine of {cosine:.4f}, least {LEAST_COSINE}"
    common = in_common(trusted.boxes or (), tried.boxes or ())
    if common < SAME_BOXES:
        return f"{common:.0%} of the boxes in common, least {SAME_BOXES:.0%}"
    return None


def _least_cosine(one: NDArray[np.float32], two: NDArray[np.float32]) -> float:
    rows = [output.reshape(len(output), -1) for output in (one, two)]
    blank = [not each.any(1).all() for each in rows]
    if any(blank):  # nothing found anywhere has no direction
        return 1.0 if np.array_equal(rows[0], rows[1]) else 0.0
    first, second = (unit_rows(each) for each in rows)
    return float(np.einsum("nd,nd->n", first, second, dtype=np.float64).min())
