"""The tracker on people whose paths are known."""

from __future__ import annotations

import numpy as np
import pytest

from crosscam_deploy.detections import Detections
from crosscam_edge.track import Tracker, TrackerConfig
from crosscam_kernels.errors import UsageError

SIZE = (1280, 720)
RATE = 10.0


def looks(person: int, dim: int = 32) -> np.ndarray:
    row = np.random.default_rng(person).normal(size=dim)
    return (row / np.linalg.norm(row)).astype(np.float32)


def boxes(*centres: tuple[float, float], height: float = 150.0) -> np.ndarray:
    return np.array(
        [[x - height / 6, y - height / 2, x + height / 6, y + height / 2] for x, y in centres],
        np.float32,
    ).reshape(-1, 4)


def found(box: np.ndarray, confidence: float | list[float] = 0.9) -> Detections:
    n = len(box)
    return Detections(
        box.astype(np.float32),
        np.broadcast_to(np.float32(confidence), (n,)).astype(np.float32),
        np.zeros(n, np.int32),
    )


def step(tracker: Tracker, seconds: float, people: dict[int, tuple[float, float]], **kw):
    """One frame; returns the track id of each person who is shown as a track."""
    names = list(people)
    rows = np.stack([looks(n) for n in names]) if names else np.zeros((0, 32), np.float32)
    tracks = tracker.update(
        found(boxes(*people.values()), kw.pop("confidence", 0.9)),
        time_ns=int(seconds * 1e9),
        image_size=SIZE,
        embed=(lambda k: rows[k]) if kw.pop("embed", True) else None,
    )
    return {
        names[d]: int(t)
        for t, d in zip(tracks.track_id.tolist(), tracks.detection_index.tolist(), strict=True)
    }


def walk(tracker, start, stop, people, **kw):
    seen = {}
    for k in range(round(start * RATE), round(stop * RATE)):
        seen = step(tracker, k / RATE, {n: path(k / RATE) for n, path in people.items()}, **kw)
    return seen


def test_a_person_is_confirmed_and_keeps_the_id():
    tracker = Tracker(frame_rate=RATE)
    path = {1: lambda t: (200 + 100 * t, 400)}
    assert step(tracker, 0.0, {1: (200, 400)}) == {}
    assert walk(tracker, 0.1, 5.0, path) == {1: 1}
    assert tracker.counts["births"] == 1


@pytest.mark.parametrize(("rate", "frames"), [(2.0, 2), (5.0, 2), (10.0, 3), (25.0, 6)])
def test_a_track_is_confirmed_after_a_time_however_many_frames_that_is(rate, frames):
    tracker = Tracker(frame_rate=rate)
    shown = [bool(step(tracker, k / rate, {1: (300 + k, 300)})) for k in range(frames)]
    assert shown == [False] * (frames - 1) + [True]


@pytest.mark.parametrize("embed", [True, False])
def test_two_people_cross_without_swapping(embed):
    tracker = Tracker(frame_rate=RATE)
    paths = {1: lambda t: (200 + 110 * t, 400), 2: lambda t: (1000 - 110 * t, 415)}
    before = walk(tracker, 0, 2, paths, embed=embed)
    after = walk(tracker, 2, 7, paths, embed=embed)
    assert len(set(before.values())) == 2
    assert after == before


def test_dropped_frames_do_not_break_a_track():
    tracker = Tracker(frame_rate=RATE)
    path = lambda t: (100 + 120 * t, 400)  # noqa: E731
    ids = set()
    for t in np.cumsum([0.1] * 10 + [0.5, 0.1, 0.7, 0.1, 0.4, 0.1]):
        ids |= set(step(tracker, float(t), {1: path(t)}, embed=False).values())
    assert ids == {1}


def test_weak_detections_continue_but_never_start_a_track():
    tracker = Tracker(frame_rate=RATE)
    assert walk(tracker, 0, 2, {1: lambda t: (300, 400)}, confidence=0.3) == {}
    assert len(tracker) == 0
    walk(tracker, 2, 3, {1: lambda t: (300, 400)})
    assert walk(tracker, 3, 5, {1: lambda t: (300, 400)}, confidence=0.2) == {1: 1}


