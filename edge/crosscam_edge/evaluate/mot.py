"""Scores of one camera."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

from crosscam_edge.evaluate.alignment import align
from crosscam_edge.evaluate.clear import ClearScores, clear_scores
from crosscam_edge.evaluate.conventions import EvalOptions, counted
from crosscam_edge.evaluate.hota import HotaScores, hota_scores
from crosscam_edge.evaluate.identity import IdentityScores, identity_scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crosscam_edge.sinks.mot import MotSequence

COLUMNS = ("MOTA", "IDF1", "HOTA", "DetA", "AssA", "LocA", "IDP", "IDR", "MOTP", "Rcll", "Prcn")
COUNTS = ("FP", "FN", "IDSW", "Frag", "MT", "ML", "GT", "Pred")


@dataclass(frozen=True, slots=True)
class TrackScores:
    """All scores of one sequence.

    Attributes:
        clear: Frame by frame: misses, inventions, switches.
        hota: Detection and association in equal parts.
        identity: Time under the right id.
        gt_boxes: True boxes that were asked for.
        gt_ids: People in them.
        pred_boxes: Predicted boxes that were judged.
        pred_ids: Ids in them.
        gt_ignored: "Don't care" rows of the ground truth.
        pred_ignored: Predictions excused by them.
    """

    clear: ClearScores
    hota: HotaScores
    identity: IdentityScores
    gt_boxes: int
    gt_ids: int
    pred_boxes: int
    pred_ids: int
    gt_ignored: int
    pred_ignored: int

    def json(self) -> dict[str, Any]:
        """Return the scores as a dictionary of numbers."""
        return asdict(self)

    def table(self, name: str = "") -> Table:
        """Return the scores as a table of one line."""
        return scores_table({name: self})

    def cells(self) -> list[str]:
        """Return the cells of one line of `scores_table`, without the name."""
        c, h, i = self.clear, self.hota, self.identity
        ratios = [c.mota, i.idf1, h.hota, h.deta, h.assa, h.loca, i.idp, i.idr]
        ratios += [c.motp, c.recall, c.precision]
        counts = (c.fp, c.fn, c.idsw, c.frag, c.mt, c.ml, self.gt_ids, self.pred_ids)
        return [f"{100 * v:.1f}" for v in ratios] + [str(v) for v in counts]


def evaluate_mot(
    gt: MotSequence,
    pred: MotSequence,
    options: EvalOptions | None = None,
    *,
    dont_care: NDArray[np.bool_] | None = None,
) -> TrackScores:
    """Score the tracks of one camera (or of several laid end to end).

    Args:
        gt: Ground truth.
        pred: Prediction; at most one box per id and frame, as in `gt`.
        options: How strict; `EvalOptions()` by default.
        dont_care: `(len(gt),)` rows of the ground truth that are not asked for.
    """
    options = options or EvalOptions()
    rows = counted(gt, pred, options, dont_care=dont_care)
    pairs = align(rows.gt, rows.pred)
    return TrackScores(
        clear=clear_scores(pairs, options.iou),
        hota=hota_scores(pairs),
        identity=identity_scores(pairs, options.iou),
        gt_boxes=len(rows.gt),
        gt_ids=pairs.gt_ids,
        pred_boxes=len(rows.pred),
        pred_ids=pairs.pred_ids,
        gt_ignored=rows.gt_ignored,
        pred_ignored=rows.pred_ignored,
    )


def scores_table(rows: dict[str, TrackScores], *, total: str = "") -> Table:
    """Return a table for people: ratios in percent, then counts.

    Args:
        rows: Scores by name.
        total: The name to be set apart as the sum of the others.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for name in COUNTS:
        table.add_column(name, justify="right", style="dim")
    for name, scores in rows.items():
        style = "bold" if total and name == total else None
        table.add_row(name, *scores.cells(), style=style)
    return table
