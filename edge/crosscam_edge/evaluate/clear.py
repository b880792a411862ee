"""CLEAR MOT: what a tracker misses, invents and confuses, frame by frame.

Bernardin and Stiefelhagen, "Evaluating Multiple Object Tracking Performance: The CLEAR MOT
Metrics", 2008. The details (which earlier match is kept, when a track counts as fragmented) are
those of TrackEval 1.3, against which it is tested.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.evaluate.alignment import EPS, match_best

if TYPE_CHECKING:
    from crosscam_edge.evaluate.alignment import Alignment

_KEEP = 1000.0  # a match of the frame before outweighs any overlap


@dataclass(frozen=True, slots=True)
class ClearScores:
    """CLEAR scores; ratios in [0, 1] but `mota`, which has no lower bound.

    Attributes:
        mota: 1 - (fn + fp + idsw) / boxes of the ground truth.
        motp: Mean IoU of the matches.
        recall: tp / (tp + fn).
        precision: tp / (tp + fp).
        tp: Matched boxes.
        fn: Boxes of the ground truth without a match.
        fp: Predicted boxes without a match.
        idsw: Matches under another id than the last one of that person.
        frag: Times a person was lost and found again.
        mt: People matched in more than 80 % of their frames.
        pt: People matched in 20 % to 80 %.
        ml: People matched in less than 20 %.
    """

    mota: float
    motp: float
    recall: float
    precision: float
    tp: int
    fn: int
    fp: int
    idsw: int
    frag: int
    mt: int
    pt: int
    ml: int


def clear_scores(pairs: Alignment, iou: float = 0.5) -> ClearScores:
    """Compute the CLEAR scores.

    Args:
        pairs: Both sequences side by side.
        iou: Least overlap of a match.
    """
    n = pairs.gt_ids
    seen = np.bincount(pairs.gt_id, minlength=n)
    matched = np.zeros(n, np.int64)
    found = np.zeros(n, np.int64)  # times tracking of a person began
    last = np.full(n, -1)  # predicted id of the latest match, however long ago
    previous = np.full(n, -1)  # predicted id in the previous frame
    idsw, overlap = 0, 0.0
    for _, g, p, block in pairs.blocks():
        if not block.size:
            continue
        gt_ids, pred_ids = pairs.gt_id[g], pairs.pred_id[p]
        kept = pred_ids[None, :] == previous[gt_ids][:, None]
        score = np.where(block < iou - EPS, 0.0, _KEEP * kept + block)
        rows, columns = match_best(score)
        real = score[rows, columns] > EPS
        rows, columns = rows[real], columns[real]
        who, as_whom = gt_ids[rows], pred_ids[columns]
        idsw += int(np.sum((last[who] >= 0) & (last[who] != as_whom)))
        last[who] = as_whom
        matched[who] += 1
        before = previous
        previous = np.full(n, -1)
        previous[who] = as_whom
        found += (before < 0) & (previous >= 0)
        overlap += float(block[rows, columns].sum())
    tp = int(matched.sum())
    fn, fp = len(pairs.gt_id) - tp, len(pairs.pred_id) - tp
    ratio = matched / np.maximum(seen, 1)
    mt, at_least_partly = int(np.sum(ratio > 0.8)), int(np.sum(ratio >= 0.2))
    return ClearScores(
        mota=(tp - fp - idsw) / max(1, tp + fn),
        motp=overlap / max(1, tp),
        recall=tp / max(1, tp + fn),
        precision=tp / max(1, tp + fp),
        tp=tp,
        fn=fn,
        fp=fp,
        idsw=idsw,
        frag=int(np.sum(found[found > 0] - 1)),
        mt=mt,
        pt=at_least_partly - mt,
        ml=n - at_least_partly,
    )
