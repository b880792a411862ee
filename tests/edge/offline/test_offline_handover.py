"""One box per person and frame where two tracks of one person overlap."""

from __future__ import annotations

from collections import Counter

import numpy as np

from crosscam_edge.offline.handover import DROPPED, one_each
from crosscam_edge.track import TrackRow
from crosscam_edge.types import Tracklet

BOX = np.array([0, 0, 10, 30], np.float32)
S = 10**9


def tracklet(track_id: int, start: float, end: float, sure: tuple[float, float] | None) -> Tracklet:
    return Tracklet(
        "a", track_id, int(start * S), int(end * S), int(start * 10), int(end * 10), 10,
        BOX, BOX, (640, 480), np.zeros((0, 4), np.float32), np.zeros(0, np.int64),
        np.zeros(0, np.float32),
        sure_ns=None if sure is None else (int(sure[0] * S), int(sure[1] * S)),
    )  # fmt: skip


def rows(*spans: tuple[int, int, int]) -> list[TrackRow]:
    out = [
        TrackRow(f, f * S // 10, track, BOX, 0.9) for track, a, b in spans for f in range(a, b + 1)
    ]
    return sorted(out, key=lambda r: (r.frame_index, r.track_id))


def test_the_surer_track_has_the_person() -> None:
    tracks = {1: tracklet(1, 0, 3, (0, 2)), 2: tracklet(2, 2.5, 5, (2.9, 5))}
    dropped: Counter[str] = Counter()
    given = rows((1, 0, 30), (2, 25, 50))
    out = list(one_each(given, tracks, {1: 7, 2: 7}, dropped))
    assert [row.frame_index for row, _ in out] == list(range(51))
    assert {global_id for _, global_id in out} == {7}
    owner = [row.track_id for row, _ in out]
    # half way between 2.0 s, where the first was sure, and 2.9 s, where the second is
    assert owner == [1] * 25 + [2] * 26
    assert dropped == {DROPPED: 6}


def test_two_people_keep_all_their_boxes_and_strangers_are_left_out() -> None:
    tracks = {1: tracklet(1, 0, 3, None), 2: tracklet(2, 0, 3, None), 3: tracklet(3, 0, 3, None)}
    dropped: Counter[str] = Counter()
    given = rows((1, 0, 30), (2, 0, 30), (3, 0, 30))
    out = list(one_each(given, tracks, {1: 1, 2: 2}, dropped))
    assert len(out) == 62
    assert dropped[DROPPED] == 0
