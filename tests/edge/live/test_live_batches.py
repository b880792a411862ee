"""Pictures of several cameras in one call: the same results, nobody else's faults, no waiting."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from test_live_run import BarDetector, SameEmbedder, watch

from crosscam_deploy import zoo
from crosscam_deploy.runtime import open_runtime
from crosscam_edge.embed.model import ModelEmbedder
from crosscam_edge.live.batches import (
    WAIT_S,
    BatchedDetector,
    Meeting,
    pictures_a_call,
    together_or_alone,
)
from crosscam_edge.timers import StageTimers


class Counting(BarDetector):
    """Notes how many pictures each call had."""

    def __init__(self, **more):
        super().__init__(**more)
        self.calls = []

    def detect(self, images):
        self.calls.append(len(images))
        return super().detect(images)


class ManySame(SameEmbedder):
    """Embeds the number of the picture; breaks on black ones."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def embed_many(self, asked):
        self.calls.append(len(asked))
        out = []
        for image, boxes in asked:
            if not image.any():
                raise ValueError("black")
            rows = np.zeros((len(boxes), self.dim), np.float32)
            rows[:, int(image[0, 0, 0]) % self.dim] = 1
            out.append(rows)
        return out

    def embed(self, image, boxes):
        return self.embed_many([(image, boxes)])[0]


def pictures(*shapes):
    rng = np.random.default_rng(0)
    out = [np.full((*shape, 3), 40, np.uint8) for shape in shapes]
    for image in out:
        left = int(rng.integers(0, image.shape[1] - 30))
        image[:, left : left + 30] = 220
    return out


def same(a, b):
    return np.array_equal(a.xyxy, b.xyxy) and np.array_equal(a.confidence, b.confidence)


@pytest.fixture
def pool():
    made = []

    def make(detector, asked):
        made.append(BatchedDetector(detector, workers=1, asked=asked, timers=StageTimers()))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_pictures_of_one_shape_share_calls_and_are_found_the_same(pool):
    images = pictures((120, 160), (120, 160), (90, 160), (120, 160), (120, 160), (90, 160))
    one, many = Counting(), Counting()
    alone = [found().people for found in pool(one, 1).detect(images)]
    together = [found().people for found in pool(many, 3).detect(images)]
    assert one.calls == [1] * 6
    assert sorted(many.calls) == [1, 2, 3]
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))
    assert pool(many, 3).detect([]) == []


def test_a_picture_that_breaks_a_call_is_one_cameras_fault(pool):
    images = pictures((120, 160), (120, 160), (120, 160))
    images[1][:] = 0

    class Fragile(Counting):
        def detect(self, images):
            found = super().detect(images)
            if any(not image.any() for image in images):
                raise ValueError("black")
            return found

    detector = Fragile()
    found = pool(detector, 8).detect(images)
    with pytest.raises(ValueError, match="black"):
        found[1]()
    alone = BarDetector().detect(images)
    assert same(found[0]().people, alone[0])
    assert same(found[2]().people, alone[2])
    assert detector.calls == [3, 1, 1, 1]


def test_one_thing_is_not_tried_twice():
    tried = []

    def work(things):
        tried.append(things)
        raise OSError("no")

    (found,) = together_or_alone(work, [1])
    assert isinstance(found, OSError)
    assert tried == [[1]]


@pytest.mark.parametrize(
    ("device", "most", "asked", "expected"),
    [
        ("CPU", None, None, 1),
        ("CPU", None, 4, 4),
        ("NVIDIA H200", None, None, 8),
        ("NVIDIA H200", 4, None, 4),
        ("NVIDIA H200", 1, 16, 1),
    ],
)
def test_how_many_share_a_call(device, most, asked, expected):
    model = SimpleNamespace(runtime=SimpleNamespace(device=device, max_batch=most))
    assert pictures_a_call(model, asked) == expected


def test_models_without_an_engine_are_asked_one_by_one():
    assert pictures_a_call(BarDetector()) == 1


