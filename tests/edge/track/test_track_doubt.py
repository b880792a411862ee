"""Tracks that go on with another person than they began with."""

from __future__ import annotations

import numpy as np
import pytest

from crosscam_deploy.detections import Detections
from crosscam_edge.track import CameraTracking, apply_verdict, doubt
from crosscam_edge.track.appearance import AppearanceScale
from crosscam_edge.track.person import Person
from crosscam_edge.types import TrackState

SIZE = (1280, 720)
DIM = 32


def looks(who: int) -> np.ndarray:
    row = np.random.default_rng(who).normal(size=DIM)
    return (row / np.linalg.norm(row)).astype(np.float32)


def person(track_id: int, who: int, state: TrackState = TrackState.CONFIRMED) -> Person:
    out = Person(track_id, 0, 0.9, 8)
    out.state = state
    for _ in range(3):
        out.remember(looks(who), 1.0, 0)
    return out


@pytest.fixture
def scale() -> AppearanceScale:
    return AppearanceScale()


class TestDoubt:
    def test_only_who_is_known_can_be_contradicted(self, scale: AppearanceScale) -> None:
        known, fresh = person(1, 1), Person(2, 0, 0.9, 8)
        assert doubt.contradicts(known, looks(2), scale)
        assert not doubt.contradicts(known, looks(1), scale)
        assert not doubt.contradicts(fresh, looks(2), scale)

    def test_poor_crops_next_to_good_ones_say_nothing(self) -> None:
        assert doubt.is_unclear(person(1, 1), 0.5)
        assert not doubt.is_unclear(person(1, 1), 0.7)
        assert not doubt.is_unclear(Person(2, 0, 0.9, 8), 0.01)

    def test_doubts_must_agree_with_each_other(self, scale: AppearanceScale) -> None:
        changed, confused = person(1, 1), person(2, 1)
        changed.doubts = [looks(2)] * doubt.CROPS
        confused.doubts = [looks(3 + k) for k in range(doubt.CROPS)]
        assert doubt.has_changed(changed, scale)
        assert not doubt.has_changed(confused, scale)
        assert len(confused.doubts) == doubt.CROPS - 1

    def test_one_believed_crop_ends_the_doubt(self) -> None:
        it = person(1, 1)
        it.doubts = [looks(2)] * 2
        it.remember(looks(1), 1.0, 10)
        assert it.doubts == []

    def test_the_lost_track_that_fits_is_found(self, scale: AppearanceScale) -> None:
        changed = person(1, 1)
        changed.doubts = [looks(2)] * 3
        fits, other = person(2, 2, TrackState.LOST), person(3, 3, TrackState.LOST)
        assert doubt.who_is_it(changed, [other, changed, fits], scale) is fits
        assert doubt.who_is_it(changed, [other, changed], scale) is None
        # A track that is sure of itself is not taken, however alike.
        seen = person(4, 2)
        assert doubt.who_is_it(changed, [changed, seen], scale) is None
        # Two that fit alike cannot be told apart.
        twin = person(5, 2, TrackState.LOST)
        assert doubt.who_is_it(changed, [changed, fits, twin], scale) is None

    def test_two_who_took_each_others_place(self, scale: AppearanceScale) -> None:
        a, b = person(1, 1), person(2, 2)
        a.doubts, b.doubts = [looks(2)] * 3, [looks(1)]
        assert doubt.who_is_it(a, [a, b], scale) is b
        b.doubts = [looks(3)]  # b went on with a third
        assert doubt.who_is_it(a, [a, b], scale) is None


def run(paths: dict[int, list[tuple[float, float] | None]]) -> dict[int, list[int]]:
    """Track people whose places are given; returns the ids under which each is in the output."""
    tracking = CameraTracking("a", SIZE, 10, link=None)
    rows = []
    for k in range(len(next(iter(paths.values())))):
        here = [(who, at[k]) for who, at in paths.items() if at[k] is not None]
        box = np.array([[x - 25, y - 75, x + 25, y + 75] for _, (x, y) in here], np.float32)
        people = [who for who, _ in here]
        detections = Detections(
            box.reshape(-1, 4), np.full(len(box), 0.9, np.float32), np.zeros(len(box), np.int32)
        )
        rows += tracking.step(
            k,
            k * 10**8,
            detections,
            lambda index, people=people: np.stack([looks(people[i]) for i in index]),
        )
    out: dict[int, list[int]] = {who: [] for who in paths}
    for row in apply_verdict(rows, tracking.finish()):
        x, y = (row.xyxy[0] + row.xyxy[2]) / 2, (row.xyxy[1] + row.xyxy[3]) / 2
        for who, at in paths.items():
            place = at[row.frame_index]
            if place is not None and abs(place[0] - x) < 1 and abs(place[1] - y) < 1:
                out[who].append(row.track_id)
    return out


def test_who_comes_out_behind_somebody_else_keeps_no_wrong_id() -> None:
    """Two walk up to each other, one is hidden, and they turn back: motion swaps them."""
    frames = range(80)
    there = [(300 + 8 * min(k, 80 - k), 400.0) for k in frames]
    back = [(940 - 8 * min(k, 80 - k), 402.0) for k in frames]
    hidden: list[tuple[float, float] | None] = [
        None if 36 <= k <= 44 else place for k, place in enumerate(back)
    ]
    ids = run({1: list(there), 2: hidden})
    for mine, other in ((1, 2), (2, 1)):
        own = max(set(ids[mine]), key=ids[mine].count)
        assert ids[mine].count(own) >= 0.9 * len(ids[mine])
        assert own not in ids[other]


def test_a_track_taken_over_by_somebody_new_ends_where_they_met() -> None:
    """One stops behind a pillar for good; another comes out of it the same way."""
    walk: list[tuple[float, float] | None] = [(300.0 + 10 * k, 400.0) for k in range(80)]
    ids = run(
        {
            1: [p if k < 40 else None for k, p in enumerate(walk)],
            2: [None if k < 40 else p for k, p in enumerate(walk)],
        }
    )
    first = max(set(ids[1]), key=ids[1].count)
    assert ids[1].count(first) >= 30
    # Nobody was met, so the change is known to the crop and not to the frame.
    assert ids[2].count(first) < 15
    assert len(set(ids[2][15:])) == 1
    assert first not in ids[2][15:]
