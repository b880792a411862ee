"""Clips cut from what a real RTSP camera sent, also after it was lost and found again."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import av
import numpy as np
import pytest
from rtsp_server import RtspServer
from test_live_run import CLOCK, BarDetector, SameEmbedder

from crosscam_edge.associate import AssociationConfig
from crosscam_edge.config import CameraConfig, SiteConfig
from crosscam_edge.live.camera import CameraState
from crosscam_edge.live.open import live_cameras
from crosscam_edge.live.ring import Ring, Rings
from crosscam_edge.live.run import LiveRun
from crosscam_edge.opening import Models
from crosscam_edge.sinks.clips import ClipsSink
from crosscam_edge.sinks.shelf import Bounds


@pytest.fixture
def camera(large):
    pytest.importorskip("aio_rtsp_toolkit")
    server = RtspServer(large)
    server.start()
    yield server
    server.kill()


@contextmanager
def watched(url, folder):
    """A live run of one camera with clips; gives it, what it tells, and the clips."""
    settings = SiteConfig(cameras=[CameraConfig(id="hall", url=url)])
    rings = Rings(lambda offset_ns: Ring(30, 32 << 20, offset_ns))
    sink = ClipsSink(
        folder, rings.of, CLOCK.now_ns, kinds={"new"}, before_s=1, after_s=1,
        bounds=Bounds(100, 64 << 20, 86_400),
    )  # fmt: skip
    told, runs = [], []

    def emit(record):
        told.append(record)
        sink.put(record)

    sources = live_cameras(settings, CLOCK.now_ns, lambda: runs[0].wake() if runs else None, rings)
    run = LiveRun(
        sources, settings, Models(BarDetector(), SameEmbedder(), {}, 1), site=AssociationConfig(),
        now_ns=CLOCK.now_ns, emit=emit, rings=rings,
    )  # fmt: skip
    runs.append(run)
    stop = threading.Event()
    thread = threading.Thread(target=run.run, args=(stop,))
    thread.start()
    try:
        yield run, told, sink
    finally:
        stop.set()
        thread.join(30)
        sink.close()
        assert not thread.is_alive()


def wait_for(condition, seconds=60.0):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.05)


def look_at(path):
    """Decode a clip; returns its start and end, and how long it plays."""
    with av.open(str(path)) as clip:
        stream = clip.streams.video[0]
        frames = list(clip.decode(stream))
        assert stream.codec_context.name == "h264"
        shown = [float(frame.pts * stream.time_base) for frame in frames]
    assert frames[0].key_frame
    assert not any(frame.is_corrupt for frame in frames)
    assert shown[0] == 0
    assert (np.diff(shown) > 0).all()
    for frame in frames:  # the bar of the video is in every picture, and nothing else is bright
        image = frame.to_ndarray(format="bgr24")
        assert image.shape == (240, 320, 3)
        assert 0.01 < (image.mean(axis=(0, 2)) > 130).mean() < 0.5
    start, end = map(int, path.stem.split("_")[-2:])
    return start, end, shown[-1]


def test_clips_of_a_camera_over_rtsp(camera, tmp_path):
    with watched(camera.url("hall.mp4"), tmp_path) as (run, told, sink):
        wait_for(lambda: sink.written, 120)
        event = next(r for r in told if r["type"] == "identity" and r["kind"] == "new")
        start, end, seconds = look_at(min(tmp_path.glob("*_new_*.mp4")))
        assert start <= event["time_ns"] <= end
        assert 1.0 < seconds == pytest.approx((end - start) / 1e9, abs=0.6)
        # The camera goes away and comes back: what was before is not joined to what comes after.
        camera.kill()
        wait_for(lambda: run.health()[0].state is not CameraState.RUNNING)
        gone = CLOCK.now_ns()
        camera.start()
        wait_for(lambda: run.health()[0].state is CameraState.RUNNING)
        count, back = sink.written, CLOCK.now_ns()
        sink.put(event | {"time_ns": back, "global_id": 77})
        wait_for(lambda: sink.written > count)
    start, end, seconds = look_at(next(tmp_path.glob("*_new_77_*.mp4")))
    assert gone <= start < end
    assert seconds == pytest.approx((end - start) / 1e9, abs=0.6)
    assert sink.dropped == 0