def test_a_hidden_person_is_found_again_by_looks_and_a_stranger_is_not():
    for person, same in ((1, True), (2, False)):
        tracker = Tracker(frame_rate=RATE)
        first = walk(tracker, 0, 3, {1: lambda t: (600, 400)})[1]
        walk(tracker, 3, 6, {})
        again = walk(tracker, 6, 8, {person: lambda t: (620, 405)})[person]
        assert (again == first) is same


def test_who_walks_out_of_the_picture_ends_the_track():
    tracker = Tracker(frame_rate=RATE)
    walk(tracker, 0, 4.0, {1: lambda t: (850 + 100 * t, 400)})
    walk(tracker, 4.0, 6.5, {})
    ended = tracker.ended()
    assert [e.track_id for e in ended] == [1]
    assert ended[0].confirmed
    assert tracker.ended() == []


def test_noise_is_reported_as_unconfirmed():
    tracker = Tracker(frame_rate=RATE)
    step(tracker, 0, {1: (600, 400)})
    walk(tracker, 0.1, 2, {})
    assert [(e.track_id, e.confirmed) for e in tracker.ended()] == [(1, False)]


def test_double_boxes_make_one_track():
    tracker = Tracker(frame_rate=RATE)
    for k in range(20):
        walk_box = boxes((400 + k, 400), (403 + k, 402))
        tracker.update(found(walk_box), time_ns=k * 100_000_000, image_size=SIZE)
    assert tracker.counts["births"] == 1


def test_looks_are_asked_for_ever_more_seldom_when_nothing_is_doubtful():
    tracker = Tracker(frame_rate=RATE)
    walk(tracker, 0, 20, {1: lambda t: (300, 400), 2: lambda t: (900, 400)})
    short = tracker.counts["embedded"]
    assert 2 * 8 <= short <= 2 * 16
    walk(tracker, 20, 80, {1: lambda t: (300, 400), 2: lambda t: (900, 400)})
    assert 1.5 * short <= tracker.counts["embedded"] <= 2.5 * short  # root of four times as long


def test_looks_settle_a_crossing_without_being_asked_all_the_time():
    tracker = Tracker(frame_rate=RATE)
    walk(tracker, 0, 20, {1: lambda t: (200 + 40 * t, 400), 2: lambda t: (1000 - 40 * t, 403)})
    assert tracker.counts["births"] == 2
    assert tracker.counts["embedded"] < 100  # of 400 detections


def test_the_gate_and_useless_rows_keep_memory_clean():
    tracker = Tracker(frame_rate=RATE)
    for k in range(20):
        tracker.update(
            found(boxes((400, 400), (800, 400))),
            time_ns=k * 100_000_000,
            image_size=SIZE,
            embed=lambda k: np.where(k[:, None] == 0, np.nan, 0.0) * np.ones((1, 8)),
        )
    assert tracker.counts["confirmed"] == 2
    asked = []
    small = found(boxes((400, 400), height=20))
    tracker.update(small, time_ns=10**10, image_size=SIZE, embed=lambda k: asked.append(k))
    assert not asked


def test_broken_boxes_are_ignored():
    tracker = Tracker(frame_rate=RATE)
    bad = np.array([[np.nan, 0, 10, 10], [50, 50, 40, 90], [0, 0, np.inf, 5]], np.float32)
    for k in range(5):
        tracks = tracker.update(found(bad), time_ns=k * 10**8, image_size=SIZE)
        assert len(tracks) == 0
    assert len(tracker) == 0


def test_time_that_stands_still_is_survived():
    tracker = Tracker(frame_rate=RATE)
    for _ in range(10):
        step(tracker, 1.0, {1: (300, 400)})
    assert len(tracker) == 1
    assert np.isfinite(tracker.predicted()).all()


