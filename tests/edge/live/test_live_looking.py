"""Rounds of a live run: the next one is detected while one is tracked, and nothing is lost."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from test_live_run import BarDetector, SameEmbedder, watch

from crosscam_edge.live.looking import Looking
from crosscam_edge.opening import Models
from crosscam_edge.timers import StageTimers


class Camera:
    """Stands for `Watched`: shows one picture, and notes what was tracked in it."""

    detector = None

    def __init__(self, meanwhile=lambda: None):
        self.meanwhile, self.tracked = meanwhile, []
        self.analysis = self

    def look(self, frame, found, embed):
        self.meanwhile()
        self.tracked.append(len(found.xyxy))
        return SimpleNamespace(rows=())

    def picture(self):
        image = np.full((60, 80, 3), 40, np.uint8)
        image[:, 20:40] = 220
        return SimpleNamespace(frame=lambda: SimpleNamespace(image=image))


@pytest.fixture
def looking():
    made = []

    def make(detector, workers=1):
        models = Models(detector, SameEmbedder(), {}, workers)
        made.append(Looking(models, StageTimers()))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_the_next_round_is_detected_while_one_is_tracked(looking):
    """Tracking waits for a detection that comes of the next round: it would wait for ever."""
    detected = threading.Semaphore(0)

    class Telling(BarDetector):
        def detect(self, images):
            found = super().detect(images)
            detected.release()
            return found

    def both_were_detected():
        assert detected.acquire(timeout=20)
        assert detected.acquire(timeout=20)

    ours = looking(Telling())
    first, second = Camera(both_were_detected), Camera()
    begun = ours.begin([(first, first.picture())], 1)
    after = ours.begin([(second, second.picture())], 2)
    assert ours.waiting == 2
    (look,) = ours.finish(begun, [first, second])
    assert look.error is None
    assert (look.taken_ns, first.tracked, ours.waiting) == (1, [1], 1)
    assert [each.watched for each in ours.finish(after, [first, second])] == [second]
    assert ours.waiting == 0


def test_pictures_of_cameras_that_have_left_are_let_go(looking):
    """Their tracks were ended and told: another one would belong to nobody."""
    ours = looking(BarDetector())
    left, here = Camera(), Camera()
    begun = ours.begin([(left, left.picture()), (here, here.picture())], 1)
    assert [each.watched for each in ours.finish(begun, [here])] == [here]
    assert (left.tracked, here.tracked, ours.waiting) == ([], [1], 0)


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_is_taken_than_keeps_the_detector_busy(looking, workers):
    assert looking(BarDetector(), workers).at_once == workers


def test_pictures_of_a_round_are_tracked_side_by_side(looking):
    """Each waits for the other: one after the other they would wait for ever."""
    both = threading.Barrier(2)
    ours = looking(BarDetector(), 2)
    cameras = [Camera(lambda: both.wait(20)) for _ in range(2)]
    begun = ours.begin([(each, each.picture()) for each in cameras], 1)
    looks = list(ours.finish(begun, cameras))
    assert [each.error for each in looks] == [None, None]
    assert [each.watched for each in looks] == cameras


def test_what_a_picture_takes_is_measured_also_with_a_detector_of_its_own(looking):
    class Slow(BarDetector):
        def detect(self, images):
            time.sleep(0.05 * len(images))
            return super().detect(images)

    shared, own = Camera(lambda: time.sleep(0.02)), Camera()
    own.detector = Slow()
    ours = looking(Slow(), 2)
    begun = ours.begin([(shared, shared.picture()), (own, own.picture())], 1)
    first, second = ours.finish(begun, [shared, own])
    assert first.detector_s >= 0.025  # two pictures at a time
    assert second.detector_s >= 0.05
    assert first.track_s >= 0.02
    assert min(first.convert_s, second.convert_s) > 0


def test_what_was_begun_is_finished_at_the_end(large):
    """The run is stopped when a picture was taken and is not tracked: it is still told."""
    begun, stopped = threading.Event(), threading.Event()

    def hold(run):
        """Hold the run's thread between two rounds, where a picture is begun."""
        if run.queues()["taken"]:
            begun.set()
            assert stopped.wait(20)
        else:
            run.ask(lambda: hold(run))

    def stop(run, told):
        if not asked:
            asked.append(run.ask(lambda: hold(run)))
        if begun.is_set():
            threading.Timer(0.3, stopped.set).start()  # by then the run was told to stop
        return begun.is_set()

    asked, detector = [], BarDetector()
    detected = []
    find = detector.detect
    detector.detect = lambda images: detected.append(len(images)) or find(images)
    run, told = watch([{"id": "hall", "video": str(large / "hall.mp4")}], stop, detector=detector)
    assert run.looked_at()["hall"] == len([r for r in told if r["type"] == "tracks"])
    assert run.looked_at()["hall"] == sum(detected) >= 1
    assert run.queues()["taken"] == 0


def test_cameras_that_have_waited_longest_come_first(large):
    """A detector that holds two pictures a second is shared by three cameras alike."""

    class Slow(BarDetector):
        def detect(self, images):
            threading.Event().wait(0.15)
            return super().detect(images)

    names = ("a", "b", "c")
    run, _ = watch(
        [{"id": name, "video": str(large / "hall.mp4")} for name in names],
        lambda run, _: sum(run.looked_at().values()) >= 24,
        detector=Slow(),
    )
    looked = run.looked_at().values()
    assert max(looked) - min(looked) <= 4
