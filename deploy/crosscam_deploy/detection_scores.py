"""Average precision and recall of boxes with scores, at one overlap.

As PASCAL VOC and COCO count: detections of all pictures, best first, each take the person whom they
overlap most, if nobody took that one before. One that overlaps only people who are ignored counts
neither way. Average precision is the area under precision, made falling from the right, over
recall: at every point (VOC from 2010 on), not at COCO's 101.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.floating]


_SURE = 0.05  # wrong boxes a picture


class Found(NamedTuple):
    """A picture: what was found and who is there.

    Attributes:
        boxes: `(D, 4)` corners of detections.
        scores: `(D,)`.
        truth: `(N, 4)` corners of people.
        ignored: `(N,)` bool; those nobody asks for.
    """

    boxes: Floats
    scores: Floats
    truth: Floats
    ignored: NDArray[np.bool_]


class Scores(NamedTuple):
    """How well people are found.

    Attributes:
        average_precision: In [0, 1].
        recall: Share found with at most `false_boxes` wrong boxes a picture.
        threshold: Lowest score at which that is so; infinite when the best box is wrong already.
        most_recall: Share found at any score.
        people: Number asked for.
        sure: As `threshold`, for one wrong box in twenty pictures.
    """

    average_precision: float
    recall: float
    threshold: float
    most_recall: float
    people: int
    sure: float


def judge(found: Sequence[Found], *, overlap: float = 0.5, false_boxes: float = 1.0) -> Scores:
    """Score detections.

    Args:
        found: All pictures.
        overlap: Least IoU of a detection and its person.
        false_boxes: Wrong boxes a picture at which recall is told.
    """
    people = int(sum((~f.ignored).sum() for f in found))
    scores: list[float] = []
    right: list[bool] = []
    for picture in found:
        for score, hit in _matched(picture, overlap):
            scores.append(score)
            right.append(hit)
    if not people or not scores:
        return Scores(0.0, 0.0, float("inf"), 0.0, people, float("inf"))
    order = np.argsort(-np.array(scores), kind="stable")
    ranked, hits = np.array(scores)[order], np.array(right)[order]
    # Equal scores stand or fall together: only the last of each is a place to stop.
    last = np.append(ranked[1:] != ranked[:-1], True)
    true, false = np.cumsum(hits)[last], np.cumsum(~hits)[last]
    recall, precision = true / people, true / (true + false)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    average = float((np.diff(recall, prepend=0.0) * falling).sum())
    # Recall and score where wrong boxes are so many a picture; 0 and infinity before the first box.
    recalls, stops = np.append(0.0, recall), np.append(np.inf, ranked[last])
    at, sure = (int((false <= n * len(found)).sum()) for n in (false_boxes, _SURE))
    return Scores(
        average, float(recalls[at]), float(stops[at]), float(recall[-1]), people, float(stops[sure])
    )


def _matched(picture: Found, overlap: float) -> list[tuple[float, bool]]:
    """Return score and rightness of each detection that counts."""
    out: list[tuple[float, bool]] = []
    free = ~picture.ignored
    together = overlaps(picture.boxes, picture.truth)
    for k in np.argsort(-picture.scores, kind="stable"):
        row = np.where(free, together[k], 0.0)
        best = int(row.argmax()) if len(row) else -1
        if best >= 0 and row[best] >= overlap:
            free[best] = False
            out.append((float(picture.scores[k]), True))
        elif not (together[k][picture.ignored] >= overlap).any():
            out.append((float(picture.scores[k]), False))
    return out


def overlaps(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Return the IoU `(D, N)` of boxes `(D, 4)` and `(N, 4)`, corners in any unit."""
    a, b = np.asarray(a, float).reshape(-1, 4), np.asarray(b, float).reshape(-1, 4)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(2)
    areas = [(x[:, 2:] - x[:, :2]).prod(1) for x in (a, b)]
    out: NDArray[np.float64] = both / np.maximum(areas[0][:, None] + areas[1] - both, 1e-12)
    return out
