"""Identity scores: how much of everyone's time carries the one id that fits best.

Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking", 2016.
Over the union of cameras this is the score of multi-camera benchmarks (AI City, NVIDIA MTMC).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from crosscam_edge.evaluate.alignment import Alignment


@dataclass(frozen=True, slots=True)
class IdentityScores:
    """Identity scores; ratios in [0, 1].

    Attributes:
        idf1: Harmonic mean of `idp` and `idr`.
        idp: Share of the predicted boxes under the right id.
        idr: Share of the true boxes under the right id.
        idtp: Boxes under the right id.
        idfp: Predicted boxes that are not.
        idfn: True boxes that are not.
    """

    idf1: float
    idp: float
    idr: float
    idtp: int
    idfp: int
    idfn: int


def identity_scores(pairs: Alignment, iou: float = 0.5) -> IdentityScores:
    """Compute the identity scores.

    The assignment of true to predicted ids with the most common frames also has the fewest errors,
    since every box is either an ``idtp`` or an error; no padding for unmatched ids is needed.

    Args:
        pairs: Both sequences side by side.
        iou: Least overlap of a common frame.
    """
    close = pairs.iou >= iou
    cell = (
        pairs.gt_id[pairs.pair_gt[close]] * pairs.pred_ids + pairs.pred_id[pairs.pair_pred[close]]
    )
    common = np.bincount(cell, minlength=pairs.gt_ids * pairs.pred_ids)
    common = common.reshape(pairs.gt_ids, pairs.pred_ids)
    rows, columns = linear_sum_assignment(common, maximize=True)
    idtp = int(common[rows, columns].sum())
    idfn, idfp = len(pairs.gt_id) - idtp, len(pairs.pred_id) - idtp
    return IdentityScores(
        idf1=idtp / max(1.0, idtp + 0.5 * idfp + 0.5 * idfn),
        idp=idtp / max(1, idtp + idfp),
        idr=idtp / max(1, idtp + idfn),
        idtp=idtp,
        idfp=idfp,
        idfn=idfn,
    )
