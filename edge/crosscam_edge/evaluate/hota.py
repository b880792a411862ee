"""HOTA: detection and association in equal parts, averaged over how strict localisation is.

Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", IJCV 2021,
equations 15 to 27; agrees with TrackEval 1.3, against which it is tested.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.evaluate.alignment import EPS, match_best

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.evaluate.alignment import Alignment

ALPHAS: NDArray[np.float64] = np.arange(0.05, 0.99, 0.05)


@dataclass(frozen=True, slots=True)
class HotaScores:
    """HOTA and its parts, each the mean over the 19 overlaps .05, .10 … .95, in [0, 1].

    Attributes:
        hota: Geometric mean of detection and association accuracy.
        deta: Detection accuracy.
        assa: Association accuracy.
        loca: Localisation accuracy, mean IoU of the matches.
        detre: Detection recall.
        detpr: Detection precision.
        assre: Association recall.
        asspr: Association precision.
        hota_alpha: `hota` at each overlap.
    """

    hota: float
    deta: float
    assa: float
    loca: float
    detre: float
    detpr: float
    assre: float
    asspr: float
    hota_alpha: tuple[float, ...]


def hota_scores(pairs: Alignment) -> HotaScores:
    """Compute the HOTA scores.

    Args:
        pairs: Both sequences side by side.
    """
    gt_count = np.bincount(pairs.gt_id, minlength=pairs.gt_ids).astype(np.float64)
    pred_count = np.bincount(pairs.pred_id, minlength=pairs.pred_ids).astype(np.float64)
    gt, pred = _matches(pairs, gt_count, pred_count)
    iou = _iou_of(pairs, gt, pred)
    who, as_whom = pairs.gt_id[gt], pairs.pred_id[pred]
    cell = who * max(1, pairs.pred_ids) + as_whom
    rows = []
    for alpha in ALPHAS:
        keep = iou >= alpha - EPS
        tp = int(keep.sum())
        deta = tp / max(1, len(pairs.gt_id) + len(pairs.pred_id) - tp)
        detre = tp / max(1, len(pairs.gt_id))
        detpr = tp / max(1, len(pairs.pred_id))
        cells, count = np.unique(cell[keep], return_counts=True)
        n_gt = gt_count[cells // max(1, pairs.pred_ids)]
        n_pred = pred_count[cells % max(1, pairs.pred_ids)]
        assa = float(np.sum(count * count / (n_gt + n_pred - count))) / max(1, tp)
        assre = float(np.sum(count * count / n_gt)) / max(1, tp)
        asspr = float(np.sum(count * count / n_pred)) / max(1, tp)
        loca = float(iou[keep].sum()) / tp if tp else 1.0
        rows.append((np.sqrt(deta * assa), deta, assa, loca, detre, detpr, assre, asspr))
    table = np.array(rows, np.float64)
    names = ("hota", "deta", "assa", "loca", "detre", "detpr", "assre", "asspr")
    means = dict(zip(names, table.mean(axis=0).tolist(), strict=True))
    return HotaScores(**means, hota_alpha=tuple(table[:, 0].tolist()))


def _matches(
    pairs: Alignment, gt_count: NDArray[np.float64], pred_count: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Match each frame so that ids which go together over the whole video are preferred."""
    together = _together(pairs)
    alignment = together / (gt_count[:, None] + pred_count[None, :] - together)
    score = alignment[pairs.gt_id[pairs.pair_gt], pairs.pred_id[pairs.pair_pred]] * pairs.iou
    gt: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    pred: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    for f, g, p, block in pairs.blocks():
        if not block.size:
            continue
        here = score[pairs.pair_start[f] : pairs.pair_start[f + 1]].reshape(block.shape)
        rows, columns = match_best(here)
        gt.append(rows + g.start)
        pred.append(columns + p.start)
    return np.concatenate(gt), np.concatenate(pred)


def _together(pairs: Alignment) -> NDArray[np.float64]:
    """`(gt_ids, pred_ids)` soft count of frames that two ids share."""
    sum_gt = np.bincount(pairs.pair_gt, pairs.iou, len(pairs.gt_id))[pairs.pair_gt]
    sum_pred = np.bincount(pairs.pair_pred, pairs.iou, len(pairs.pred_id))[pairs.pair_pred]
    total = sum_gt + sum_pred - pairs.iou
    share = np.divide(pairs.iou, total, out=np.zeros_like(total), where=total > EPS)
    cell = pairs.gt_id[pairs.pair_gt] * pairs.pred_ids + pairs.pred_id[pairs.pair_pred]
    count = np.bincount(cell, share, pairs.gt_ids * pairs.pred_ids)
    return np.asarray(count, np.float64).reshape(pairs.gt_ids, pairs.pred_ids)


def _iou_of(
    pairs: Alignment, gt: NDArray[np.int64], pred: NDArray[np.int64]
) -> NDArray[np.float64]:
    frame = np.searchsorted(pairs.gt_start, gt, side="right") - 1
    width = pairs.pred_start[frame + 1] - pairs.pred_start[frame]
    at = (gt - pairs.gt_start[frame]) * width + (pred - pairs.pred_start[frame])
    overlap: NDArray[np.float64] = pairs.iou[pairs.pair_start[frame] + at]
    return overlap
