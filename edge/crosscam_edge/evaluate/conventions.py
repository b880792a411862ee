"""What counts: rows that are marks rather than people, and people too hard to be asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.evaluate.alignment import EPS, align, match_best
from crosscam_kernels.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.sinks.mot import MotSequence

PEDESTRIAN = 1
NOT_GIVEN = -1
LOOKALIKES = (2, 7, 8, 12)
"""MOT16 classes that may be detected as people without blame: a person on a vehicle, a static
person, a distractor, a reflection (https://arxiv.org/abs/1603.00831, table 3)."""


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """How strict an evaluation is.

    Attributes:
        iou: Least overlap of a match in CLEAR, identity and pair scores, in (0, 1].
        min_visibility: People less visible than this are "don't care" (needs a visibility column).
        ignore_below_height: People lower than this many pixels are "don't care".
    """

    iou: float = 0.5
    min_visibility: float = 0.0
    ignore_below_height: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.iou <= 1:
            raise UsageError(f"an overlap of {self.iou}", expected="a number in (0, 1]")
        if not 0 <= self.min_visibility <= 1:
            raise UsageError(
                f"a visibility of {self.min_visibility}", expected="a number in [0, 1]"
            )
        if not (math.isfinite(self.ignore_below_height) and self.ignore_below_height >= 0):
            raise UsageError(
                f"a height of {self.ignore_below_height}", expected="pixels, 0 or more"
            )


@dataclass(frozen=True, slots=True)
class Counted:
    """The rows that take part in the scores.

    Attributes:
        gt: True boxes that are asked for.
        pred: Predictions less those excused.
        gt_ignored: Number of "don't care" rows of the ground truth.
        pred_ignored: Number of predictions excused by them.
    """

    gt: MotSequence
    pred: MotSequence
    gt_ignored: int
    pred_ignored: int


def counted(
    gt: MotSequence,
    pred: MotSequence,
    options: EvalOptions,
    *,
    dont_care: NDArray[np.bool_] | None = None,
) -> Counted:
    """Apply the conventions of the ground truth.

    A row of the ground truth is dropped when its class is no kind of person. It is "don't care"
    when its flag is 0, it is a lookalike, less visible or lower than asked. Predictions are matched
    to *all* other rows, the ones that fall on a "don't care" row are excused: neither right nor
    wrong. A prediction lower than `ignore_below_height` that matches nobody is excused as well.

    Args:
        gt: Ground truth.
        pred: Prediction.
        options: How strict.
        dont_care: `(len(gt),)` further rows not to care about.

    Returns:
        What is left, rows by frame.
    """
    height = gt.xyxy[:, 3] - gt.xyxy[:, 1]
    ignored = (gt.confidence == 0) | np.isin(gt.class_id, LOOKALIKES)
    ignored |= (gt.visibility < options.min_visibility) | (height < options.ignore_below_height)
    if dont_care is not None:
        ignored |= dont_care
    person = np.isin(gt.class_id, (PEDESTRIAN, NOT_GIVEN, *LOOKALIKES))
    rows = np.flatnonzero(person)
    rows = rows[np.lexsort((gt.object_id[rows], gt.frame[rows]))]
    gt, ignored, pred = gt[rows], ignored[rows], pred.sorted()
    excused = np.zeros(len(pred), bool)
    if ignored.any() or options.ignore_below_height > 0:
        partner = _partners(gt, pred, options.iou)
        excused = (partner >= 0) & ignored[partner]
        low = pred.xyxy[:, 3] - pred.xyxy[:, 1] < options.ignore_below_height
        excused |= low & (partner < 0)
    return Counted(gt[~ignored], pred[~excused], int(ignored.sum()), int(excused.sum()))


def _partners(gt: MotSequence, pred: MotSequence, iou: float) -> NDArray[np.int64]:
    """Row of the ground truth that each prediction falls on; -1 for none."""
    partner = np.full(len(pred), -1)
    if not len(gt):
        return partner[:]
    for _, g, p, block in align(gt, pred).blocks():
        if block.size:
            score = np.where(block < iou - EPS, 0.0, block)
            rows, columns = match_best(score)
            real = score[rows, columns] > EPS
            partner[columns[real] + p.start] = rows[real] + g.start
    return partner
