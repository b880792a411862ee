"""Scores over several cameras: each alone, their union, and what crosses between them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group
from rich.table import Table

from crosscam_edge.evaluate.conventions import EvalOptions, counted
from crosscam_edge.evaluate.mot import TrackScores, evaluate_mot, scores_table
from crosscam_edge.evaluate.pairs import PairScores, pair_scores
from crosscam_edge.sinks.mot import MotSequence
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

    from crosscam_edge.evaluate.identity import IdentityScores

UNION = "all cameras"


@dataclass(frozen=True, slots=True)
class MtmcScores:
    """Scores of a run over several cameras.

    Attributes:
        cameras: Each camera alone.
        union: All cameras laid end to end, with global ids; frames are keyed by camera and number,
            cameras in order of name. Its IDF1 is that of multi-camera benchmarks.
        cross_camera: Identity scores of the people who were in two or more cameras; the others are
            "don't care".
        cross_camera_people: How many they are.
        pairs: Pairs of tracklets of different cameras.
        left_out: Predicted cameras without ground truth, which take no part.
        missing: Cameras with ground truth but without prediction; they count as empty.
    """

    cameras: dict[str, TrackScores]
    union: TrackScores
    cross_camera: IdentityScores
    cross_camera_people: int
    pairs: PairScores
    left_out: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """Return the scores as a dictionary of numbers."""
        return asdict(self)

    def table(self) -> RenderableType:
        """Return the scores as tables for people."""
        per_camera = scores_table({**self.cameras, UNION: self.union}, total=UNION)
        across = Table(box=None, pad_edge=False, header_style="bold")
        across.add_column("across cameras")
        for name in ("F1", "precision", "recall"):
            across.add_column(name, justify="right")
        across.add_column("of", style="dim")
        x, p = self.cross_camera, self.pairs
        people = f"{self.cross_camera_people} people in two or more cameras"
        across.add_row("identity (IDF1, IDP, IDR)", *_percent(x.idf1, x.idp, x.idr), people)
        pairs = f"{p.joined} joined, {p.same} true, {p.unmatched} tracklets on nobody"
        across.add_row("pairs of tracklets", *_percent(p.f1, p.precision, p.recall), pairs)
        return Group(per_camera, "", across)


def evaluate_mtmc(
    gt: Mapping[str, MotSequence],
    pred: Mapping[str, MotSequence],
    options: EvalOptions | None = None,
) -> MtmcScores:
    """Score tracks with global ids over several cameras.

    Args:
        gt: Ground truth by camera; ids mean the same person in every camera.
        pred: Prediction by camera, under the same camera names.
        options: How strict; `EvalOptions()` by default.

    Raises:
        InputError: No camera is in both.
    """
    options = options or EvalOptions()
    names = sorted(gt)
    if not any(name in pred for name in names):
        raise InputError(
            f"predictions of the cameras {sorted(pred)}",
            expected=f"some of the cameras with ground truth: {names}",
            fix="name the files after the cameras, or number them as in run.json",
        )
    given = {name: pred.get(name, MotSequence.empty()) for name in names}
    truth = {name: gt[name] for name in names}
    union_gt, union_pred = _union(list(truth.values()), list(given.values()))
    elsewhere = _single_camera(truth, options)
    crossing = evaluate_mot(union_gt, union_pred, options, dont_care=elsewhere)
    judged = {name: counted(truth[name], given[name], options) for name in names}
    return MtmcScores(
        cameras={name: evaluate_mot(truth[name], given[name], options) for name in names},
        union=evaluate_mot(union_gt, union_pred, options),
        cross_camera=crossing.identity,
        cross_camera_people=crossing.gt_ids,
        pairs=pair_scores(
            {name: rows.gt for name, rows in judged.items()},
            {name: rows.pred for name, rows in judged.items()},
            options.iou,
        ),
        left_out=tuple(sorted(set(pred) - set(gt))),
        missing=tuple(name for name in names if name not in pred),
    )


def _union(gt: list[MotSequence], pred: list[MotSequence]) -> tuple[MotSequence, MotSequence]:
    """Lay the cameras end to end in time."""
    offset, shifted_gt, shifted_pred = 0, [], []
    for a, b in zip(gt, pred, strict=True):
        shifted_gt.append(_shift(a, offset))
        shifted_pred.append(_shift(b, offset))
        ends = [int(s.frame.max()) + 1 for s in (a, b) if len(s)]
        offset += max(ends, default=0)
    return _concatenate(shifted_gt), _concatenate(shifted_pred)


def _shift(s: MotSequence, offset: int) -> MotSequence:
    return MotSequence(
        s.frame + offset, s.object_id, s.xyxy, s.confidence, s.class_id, s.visibility, s.track_id
    )


def _concatenate(parts: list[MotSequence]) -> MotSequence:
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in MotSequence.__slots__
    }
    return MotSequence(**columns)


def _single_camera(gt: dict[str, MotSequence], options: EvalOptions) -> np.ndarray:
    """Mark the rows (of `_union`'s ground truth) of people who are in one camera only."""
    ids = [np.unique(counted(s, MotSequence.empty(), options).gt.object_id) for s in gt.values()]
    people, cameras = np.unique(np.concatenate(ids), return_counts=True)
    crossing = people[cameras > 1]
    return ~np.isin(np.concatenate([s.object_id for s in gt.values()]), crossing)


def _percent(*values: float) -> list[str]:
    return [f"{100 * value:.1f}" for value in values]
