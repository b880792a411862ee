"""Whole live runs: real sources, models made for the test, cameras that fail."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest

from crosscam_deploy.detections import Detections
from crosscam_edge.associate import AssociationConfig
from crosscam_edge.cli import main
from crosscam_edge.config import CameraConfig, SiteConfig
from crosscam_edge.live.camera import CameraState
from crosscam_edge.live.clocks import UtcClock
from crosscam_edge.live.open import live_cameras
from crosscam_edge.live.run import LiveRun
from crosscam_edge.opening import Models
from crosscam_kernels.errors import UsageError

CLOCK = UtcClock()


@dataclass
class BarDetector:
    """Takes the bright bar of `write_video` for a person."""

    name: str = "bar"
    model_id: str = "bar"
    sequential: bool = False
    inference_seconds: float = 0.0
    fails_on: tuple[int, int] | None = None
    threads: set[str] = field(default_factory=set)

    def detect(self, images):
        out = []
        for image in images:
            self.threads.add(threading.current_thread().name)
            if self.fails_on == image.shape[:2]:
                raise ValueError("this camera's pictures break the detector")
            columns = np.flatnonzero(image.mean(axis=(0, 2)) > 130)
            boxes = [[columns[0], 10, columns[-1] + 1, image.shape[0] - 10]] if len(columns) else []
            n = len(boxes)
            out.append(
                Detections(
                    np.array(boxes, np.float32).reshape(-1, 4),
                    np.full(n, 0.9, np.float32),
                    np.zeros(n, np.int64),
                )
            )
        return out

    def for_camera(self):
        return self

    def close(self):
        pass


@dataclass
class SameEmbedder:
    """Everybody looks alike."""

    name: str = "same"
    model_id: str = "same"
    dim: int = 8
    inference_seconds: float = 0.0
    unusable: int = 0

    def embed(self, image, boxes):
        out = np.zeros((len(boxes), self.dim), np.float32)
        out[:, 0] = 1.0
        return out

    def close(self):
        pass


def watch(
    cameras, condition, *, detector=None, embedder=None, seconds=20.0, tracks=True, live=None
):
    """Run until the condition holds of the run; returns it and what it told."""
    settings = SiteConfig(cameras=[CameraConfig(**each) for each in cameras], live=live or {})
    told, runs = [], []
    sources = live_cameras(settings, CLOCK.now_ns, lambda: runs[0].wake() if runs else None)
    models = Models(detector or BarDetector(), embedder or SameEmbedder(), {}, 1)
    run = LiveRun(
        sources, settings, models, site=AssociationConfig(), now_ns=CLOCK.now_ns,
        emit=told.append, tracks=tracks,
    )  # fmt: skip
    runs.append(run)
    stop = threading.Event()
    thread = threading.Thread(target=run.run, args=(stop,))
    thread.start()
    try:
        ends = time.monotonic() + seconds
        while not condition(run, list(told)):
            assert time.monotonic() < ends, [h.fault for h in run.health()]
            time.sleep(0.02)
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()
    return run, told


def test_people_of_two_cameras_get_ids(large):
    def enough(_, told):
        known = {
            record["camera"]
            for record in told
            if record["type"] == "tracks" and any(p["global_id"] for p in record["people"])
        }
        return known == {"hall", "yard"}

    run, told = watch(
        [
            {"id": "hall", "video": str(large / "hall.mp4")},
            {"id": "yard", "video": str(large / "yard.mp4")},
        ],
        enough,
    )
    assert {each.state for each in run.health()} == {CameraState.STOPPED}
    kinds = {record["type"] for record in told}
    assert kinds == {"camera", "tracks", "identity"}
    json.dumps(told, allow_nan=False)
    frames = [r for r in told if r["type"] == "tracks" and r["camera"] == "hall"]
    times = [r["time_ns"] for r in frames]
    assert times == sorted(set(times))
    states = [r["state"] for r in told if r["type"] == "camera" and r["camera"] == "hall"]
    assert states[-1] == "stopped"
    of_hall = [r.get("state", r["type"]) for r in told if r.get("camera") == "hall"]
    assert of_hall.index("running") < of_hall.index("tracks")
    assert run.latency.count == sum(run.looked_at().values())
    assert run.latency.quantile(0.5) < 2
    assert not run.failures()


def test_cameras_that_are_not_there_hold_up_nobody(large):
    dead = [{"id": f"dead{k}", "url": f"rtsp://127.0.0.1:1/{k}"} for k in range(20)]
    run, told = watch(
        [*dead, {"id": "hall", "video": str(large / "hall.mp4")}],
        lambda run, _: (
            run.looked_at()["hall"] > 20 and sum(h.failures > 0 for h in run.health()) == 20
        ),
    )
    health = {h.camera_id: h for h in run.health()}
    assert health["hall"].received < run.looked_at()["hall"] + 12
    refused = [r for r in told if r["type"] == "camera" and r["fault"] == "refused"]
    assert {r["camera"] for r in refused} == {each["id"] for each in dead}


def test_a_camera_that_breaks_the_detector_breaks_no_other(large):
    run, _ = watch(
        [
            {"id": "hall", "video": str(large / "hall.mp4")},
            {"id": "yard", "video": str(large / "yard.mp4")},
        ],
        lambda run, _: run.looked_at()["yard"] > 15 and run.failures().get("hall", 0) > 5,
        detector=BarDetector(fails_on=(240, 320)),
    )
    assert run.looked_at()["hall"] == 0


def test_detectors_with_a_memory_are_asked_in_order(large):
    detector = BarDetector(sequential=True)
    watch(
        [{"id": "hall", "video": str(large / "hall.mp4")}],
        lambda run, _: run.looked_at()["hall"] > 10,
        detector=detector,
    )
    assert not any(name.startswith("detect-") for name in detector.threads)


def test_a_camera_over_rtsp(server):
    _, told = watch(
        [{"id": "hall", "url": server.url("wide.mp4")}],
        lambda run, _: run.looked_at()["hall"] > 15,
    )
    sizes = {tuple(r["size"]) for r in told if r["type"] == "camera" and r["size"]}
    assert sizes == {(320, 180)}


@pytest.mark.parametrize(
    ("cameras", "words"),
    [
        ([], "no cameras"),
        ([{"url": "rtsp://h/x"}], "has no id"),
        ([{"id": "a"}], "neither url nor video"),
        ([{"id": "a", "url": "ftp://u:topsecret@h/x"}], "not the address"),
        ([{"video": "hall.mp4"}, {"id": "Hall", "url": "rtsp://h/x"}], "both called"),
    ],
)
def test_sites_that_cannot_be_watched(cameras, words):
    settings = SiteConfig(cameras=[CameraConfig(**each) for each in cameras])
    with pytest.raises(UsageError, match=words) as caught:
        live_cameras(settings, CLOCK.now_ns, lambda: None)
    assert "topsecret" not in str(caught.value)


def test_the_command_watches_a_site_and_ends_in_time(large, tmp_path, capsys):
    site = tmp_path / "site.yaml"
    site.write_text(
        f"cameras:\n  - {{id: hall, video: {large / 'hall.mp4'}}}\n"
        "  - {id: dead, url: 'rtsp://admin:topsecret@127.0.0.1:1/x'}\n"
        "detector: motion\nembedder: colour\n"
    )
    with pytest.raises(SystemExit) as left:
        main(["run", str(site), "-o", str(tmp_path / "out"), "--seconds", "4", "--json"])
    assert left.value.code == 0
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    assert summary["cameras"]["hall"]["looked_at"] > 10
    assert summary["cameras"]["dead"]["fault"] == "refused"
    told = summary["outputs"]["events.jsonl"]
    assert (told["dropped"], told["health"]) == (0, "ok")
    kept = summary["gallery"]
    assert kept["written"] > 2
    assert (kept["dropped"], kept["pictures_dropped"]) == (0, 0)
    written = (tmp_path / "out" / "events.jsonl").read_text()
    records = [json.loads(line) for line in written.splitlines()]
    assert len(records) == told["written"] > 2
    assert "topsecret" not in written + printed.out + printed.err


def test_recordings_and_live_cameras_are_not_mixed_up(tmp_path, capsys):
    site = tmp_path / "site.yaml"
    site.write_text("cameras:\n  - {id: a, url: 'rtsp://h/x'}\n")
    with pytest.raises(SystemExit) as left:
        main(["process", "-c", str(site), "-o", str(tmp_path / "out")])
    assert left.value.code == 2
    assert "crosscam run" in capsys.readouterr().err
    site.write_text("cameras:\n  - {id: a, url: 'rtsp://h/x', video: a.mp4}\n")
    with pytest.raises(SystemExit) as left:
        main(["run", str(site), "-o", str(tmp_path / "out")])
    assert left.value.code == 2
    assert "one of them" in capsys.readouterr().err
