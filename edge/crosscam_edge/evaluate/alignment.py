"""Ground truth and prediction laid side by side: which boxes share a frame, and how they overlap.

Every metric starts from the same list of pairs `(truth row, predicted row, IoU)` of boxes in one
frame. The pairs of a frame are a dense block in row-major order, so a frame's matrix is a reshape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from crosscam_edge.sinks.mot import MotSequence

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Alignment:
    """Two sequences over the frames in which either has a box.

    Attributes:
        gt_id: `(G,)` int64 dense ids from 0, rows by frame.
        pred_id: `(P,)` int64 dense ids from 0, rows by frame.
        gt_start: `(F + 1,)` first truth row of each frame.
        pred_start: `(F + 1,)` first predicted row of each frame.
        pair_gt: `(K,)` truth row of each pair.
        pair_pred: `(K,)` predicted row of each pair.
        pair_start: `(F + 1,)` first pair of each frame.
        iou: `(K,)` float64 in [0, 1].
        gt_ids: Number of different truth ids.
        pred_ids: Number of different predicted ids.
    """

    gt_id: NDArray[np.int64]
    pred_id: NDArray[np.int64]
    gt_start: NDArray[np.int64]
    pred_start: NDArray[np.int64]
    pair_gt: NDArray[np.int64]
    pair_pred: NDArray[np.int64]
    pair_start: NDArray[np.int64]
    iou: NDArray[np.float64]
    gt_ids: int
    pred_ids: int

    @property
    def frames(self) -> int:
        """Number of frames with a box of either side."""
        return len(self.gt_start) - 1

    def blocks(self) -> Iterator[tuple[int, slice, slice, NDArray[np.float64]]]:
        """Walk the frames: index, truth rows, predicted rows, `(g, p)` IoU."""
        for f in range(self.frames):
            g = slice(int(self.gt_start[f]), int(self.gt_start[f + 1]))
            p = slice(int(self.pred_start[f]), int(self.pred_start[f + 1]))
            block = self.iou[self.pair_start[f] : self.pair_start[f + 1]]
            yield f, g, p, block.reshape(g.stop - g.start, p.stop - p.start)


def align(gt: MotSequence, pred: MotSequence) -> Alignment:
    """Lay two sequences side by side.

    Args:
        gt: Ground truth, rows by frame.
        pred: Prediction, rows by frame.

    Returns:
        Their pairs. Memory is in the number of pairs, that is people squared per frame.
    """
    frames = np.union1d(gt.frame, pred.frame)
    bounds = np.append(frames, np.iinfo(np.int64).max)
    gt_start = np.searchsorted(gt.frame, bounds).astype(np.int64)
    pred_start = np.searchsorted(pred.frame, bounds).astype(np.int64)
    n_gt, n_pred = np.diff(gt_start), np.diff(pred_start)
    counts = n_gt * n_pred
    pair_start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    frame_of = np.repeat(np.arange(len(frames)), counts)
    within = np.arange(int(pair_start[-1])) - pair_start[frame_of]
    pair_gt = gt_start[frame_of] + within // np.maximum(n_pred[frame_of], 1)
    pair_pred = pred_start[frame_of] + within % np.maximum(n_pred[frame_of], 1)
    gt_names, gt_id = np.unique(gt.object_id, return_inverse=True)
    pred_names, pred_id = np.unique(pred.object_id, return_inverse=True)
    return Alignment(
        gt_id.astype(np.int64),
        pred_id.astype(np.int64),
        gt_start,
        pred_start,
        pair_gt,
        pair_pred,
        pair_start,
        paired_iou(gt.xyxy[pair_gt], pred.xyxy[pair_pred]),
        len(gt_names),
        len(pred_names),
    )


def paired_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of boxes row by row.

    Args:
        a: `(K, 4)` x1, y1, x2, y2.
        b: `(K, 4)`.

    Returns:
        `(K,)` in [0, 1]; 0 where a box has no area.
    """
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    intersection = np.prod(np.maximum(high - low, 0.0), axis=1)
    area_a, area_b = (np.prod(box[:, 2:] - box[:, :2], axis=1) for box in (a, b))
    union = area_a + area_b - intersection
    valid = (area_a > EPS) & (area_b > EPS) & (union > EPS)
    iou: NDArray[np.float64] = np.zeros_like(union)
    np.divide(intersection, union, out=iou, where=valid)
    return iou


def match_best(score: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One-to-one pairs of the largest total score.

    Args:
        score: `(g, p)`.

    Returns:
        Rows and columns of the `min(g, p)` pairs.
    """
    rows, columns = linear_sum_assignment(-score)
    return rows, columns