def random_scene(seed: int, frames: int = 120):
    rng = np.random.default_rng(seed)
    start, speed = rng.uniform([100, 200], [1100, 600], (6, 2)), rng.normal(0, 60, (6, 2))
    for k in range(frames):
        centre = start + speed * k / RATE
        box = boxes(*map(tuple, centre)) + rng.normal(0, 3, (6, 4))
        shown = rng.random(6) > 0.15
        rows = np.stack([looks(n) for n in range(6)]) + rng.normal(0, 0.05, (6, 32))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        yield k, found(box[shown], list(rng.uniform(0.3, 0.95, shown.sum()))), rows[shown]


@pytest.mark.parametrize("seed", range(4))
def test_replay_of_what_was_embedded_gives_the_same_tracks(seed):
    first, again = Tracker(frame_rate=RATE), Tracker(frame_rate=RATE)
    for k, detections, rows in random_scene(seed):
        a = first.update(
            detections, time_ns=k * 10**8, image_size=SIZE, embed=lambda i, r=rows: r[i]
        )
        stored = dict(zip(first.details.embedded.tolist(), first.details.embeddings, strict=True))
        b = again.update(
            detections,
            time_ns=k * 10**8,
            image_size=SIZE,
            embed=lambda i, s=stored: np.stack([s[int(j)] for j in i]),
        )
        assert a.track_id.tolist() == b.track_id.tolist()
        assert a.detection_index.tolist() == b.detection_index.tolist()
        # The hard rule: one id is on one person, one person has one id.
        assert len(set(a.track_id.tolist())) == len(a)
        assert len(set(a.detection_index.tolist())) == len(a)
    assert first.flush() == again.flush()


def test_churn_of_thousands_of_tracks_keeps_state_bounded_and_ids_fresh():
    tracker = Tracker(TrackerConfig(confirm_hits=1, confirm_s=0, max_tracks=40), RATE)
    rng = np.random.default_rng(0)
    seen: list[int] = []
    for k in range(700):
        centre = rng.uniform([0, 0], [1280, 720], (5, 2))
        tracker.update(
            found(boxes(*map(tuple, centre), height=60)),
            time_ns=k * 2 * 10**9,
            image_size=SIZE,
            embed=lambda i: np.stack([looks(int(rng.integers(10**6))) for _ in i]),
        )
        seen += [e.track_id for e in tracker.ended()]
        assert len(tracker) <= 40
    seen += [e.track_id for e in tracker.flush()]
    assert len(seen) > 2000
    assert len(set(seen)) == len(seen) == tracker.counts["births"]


def test_settings_are_checked():
    with pytest.raises(UsageError, match="low_confidence"):
        TrackerConfig(low_confidence=0.9)
    with pytest.raises(UsageError, match="max_lost_s"):
        TrackerConfig(max_lost_s=-1)
    with pytest.raises(UsageError, match="max_tracks"):
        TrackerConfig(max_tracks=0)


@pytest.mark.parametrize("least", [0.01, 0.1, 0.48, 0.55, 0.9])
def test_any_least_confidence_gives_ordered_thresholds(least: float) -> None:
    config = TrackerConfig.above(least, embed_every_s=1.0)
    assert config.low_confidence == least
    assert config.embed_every_s == 1.0
    assert config.birth_confidence == max(least, TrackerConfig().birth_confidence)
    with pytest.raises(UsageError, match="candidate"):
        TrackerConfig(candidate_confidence=0.7)


def test_a_track_begins_faint_but_is_confirmed_by_one_sure_box() -> None:
    tracker = Tracker(TrackerConfig(emit_tentative=True), RATE)
    walk(tracker, 0, 1, {1: lambda t: (300 + 40 * t, 300)}, confidence=0.55)
    assert tracker.counts["confirmed"] == 0
    assert len(tracker) == 1
    seen = walk(tracker, 1, 1.1, {1: lambda t: (300 + 40 * t, 300)}, confidence=0.65)
    assert tracker.counts["confirmed"] == 1
    assert seen == {1: 1}
    faint = Tracker(TrackerConfig(emit_tentative=True), RATE)
    walk(faint, 0, 1, {1: lambda t: (300 + 40 * t, 300)}, confidence=0.46)
    assert len(faint) == 0
