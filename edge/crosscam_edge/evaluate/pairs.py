"""Pairs of tracklets across cameras: were the right ones joined?

Independent of how long a tracklet is and how well it was boxed, so it judges association alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.evaluate.alignment import EPS, align, match_best

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from crosscam_edge.sinks.mot import MotSequence


@dataclass(frozen=True, slots=True)
class PairScores:
    """Scores of joined pairs of tracklets of different cameras.

    Attributes:
        precision: Share of the joined pairs that are one person.
        recall: Share of the pairs of one person that were joined.
        f1: Harmonic mean.
        joined: Joined pairs.
        same: Pairs of one person.
        right: Pairs that are both.
        tracklets: Tracklets that lie on a person.
        unmatched: Tracklets that lie on nobody; they take no part.
    """

    precision: float
    recall: float
    f1: float
    joined: int
    same: int
    right: int
    tracklets: int
    unmatched: int


def pair_scores(
    gt: Mapping[str, MotSequence], pred: Mapping[str, MotSequence], iou: float = 0.5
) -> PairScores:
    """Score the pairs of tracklets across cameras.

    A tracklet is the rows of one `track_id` and `object_id` in one camera; it belongs to the true
    id on which most of its boxes lie with at least `iou`.

    Args:
        gt: Ground truth by camera; ids are global.
        pred: Prediction by camera; `object_id` is global.
        iou: Least overlap.
    """
    camera, joined_as, person = [], [], []
    unmatched = 0
    for number, name in enumerate(gt):
        ids, owners = _owners(gt[name].sorted(), pred[name].sorted(), iou)
        unmatched += int(np.sum(owners < 0))
        ids, owners = ids[owners >= 0], owners[owners >= 0]
        camera.append(np.full(len(ids), number))
        joined_as.append(ids)
        person.append(owners)
    if not camera:
        camera = joined_as = person = [np.zeros(0, np.int64)]
    where, as_whom, who = (np.concatenate(column) for column in (camera, joined_as, person))
    joined = _cross_pairs(where, as_whom)
    same = _cross_pairs(where, who)
    names, both = np.unique(np.stack([as_whom, who], 1), axis=0, return_inverse=True)
    right = _cross_pairs(where, both.reshape(-1)) if len(names) else 0
    precision = right / joined if joined else 1.0
    recall = right / same if same else 1.0
    f1 = 2 * right / (joined + same) if joined + same else 1.0
    return PairScores(precision, recall, f1, joined, same, right, len(where), unmatched)


def _cross_pairs(camera: NDArray[np.int64], group: NDArray[np.int64]) -> int:
    """Count the pairs in one group that are of two cameras."""
    cells, members = np.unique(np.stack([group, camera], 1), axis=0, return_counts=True)
    _, per_group = np.unique(group, return_counts=True)
    within = int(np.sum(members * (members - 1) // 2)) if len(cells) else 0
    return int(np.sum(per_group * (per_group - 1) // 2)) - within


def _owners(
    gt: MotSequence, pred: MotSequence, iou: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Global id of each tracklet, and the true id it lies on (-1 for none)."""
    keys = np.stack([pred.object_id, pred.track_id], 1)
    tracklets, of_row = np.unique(keys, axis=0, return_inverse=True)
    of_row = of_row.reshape(-1)
    votes: list[NDArray[np.int64]] = []
    for _, g, p, block in align(gt, pred).blocks():
        if block.size:
            rows, columns = match_best(np.where(block < iou - EPS, 0.0, block))
            real = block[rows, columns] >= iou - EPS
            ballot = (of_row[p][columns[real]], gt.object_id[g][rows[real]])
            votes.append(np.stack(ballot, 1))
    owners = np.full(len(tracklets), -1)
    if votes:
        cells, count = np.unique(np.concatenate(votes), axis=0, return_counts=True)
        order = np.argsort(count, kind="stable")  # the most votes are written last
        owners[cells[order, 0]] = cells[order, 1]
    return tracklets[:, 0], owners
