"""Runs that cannot keep up, and what is told of them."""

from __future__ import annotations

import time

from rtsp_server import write_video
from test_live_run import BarDetector, watch

from crosscam_edge.live.latency import STAGES
from crosscam_edge.live.rates import Pace


class Slow(BarDetector):
    """Takes its time for each picture."""

    pause_s = 0.5

    def detect(self, images):
        time.sleep(self.pause_s * len(images))
        return super().detect(images)


def test_too_much_is_told_and_cameras_with_people_come_first(large, tmp_path):
    empty = write_video(tmp_path / "empty.mp4", size=(320, 240), bar=0)
    detector, seen = Slow(), []

    def steps(run, told):
        """First far too much, then a little too much, then nothing."""
        health = {each.camera_id: each for each in run.health()}
        paces = {name: each.pace for name, each in health.items()}
        if detector.pause_s == 0.5 and Pace.TOO_LOW in paces.values():
            detector.pause_s = 0.1
        rates = {name: each.look_rate for name, each in health.items()}
        if detector.pause_s == 0.1 and paces["empty"] is Pace.LOWERED:
            seen.append((rates["hall"], rates["empty"]))
            if rates["hall"] > rates["empty"] + 0.5:
                detector.pause_s = 0
        return detector.pause_s == 0 and set(paces.values()) == {Pace.FULL}

    run, told = watch(
        [{"id": "hall", "video": str(large / "hall.mp4")}, {"id": "empty", "video": str(empty)}],
        steps, detector=detector, seconds=60,
    )  # fmt: skip
    busy, idle = seen[-1]  # on the way there rates rise in turn
    assert busy > idle + 0.5
    paces = [r["pace"] for r in told if r["type"] == "camera" and r["camera"] == "empty"]
    assert paces.index("too_low") < paces.index("lowered") < len(paces) - 1
    assert paces[-1] == "full"
    assert not run.failures()


def test_one_camera_is_too_much_also_for_an_engine_that_takes_many(large):
    """It has a picture for one of eight places, and more of them would not come sooner."""
    run, _ = watch(
        [{"id": "hall", "video": str(large / "hall.mp4")}],
        lambda run, _: run.health()[0].pace is not Pace.FULL,
        detector=Slow(), live={"batch": 8},
    )  # fmt: skip
    assert run.health()[0].look_rate < 5


def test_latency_is_told_by_camera_and_by_stage(large):
    run, _ = watch(
        [
            {"id": "hall", "video": str(large / "hall.mp4")},
            {"id": "dead", "url": "rtsp://127.0.0.1:1/x"},
        ],
        lambda run, _: run.looked_at()["hall"] > 8,
        detector=Slow(),
    )
    by_camera = run.latencies()
    assert by_camera["hall"].count == run.latency.count == run.looked_at()["hall"]
    assert by_camera["dead"].quantiles() == {"p50": None, "p95": None, "p99": None}
    assert tuple(run.stages) == STAGES
    assert {each.count for each in run.stages.values()} == {run.latency.count}
    assert run.stages["detect"].quantile(0.5) >= Slow.pause_s
    parts = sum(each.total_s for each in run.stages.values())
    assert abs(parts - run.latency.total_s) < 0.01 * run.latency.count
    assert run.queues() == {"arrived": 0, "taken": 0, "requests": 0}