def meet(embedder, images, *, expected, wait_s=WAIT_S):
    """Embed one box of each picture, a thread each; returns what came of each."""
    meeting = Meeting(embedder, wait_s)
    meeting.expect(expected)
    box = np.array([[0, 0, 9, 9]], np.float32)

    def one(image):
        try:
            return meeting.embed(image, box)
        except ValueError as error:
            return error
        finally:
            meeting.gone()

    with ThreadPoolExecutor(len(images)) as threads:
        return list(threads.map(one, images))


def test_crops_of_several_cameras_meet_in_one_call():
    embedder = ManySame()
    images = [np.full((20, 20, 3), k + 1, np.uint8) for k in range(5)]
    found = meet(embedder, images, expected=5, wait_s=30)
    assert embedder.calls == [5]
    for image, rows in zip(images, found, strict=True):
        assert np.array_equal(rows, ManySame().embed(image, np.zeros((1, 4))))


def test_a_crop_that_breaks_a_call_is_one_cameras_fault():
    embedder = ManySame()
    images = [np.full((20, 20, 3), k, np.uint8) for k in range(3)]
    found = meet(embedder, images, expected=3, wait_s=30)
    assert isinstance(found[0], ValueError)
    assert found[1][0, 1] == found[2][0, 2] == 1
    assert embedder.calls == [3, 1, 1, 1]


def test_nobody_waits_for_who_does_not_come():
    began = time.monotonic()
    meet(ManySame(), [np.ones((20, 20, 3), np.uint8)], expected=2)  # the other one never asks
    assert WAIT_S <= time.monotonic() - began < 2


def test_nobody_waits_for_who_has_gone():
    embedder, started = ManySame(), threading.Event()
    meeting = Meeting(embedder, 30)
    meeting.expect(2)

    def leaves():
        started.wait()
        meeting.gone()

    with ThreadPoolExecutor(1) as threads:
        left = threads.submit(leaves)
        started.set()
        began = time.monotonic()
        meeting.embed(np.ones((20, 20, 3), np.uint8), np.zeros((1, 4)))
        assert time.monotonic() - began < 20
        left.result()


def test_a_real_network_answers_the_same_together():
    """The packaged model in the engine of this machine."""
    embedder = ModelEmbedder(open_runtime(zoo.resolve("crosscam-reid"), threads=1))
    try:
        rng = np.random.default_rng(1)
        asked = [
            (rng.integers(0, 255, (120, 160, 3), np.uint8), np.array(boxes, np.float64))
            for boxes in (
                [[5, 5, 50, 110], [300, 300, 400, 400]],  # the second is outside
                np.zeros((0, 4)),
                [[60, 10, 100, 100], [100, 20, 150, 118]],
            )
        ]
        together = embedder.embed_many(asked)
        unusable = embedder.unusable
        alone = [embedder.embed(image, boxes) for image, boxes in asked]
    finally:
        embedder.close()
    assert unusable == 1
    assert [len(rows) for rows in together] == [2, 0, 2]
    assert not together[0][1].any()
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_run_that_shares_calls_tracks_as_one_that_does_not(large):
    """Two looks at the same recording in one run: they share shape, and so calls."""
    detector, embedder = Counting(), ManySame()
    run, told = watch(
        [
            {"id": "a", "video": str(large / "hall.mp4")},
            {"id": "b", "video": str(large / "hall.mp4")},
            {"id": "c", "video": str(large / "yard.mp4")},
        ],
        lambda run, told: (
            min(run.looked_at().values()) > 12 and max(detector.calls) > 1
            and max(embedder.calls, default=0) > 1
        ),
        detector=detector, embedder=embedder, live={"batch": 4},
    )  # fmt: skip
    assert not run.failures()
    for record in told:
        if record["type"] == "tracks":
            assert len(record["people"]) <= 1
    seen = {r["camera"] for r in told if r["type"] == "tracks" and r["people"]}
    assert seen == {"a", "b", "c"}
