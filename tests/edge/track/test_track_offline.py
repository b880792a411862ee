"""Judging and joining after the end, and the whole camera on real footage."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from crosscam_deploy.detections import Detections
from crosscam_edge.track import CameraTracking, LinkConfig, Verdict, apply_verdict, link
from crosscam_edge.track.gaps import GapFiller, TrackRow
from crosscam_edge.track.refine import furniture, spurious
from crosscam_edge.track.summary import TrackSummary
from crosscam_edge.types import Tracklet

SIZE = (1280, 720)


def unit(rng, base, spread=0.1, n=6):
    rows = base + rng.normal(0, spread / np.sqrt(len(base)), (n, len(base)))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def tracklet(track_id, start, end, entry, exit_, rows, velocity=(0.0, 0.0)):
    def box(at):
        return np.array([at[0] - 25, at[1] - 75, at[0] + 25, at[1] + 75], np.float32)

    return Tracklet(
        camera_id="a",
        track_id=track_id,
        start_ns=int(start * 1e9),
        end_ns=int(end * 1e9),
        start_frame=round(start * 10),
        end_frame=round(end * 10),
        observations=round((end - start) * 10) + 1,
        entry_box=box(entry),
        exit_box=box(exit_),
        image_size=SIZE,
        embeddings=rows,
        embedding_times_ns=np.linspace(start * 1e9, end * 1e9, len(rows)).astype(np.int64),
        qualities=np.ones(len(rows), np.float32),
        exit_velocity=np.array(velocity, np.float32),
        entry_velocity=np.array(velocity, np.float32),
    )


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_fragments_of_one_person_are_joined_and_those_of_two_are_not(rng):
    a, b = np.linalg.qr(rng.normal(size=(64, 2)))[0].T
    first = tracklet(1, 0, 5, (300, 400), (600, 400), unit(rng, a), (60, 0))
    same = tracklet(2, 7, 12, (720, 400), (900, 400), unit(rng, a), (60, 0))
    other = tracklet(3, 7, 12, (715, 405), (900, 420), unit(rng, b), (60, 0))
    assert link([first, same]) == {1: 1, 2: 1}
    assert link([first, other]) == {1: 1, 3: 3}
    assert link([other, same, first]) == {1: 1, 2: 1, 3: 3}


def test_joined_fragments_follow_each_other(rng):
    base = np.linalg.qr(rng.normal(size=(64, 1)))[0].T[0]
    for seed in range(30):
        local = np.random.default_rng(seed)
        tracklets = []
        for k in range(12):
            start = local.uniform(0, 30)
            place = tuple(local.uniform([200, 200], [1000, 500]))
            end = start + local.uniform(0.5, 8)
            tracklets.append(tracklet(k + 1, start, end, place, place, unit(local, base)))
        groups: dict[int, list[Tracklet]] = {}
        joined = link(tracklets)
        for t in tracklets:
            groups.setdefault(joined[t.track_id], []).append(t)
        for members in groups.values():
            members.sort(key=lambda t: t.start_ns)
            for x, y in pairwise(members):
                assert x.end_ns < y.end_ns
                assert y.start_ns > x.end_ns - LinkConfig().max_overlap_s * 1e9
            assert min(members, key=lambda t: t.start_ns).track_id in groups


def test_a_track_that_began_before_the_last_one_let_go_is_its_continuation(rng):
    a = np.linalg.qr(rng.normal(size=(64, 1)))[0].T[0]
    first = tracklet(1, 0, 5, (300, 400), (600, 400), unit(rng, a), (60, 0))
    second = tracklet(2, 4.6, 9, (576, 400), (840, 400), unit(rng, a), (60, 0))
    assert link([first, second]) == {1: 1, 2: 1}
    elsewhere = tracklet(2, 4.6, 9, (1000, 200), (840, 400), unit(rng, a), (-60, 0))
    assert link([first, elsewhere]) == {1: 1, 2: 2}
    inside = tracklet(2, 4.2, 4.8, (550, 400), (590, 400), unit(rng, a), (60, 0))
    assert link([first, inside]) == {1: 1, 2: 2}


def test_pairs_that_share_nothing_are_solved_apart_with_the_same_outcome(rng):
    """Many small scenes far apart in time, linked at once and one by one."""
    together, apart = [], {}
    for scene in range(6):
        base = np.linalg.qr(rng.normal(size=(64, 1)))[0].T[0]
        local = []
        for k in range(4):
            start = 100 * scene + 3 * k + rng.uniform(0, 0.5)
            place = (400 + 10 * k, 300)
            local.append(tracklet(10 * scene + k, start, start + 2, place, place, unit(rng, base)))
        together += local
        apart |= {t.track_id: t for t in local}
    joined = link(together)
    assert len(set(joined.values())) < len(joined)  # something was joined
    for scene in range(6):
        mine = {k: v for k, v in joined.items() if k // 10 == scene}
        assert set(mine.values()) <= set(mine)  # never across scenes


def test_the_later_of_two_overlapping_fragments_has_the_person():
    rows = [TrackRow(f, f * 10**8, 1, np.full(4, f, np.float32), 0.9) for f in range(6)]
    rows += [TrackRow(f, f * 10**8, 2, np.full(4, 100 + f, np.float32), 0.9) for f in range(4, 9)]
    out = apply_verdict(rows, Verdict([], {1: 1, 2: 1}, {}, {}))
    assert [r.frame_index for r in out] == list(range(9))
    assert [int(r.xyxy[0]) for r in out] == [0, 1, 2, 3, 104, 105, 106, 107, 108]


def test_moved_rows_belong_to_whom_they_show():
    verdict = Verdict(
        [], {1: 1, 2: 2, 5: 2}, {}, {2: [(30, 40)]}, {1: [(10, 19, 2)], 2: [(0, 3, 5)]}
    )
    assert [verdict.owner(1, f) for f in (9, 10, 19, 20)] == [1, 2, 2, 1]
    assert [verdict.owner(2, f) for f in (0, 4, 30, 41)] == [2, 2, None, 2]
    assert verdict.owner(7, 0) is None


def test_a_second_box_on_the_same_person_is_dropped():
    tracking = CameraTracking("a", SIZE, 10)
    whole, half = np.array([100, 100, 160, 280]), np.array([103, 102, 158, 190])
    for k in range(40):
        shift = np.array([8 * k, 0, 8 * k, 0])
        boxes = [whole + shift] if k < 10 or k > 30 else [whole + shift, half + shift]
        boxes.append(np.array([900, 300, 960, 480]))
        detections = Detections(
            np.array(boxes, np.float32),
            np.full(len(boxes), 0.9, np.float32),
            np.zeros(len(boxes), np.int32),
        )
        tracking.step(k, k * 10**8, detections)
    verdict = tracking.finish()
    assert list(verdict.dropped.values()) == ["double"]
    assert len(verdict.tracklets) == 2


def test_two_who_walk_arm_in_arm_stay_two(rng):
    """Their boxes lie on each other most of the way; their looks say that they are not one."""
    dim = 64
    a, b = np.linalg.qr(rng.normal(size=(dim, 2)))[0].T.astype(np.float32)

    def dropped(first, second):
        tracking = CameraTracking("a", SIZE, 10, link=None)
        for k in range(40):
            gap = max(90 - 8 * k, 14)  # they come together; nobody behind another is embedded
            box = np.array([[100, 100, 160, 280], [100 + gap, 102, 160 + gap, 284]])
            box += np.array([8 * k, 0, 8 * k, 0])
            detections = Detections(
                box.astype(np.float32), np.full(2, 0.9, np.float32), np.zeros(2, np.int32)
            )
            rows = np.stack([first, second])
            tracking.step(k, k * 10**8, detections, lambda index, rows=rows: rows[index])
        return list(tracking.finish().dropped.values())

    assert dropped(a, b) == []
    assert dropped(a, a) == ["double"]


def test_who_left_at_the_border_is_not_joined_to_who_comes_in(rng):
    a = np.linalg.qr(rng.normal(size=(64, 1)))[0].T[0]
    gone = tracklet(1, 0, 5, (600, 400), (1262, 400), unit(rng, a))
    back = tracklet(2, 8, 12, (1262, 400), (600, 400), unit(rng, a))
    assert link([gone, back]) == {1: 1, 2: 2}


def test_no_tracklets_and_tracklets_without_embeddings(rng):
    assert link([]) == {}
    none = np.zeros((0, 64), np.float32)
    a = tracklet(1, 0, 5, (300, 400), (600, 400), none)
    near = tracklet(2, 5.3, 9, (605, 402), (700, 400), none)
    late = tracklet(3, 14, 19, (700, 400), (700, 400), none)
    assert link([a, near, late]) == {1: 1, 2: 1, 3: 3}


def summary(path, confidence, seconds, rate=10.0):
    out = None
    for k in range(round(seconds * rate)):
        x, y = path(k / rate)
        out = out or TrackSummary(0, 0)
        out.add(k, int(k / rate * 1e9), np.array([x, y, x + 40, y + 120], np.float32), confidence)
    return out


def test_a_post_is_furniture_and_a_waiting_person_is_not():
    walkers = {k: summary(lambda t: (60 * t, 300), 0.8, 10) for k in (1, 2, 3)}
    post = {4: summary(lambda t: (500, 200), 0.55, 60)}
    waiting = {5: summary(lambda t: (700, 200), 0.8, 60)}
    swaying = {6: summary(lambda t: (800 + 12 * np.sin(t), 200), 0.55, 60)}
    all_ = walkers | post | waiting | swaying
    assert spurious(all_) == {4: "furniture"}
    assert spurious(post | waiting) == {}  # nobody walks: nothing to compare with


def test_a_person_whose_track_sticks_to_a_post_loses_only_that_stretch():
    walkers = {k: summary(lambda t: (60 * t, 300), 0.8, 10) for k in (1, 2, 3)}
    stuck = TrackSummary(0, 0)
    for k in range(500):
        x = 60 * k / 10 if k < 100 else 600
        box = np.array([x, 300, x + 40, 420], np.float32)
        stuck.add(k, k * 10**8, box, 0.8 if k < 100 else 0.5)
    found = furniture(walkers | {9: stuck})
    assert list(found) == [9]
    ((first, last),) = found[9]
    assert 98 <= first <= 111  # a moment passes before a stop is one
    assert last == 499
    assert spurious(walkers | {9: stuck}) == {}


def test_short_sparse_and_faint_tracks_go():
    sparse = TrackSummary(0, 0)
    for k in range(0, 100, 10):
        sparse.add(k, k * 10**8, np.array([0, 0, 40, 120], np.float32), 0.9)
    tracks = {
        1: summary(lambda t: (60 * t, 0), 0.9, 0.3),
        2: sparse,
        3: summary(lambda t: (60 * t, 0), 0.3, 1.0),
        4: summary(lambda t: (60 * t, 0), 0.3, 3.0),
    }
    assert spurious(tracks) == {1: "short", 2: "sparse", 3: "faint"}


def test_density_counts_the_pictures_that_were_looked_at():
    every_fifth = TrackSummary(20, 0, look=4)
    for k in range(10):
        every_fifth.add(
            20 + 5 * k, k * 5 * 10**8, np.array([0, 0, 40, 120], np.float32), 0.9, 4 + k
        )
    assert every_fifth.density == 1.0
    assert spurious({1: every_fifth}) == {}


def test_gaps_are_filled_in_line_and_marked():
    def row(frame, x):
        return TrackRow(frame, frame * 10**8, 7, np.array([x, 0, x + 10, 30], np.float32), 0.5)

    filler = GapFiller(1.0)
    assert [r.frame_index for r in filler.push([row(0, 0)])] == [0]
    got = filler.push([row(4, 40)])
    assert [(r.frame_index, float(r.xyxy[0]), r.interpolated) for r in got] == [
        (1, 10, True),
        (2, 20, True),
        (3, 30, True),
        (4, 40, False),
    ]
    assert len(filler.push([row(30, 0)])) == 1  # too long a gap stays open


def test_summaries_stay_small_however_long_the_track():
    import pickle

    sizes = []
    still = TrackSummary(0, 0)
    for k in range(20000):
        x = (k // 50) * 40.0  # stands 5 s, moves on, for ever
        still.add(k, k * 10**8, np.array([x, 0, x + 40, 120], np.float32), 0.9)
        if k in (9999, 19999):
            sizes.append(len(pickle.dumps(still._runs)))
    assert sizes[1] < 1.2 * sizes[0]
    assert len(still.runs) <= 33


def test_a_camera_end_to_end():
    tracking = CameraTracking("a", SIZE, 10.0)
    rows = []
    for k in range(60):
        boxes = [[200 + 6 * k, 200, 250 + 6 * k, 350]]
        if 20 <= k < 25:
            boxes = []
        if k == 40:
            boxes.append([900, 100, 950, 250])  # a flash
        found = Detections(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.full(len(boxes), 0.9, np.float32),
            np.zeros(len(boxes), np.int32),
        )
        rows += tracking.step(k, k * 10**8, found)
    verdict = tracking.finish()
    assert [t.track_id for t in verdict.tracklets] == [1]
    kept = apply_verdict(rows, verdict)
    assert [r.frame_index for r in kept] == list(range(60))
    assert sum(r.interpolated for r in kept) == 5
    assert verdict.tracklets[0].observations == 55
    np.testing.assert_allclose(verdict.tracklets[0].exit_velocity, [60, 0], atol=1)
