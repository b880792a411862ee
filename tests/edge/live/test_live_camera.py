"""A camera against a real RTSP server that is killed, frozen and started again."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from camera_parts import CLOCK, until
from rtsp_server import write_video

from crosscam_deploy import log
from crosscam_edge.backoff import Backoff
from crosscam_edge.live.address import parse_address
from crosscam_edge.live.camera import CameraState, LiveCamera
from crosscam_edge.live.connection import FileConnection, connect
from crosscam_edge.live.faults import FaultCode, SourceFault


def running(camera: LiveCamera) -> bool:
    return camera.health().state is CameraState.RUNNING


def test_pictures_of_a_camera(server, camera):
    hall = camera(server.url("hall.mp4", user="admin:topsecret@"))
    until(lambda: hall.health().received > 25)
    health = hall.health()
    assert health.state is CameraState.RUNNING
    assert (health.size, health.stream.codec, health.fault) == ((160, 120), "h264", None)
    assert 6 < health.frame_rate < 15
    assert health.connections == 1
    assert health.dropped >= 11  # nobody took them
    assert "topsecret" not in repr(health)
    seen = []

    def collected() -> bool:
        picture = hall.take()
        if picture is not None:
            seen.append(picture)
        return len(seen) > 3

    until(collected)
    times = [p.time_ns for p in seen]
    assert times == sorted(set(times))
    assert abs(times[-1] - CLOCK.now_ns()) < 2e9
    frame = seen[-1].frame()
    assert frame.image.shape == (120, 160, 3)
    assert frame.image.max() > 180
    assert frame.image.flags["C_CONTIGUOUS"]


def test_sender_reports_date_the_pictures(server, camera):
    hall = camera(server.url("hall.mp4"))
    until(lambda: hall.health().clock.source == "rtcp")
    assert abs(hall.health().clock.skew_s) < 2


def test_a_server_that_dies_and_comes_back(server, camera):
    hall = camera(server.url("hall.mp4"))
    until(lambda: running(hall) and hall.health().frame_rate > 0)
    server.kill()
    until(lambda: hall.health().fault is not None)
    health = hall.health()
    assert (health.state, health.frame_rate) == (CameraState.BACKING_OFF, 0.0)
    assert health.fault in (FaultCode.ENDED, FaultCode.REFUSED)
    until(lambda: hall.health().fault is FaultCode.REFUSED)
    assert hall.health().fix
    before = hall.health().received
    server.start()
    assert until(lambda: running(hall) and hall.health().received > before) < 8
    assert hall.health().connections == 2
    assert hall.health().fault is None


def test_a_camera_that_freezes_is_told_and_left(server, camera):
    hall = camera(server.url("hall.mp4"), stall_s=0.5)
    until(lambda: running(hall))
    server.freeze()
    try:
        assert until(lambda: hall.health().state is CameraState.STALLED) < 3
        assert until(lambda: hall.health().fault is FaultCode.STALLED) < 6
    finally:
        server.thaw()
    until(lambda: running(hall) and hall.health().failures == 0)


def test_a_camera_that_was_silent_for_a_moment_runs_since_then(server, camera):
    hall = camera(server.url("hall.mp4"), stall_s=0.5)
    until(lambda: running(hall))
    began = hall.health().since_ns
    server.freeze()
    try:
        until(lambda: hall.health().state is CameraState.STALLED)
        stalled = hall.health().since_ns
    finally:
        server.thaw()
    until(lambda: running(hall))
    assert hall.health().connections == 1
    assert began < stalled < hall.health().since_ns


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("rtsp://127.0.0.1:1/x", FaultCode.REFUSED),
        ("rtsp://no-such-host.invalid/x", FaultCode.UNREACHABLE),
        ("/dev/video93", FaultCode.NOT_FOUND),
    ],
)
def test_who_is_not_there(camera, url, code):
    found = camera(url)
    until(lambda: found.health().failures > 1)
    assert found.health().fault is code
    assert found.health().connections == 0


def test_a_path_that_the_camera_does_not_have(server, camera):
    found = camera(server.url("attic.mp4"))
    until(lambda: found.health().fault is not None)
    assert found.health().fault in (FaultCode.NOT_FOUND, FaultCode.ENDED)


def test_a_picture_of_another_size(server, videos, camera):
    which = ["hall.mp4"]
    address = {name: parse_address(server.url(name), {}) for name in ("hall.mp4", "wide.mp4")}
    both = LiveCamera(
        "both", "rtsp", lambda: connect(address[which[0]], CLOCK.now_ns), CLOCK.now_ns,
        backoff=Backoff(0.1, 0.5),
    )  # fmt: skip
    both.start()
    try:
        until(lambda: both.health().size == (160, 120))
        which[0] = "wide.mp4"
        server.kill()
        server.start()
        until(lambda: both.health().size == (320, 180))
        assert both.health().size_changes == 1
        until(lambda: (p := both.take()) is not None and p.frame().image.shape == (180, 320, 3))
    finally:
        assert both.stop()


class Scripted:
    """A connection that does what it is told."""

    def __init__(self, figures, what, stuck=False):
        self.figures, self._what, self.stuck, self.closed = figures, what, stuck, False

    def pictures(self):
        yield from self._what()

    def close(self):
        self.closed = True
        if self.stuck:
            raise OSError("stuck")


@pytest.mark.parametrize("stuck", [False, True])
def test_a_mistake_in_a_connection_ends_nothing(stuck):
    from crosscam_edge.live.connection import ConnectionFigures

    made = []

    def broken():
        raise ZeroDivisionError("oh")
        yield

    def connection():
        made.append(Scripted(ConnectionFigures(), broken, stuck))
        return made[-1]

    camera = LiveCamera("a", "x", connection, CLOCK.now_ns, backoff=Backoff(0.01, 0.02))
    camera.start()
    until(lambda: camera.health().failures > 3)
    assert camera.health().state is CameraState.FAILED
    assert camera.health().fault is FaultCode.INTERNAL
    assert camera.stop()
    assert camera.health().state is CameraState.STOPPED
    assert all(each.closed for each in made)


def test_a_camera_that_stays_away_is_told_of_once(capfd):
    """A hundred of them, tried for days, fill neither the log nor the records."""
    log.configure()
    faults = iter([FaultCode.REFUSED] * 5 + [FaultCode.NOT_FOUND] * 5)
    states = []

    def never():
        states.append(camera.health().state)
        raise SourceFault(next(faults, FaultCode.TIMEOUT))

    camera = LiveCamera("a", "x", never, CLOCK.now_ns, backoff=Backoff(0.01, 0.01))
    camera.start()
    until(lambda: camera.health().failures > 12)
    assert camera.stop()
    assert set(states[1:]) == {CameraState.BACKING_OFF, CameraState.FAILED}
    assert states[0] is CameraState.CONNECTING
    told = capfd.readouterr().err
    assert [told.count(f"fault={each}") for each in ("refused", "not_found", "timeout")] == [1] * 3


def test_it_is_stopped_while_it_waits():
    def never():
        raise SourceFault(FaultCode.UNREACHABLE)

    camera = LiveCamera("a", "x", never, CLOCK.now_ns, backoff=Backoff(60, 60))
    camera.start()
    until(lambda: camera.health().failures == 1)
    began = time.monotonic()
    assert camera.stop()
    assert time.monotonic() - began < 1


def test_one_that_was_never_started_is_stopped_too():
    camera = LiveCamera("a", "x", lambda: None, CLOCK.now_ns)
    assert camera.stop()


def test_a_file_as_a_camera(tmp_path):
    video = write_video(tmp_path / "short.mp4", seconds=0.8)
    stop = threading.Event()
    connection = FileConnection(str(video), CLOCK.now_ns, stop.wait)
    began, seen = time.monotonic(), []
    for picture in connection.pictures():
        seen.append(picture)
        if len(seen) == 20:
            break
    assert 1.7 < time.monotonic() - began < 4  # real time, over the end of the file
    steps = np.diff([p.stream_ns for p in seen])
    assert (abs(steps - 100_000_000) < 2_000_000).all()
    connection.close()


def test_files_that_are_no_videos(tmp_path):
    with pytest.raises(SourceFault) as caught:
        FileConnection(str(tmp_path / "none.mp4"), CLOCK.now_ns, lambda s: False)
    assert caught.value.code is FaultCode.NOT_FOUND
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    with pytest.raises(SourceFault) as caught:
        FileConnection(str(text), CLOCK.now_ns, lambda s: False)
    assert caught.value.code is FaultCode.DECODE
