"""A camera that never ends: what it tells while it runs, and that it does not grow."""

from __future__ import annotations

import numpy as np
import pytest

from crosscam_deploy.detections import Detections
from crosscam_edge.associate.online import OnlineAssociation
from crosscam_edge.track import TrackerConfig
from crosscam_edge.track.live import LiveTracking
from crosscam_edge.track.refine import RefineConfig
from crosscam_edge.track.summary import TrackSummary
from crosscam_edge.track.things import Things
from crosscam_edge.types import TrackletKey

SIZE = (1280, 720)
STEP = 100_000_000  # ns
DIM = 16


def box(x, y=300.0, height=150.0):
    return (x - height / 6, y, x + height / 6, y + height)


def detections(*found):
    """`found`: boxes and confidences."""
    return Detections(
        np.array([b for b, _ in found], np.float32).reshape(-1, 4),
        np.array([c for _, c in found], np.float32),
        np.zeros(len(found), np.int64),
    )


def looks(index):
    """Everybody looks alike; it is enough to have a look."""
    rows = np.zeros((len(index), DIM), np.float32)
    rows[:, 0] = 1.0
    return rows


def live():
    return LiveTracking("a", SIZE, 10.0)


def walk(camera, first, start_x=100.0, speed=12.0, frames=60, extra=(), confidence=0.9):
    """Somebody walks from left to right; yields what each frame brought."""
    for k in range(frames):
        people = [(box(start_x + speed * k), confidence), *extra]
        yield camera.step(first + k, (first + k) * STEP, detections(*people), looks)


def empty(camera, first, frames):
    return [camera.step(first + k, (first + k) * STEP, detections(), looks) for k in range(frames)]


def test_a_walk_from_its_first_crop_to_its_end():
    camera = live()
    seen = list(walk(camera, 0))
    tracks = {row.track_id for frame in seen for row in frame.rows}
    assert len(tracks) == 1
    grown = [t for frame in seen for t in frame.grown]
    assert [len(t.embeddings) for t in grown] == sorted(len(t.embeddings) for t in grown)
    assert len(grown) >= 3
    after = empty(camera, 60, 130)
    ended = [t for frame in after for t in frame.ended]
    assert [t.key for t in ended] == [TrackletKey("a", tracks.pop())]
    assert ended[0].end_ns == 59 * STEP
    assert not any(frame.nobody for frame in seen + after)


def test_a_track_that_has_ended_is_kept_once_and_in_half_precision():
    camera = live()
    online = OnlineAssociation(dim=DIM, model_id="m")
    grown = [tracklet for frame in walk(camera, 0) for tracklet in frame.grown]
    assert {tracklet.embeddings.dtype for tracklet in grown} == {np.dtype(np.float32)}
    (ended,) = [
        tracklet for frame in [*empty(camera, 60, 60), camera.flush()] for tracklet in frame.ended
    ]
    assert ended.embeddings.dtype == np.float16
    online.observe(ended, ended=True)
    online.step(ended.end_ns)
    (person,) = online.people
    assert person.members[ended.key].tracklet is ended


@pytest.mark.parametrize("every", [5, 15])
def test_a_walk_of_which_few_pictures_are_looked_at_is_somebody(every):
    """A camera of 10 or 30 pictures a second that is looked at twice a second."""
    camera, told = LiveTracking("a", SIZE, 2.0), []
    for k in range(60):
        people = [(box(100.0 + 60 * k), 0.9)] if k < 12 else []
        told.append(camera.step(every * k, k * 5 * STEP, detections(*people), looks))
    assert len({key.track_id for frame in told for key in (t.key for t in frame.ended)}) == 1
    assert not any(frame.nobody for frame in told)


def test_what_was_too_short_is_nobody_at_its_end():
    camera = live()
    seen = list(walk(camera, 0, frames=4))
    keys = {TrackletKey("a", row.track_id) for frame in seen for row in frame.rows}
    after = empty(camera, 4, 130)
    assert keys
    assert {k: why for frame in after for k, why in frame.nobody.items()} == dict.fromkeys(
        keys, "short"
    )
    assert not any(frame.ended for frame in after)


def test_a_post_is_found_out_and_hidden_from_then_on():
    camera, post, at = live(), (box(1000.0), 0.62), 0
    frames = []
    for _ in range(4):  # three walkers at least say how sure people are
        frames += list(walk(camera, at, frames=60, extra=[post]))
        at += 60
        frames += [
            camera.step(at + k, (at + k) * STEP, detections(post), looks) for k in range(120)
        ]
        at += 120
    nobody = {k: why for frame in frames for k, why in frame.nobody.items()}
    assert set(nobody.values()) == {"furniture"}
    post_rows = [r for frame in frames for r in frame.rows if abs(r.xyxy[0] - post[0][0]) < 5]
    assert post_rows[-1].frame_index < 2 * 180 + 60  # until the third has walked by
    # Its track ends; another one at the place is hidden from its first frame.
    empty(camera, at, 150)
    at += 150
    again = [camera.step(at + k, (at + k) * STEP, detections(post), looks) for k in range(60)]
    assert not any(frame.rows or frame.grown for frame in again)
    # Somebody who stands there is seen: people are surer.
    at += 200
    person = (box(1000.0), 0.93)
    there = [camera.step(at + k, (at + k) * STEP, detections(person), looks) for k in range(60)]
    assert sum(bool(frame.rows) for frame in there) > 50


def summary_of(place, confidence, frames, moving=0.0):
    out = TrackSummary(0, 0)
    for k in range(frames):
        out.add(k, k * STEP, np.array(box(place + moving * k)), confidence)
    return out


def test_places_are_forgotten_and_bounded():
    things = Things(RefineConfig())
    walkers = {k: summary_of(100.0, 0.9, 60, moving=10.0) for k in range(3)}
    things.learn({**walkers, 9: summary_of(700.0, 0.6, 120)}, 120 * STEP)
    assert len(things) == 1
    assert things.hide(np.array(box(702.0)), 0.6, 121 * STEP)
    assert not things.hide(np.array(box(702.0)), 0.9, 121 * STEP)
    assert not things.hide(np.array(box(702.0, height=250.0)), 0.6, 121 * STEP)
    assert not things.hide(np.array(box(900.0)), 0.6, 121 * STEP)
    things.learn(walkers, 3_700_000_000_000)
    assert len(things) == 0
    many = {k: summary_of(8.0 * k, 0.6, 120) for k in range(10, 200, 5)}
    things.learn({**walkers, **many}, 120 * STEP)
    assert 20 < len(things) <= 64


def test_a_camera_of_many_days_does_not_grow():
    camera = LiveTracking("a", SIZE, 10.0, tracker=TrackerConfig(max_lost_s=0.5))
    rng = np.random.default_rng(0)
    at = 0
    sizes = []
    for _ in range(400):
        list(walk(camera, at, frames=8, start_x=float(rng.uniform(100, 900))))
        empty(camera, at + 8, 7)
        at += 15
        sizes.append(
            len(camera._summaries) + len(camera._ended) + len(camera._nobody) + len(camera._builder)
        )
    assert sizes[150] > 200  # it did remember
    assert max(sizes) <= 2 * 128 + 4


@pytest.mark.parametrize("size", [(640, 360), (1920, 1080)])
def test_the_picture_may_change_its_size(size):
    camera = live()
    list(walk(camera, 0, frames=20))
    camera.flush()
    camera.image_size = size
    seen = list(walk(camera, 30, frames=20, start_x=50.0, speed=5.0))
    assert seen[-1].rows
    assert camera.flush().ended[0].image_size == size
