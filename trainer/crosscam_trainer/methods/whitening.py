"""Whitening inside labels: what varies between pictures of one person counts for less.

Within-class covariance normalisation: Hatch, Kajarekar and Stolcke, "Within-class covariance
normalization for SVM-based speaker recognition", Interspeech 2006. With `W` the covariance of
unit-length features around the mean of their label, features are multiplied by
``(W + r tr(W)/D I)^(-1/2)``. It is computed at once, without steps, and needs no label to hold in
more than one camera: what pose, light and the box do to a person is seen inside each.

Where labels are wrong, what tells two people apart is taken for what varies in one, and it does
harm. So it is tried on labels that it was not computed from before it is used.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from crosscam_kernels.retrieval import retrieval_metrics
from crosscam_trainer.methods.labels import mean_by_label, unit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

FOLDS = 10
"""Parts of the labels, each tried by what the others give."""
SURE = 1.645
"""Standard errors that a gain must have: less than one in twenty by chance, were it normal."""


class Trial(NamedTuple):
    """Whether whitening finds people better whom it was not computed from.

    Attributes:
        labels: How many were looked for; only those that have several pictures in a camera that has
            other labels too.
        before: Mean over these labels of the average precision of their pictures, in [0, 1]; NaN
            without any.
        after: The same with whitening.
        error: Standard error of the mean gain of a label; NaN with less than two.
    """

    labels: int
    before: float
    after: float
    error: float

    @property
    def helps(self) -> bool:
        """Whether the gain is more than chance; false where nothing could be tried."""
        return self.after - self.before > SURE * self.error

    def __str__(self) -> str:
        """Say it in a line."""
        if not self.labels:
            return "not used: no label could be looked for"
        return (
            f"{'used' if self.helps else 'not used'}: mAP inside cameras by {self.labels} labels "
            f"left out in turn {self.before:.4f} before, {self.after:.4f} after (standard error of "
            f"the gain {self.error:.4f})"
        )


def whitening(features: Tensor, labels: Tensor, ridge: float) -> Tensor:
    """Return the symmetric matrix `(D, D)` that whitens, for rows from the left.

    Its scale is such that where nothing varies more than anything else it is the identity. Computed
    in float64 on the CPU, so that all processes come to the same.

    Args:
        features: `(N, D)`.
        labels: `(N,)` int64; negative: left out.
        ridge: `r`, in mean variances; positive. The larger, the nearer to the identity.

    Returns:
        In the type and on the device of `features`; the identity where no label has two pictures
        that differ.
    """
    rows, at = unit(features.detach().cpu().double()), labels.cpu()
    rows, at = rows[at >= 0], at[at >= 0]
    eye = torch.eye(features.shape[1], dtype=torch.float64)
    if len(rows):
        rows = rows - mean_by_label(rows, at, int(at.max()) + 1)[at]
    within = rows.T @ rows
    mean = within.diagonal().mean()
    # a label of one picture leaves rounding at most
    if mean <= len(rows) * 1e-12:
        return eye.to(features)
    values, vectors = torch.linalg.eigh((within / mean + ridge * eye) / (1 + ridge))
    return ((vectors * values.rsqrt()) @ vectors.T).to(features)


def try_whitening(features: Tensor, labels: Tensor, cameras: Tensor, ridge: float) -> Trial:
    """Look for the pictures of each label inside its cameras, without and with whitening.

    Whitening is computed from the labels of the other `FOLDS` - 1 parts; the pictures of all labels
    of a camera are searched. Nothing is drawn at random.

    Args:
        features: `(N, D)` float32.
        labels: `(N,)` int64; negative: left out.
        cameras: `(N,)` int64.
        ridge: As `whitening`.
    """
    kept = (labels >= 0).cpu()
    rows, at = features.detach().cpu().float()[kept], labels.cpu()[kept]
    seen = cameras.cpu()[kept].numpy()
    before = _precision(rows, at.numpy(), seen, np.ones(len(at), bool))
    after = np.full(len(at), np.nan)
    for part in range(FOLDS):
        asked = at % FOLDS == part
        matrix = whitening(rows, torch.where(asked, -1, at), ridge)
        found = _precision(rows @ matrix, at.numpy(), seen, asked.numpy())
        after = np.where(asked, found, after)
    tried = ~np.isnan(before)
    names, of, pictures = np.unique(at.numpy()[tried], return_inverse=True, return_counts=True)
    if not len(names):
        return Trial(0, math.nan, math.nan, math.nan)
    old, new = (np.bincount(of, values[tried]) / pictures for values in (before, after))
    error = np.std(new - old, ddof=1) / math.sqrt(len(names)) if len(names) > 1 else math.nan
    return Trial(len(names), float(old.mean()), float(new.mean()), float(error))


def _precision(
    rows: Tensor, labels: NDArray[np.int64], cameras: NDArray[np.int64], asked: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the average precision of each picture in its camera, `(N,)`.

    NaN of those not asked for, or without another picture of their label there, or of another one.
    """
    found = np.full(len(rows), np.nan)
    for camera in np.unique(cameras):
        here = np.flatnonzero(cameras == camera)
        if (labels[here] == labels[here[0]]).all():
            continue
        query = here[asked[here]]
        ranks = retrieval_metrics(
            rows[query].numpy(),
            rows[here].numpy(),
            labels[query],
            labels[here],
            # a picture is its own tracklet, so it does not find itself
            protocol="tracklet",
            query_tracklets=query,
            gallery_tracklets=here,
            junk_id=None,
        ).ranks
        assert ranks is not None
        found[query] = ranks.average_precision
    return found
