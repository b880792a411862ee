"""What cameras send and how: another codec, UDP with losses, and who is not let in."""

from __future__ import annotations

import base64
import re
import socket
import sys
import threading
from pathlib import Path

import pytest
from camera_parts import CLOCK, until
from rtsp_server import write_video

from crosscam_deploy import log
from crosscam_edge.live.camera import CameraState
from crosscam_edge.live.faults import FaultCode

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
from chaos_relay import Relay


@pytest.fixture
def relay(server):
    found = Relay(server.port, "hall.mp4")
    yield found
    found.close()


def test_a_camera_that_goes_over_to_another_codec(relay, videos, camera):
    write_video(videos / "h265.mp4", codec="libx265")
    hall = camera(relay.url)
    until(lambda: hall.health().stream.codec == "h264" and hall.health().received > 5)
    relay.video = "h265.mp4"
    relay.hang_up()
    until(lambda: hall.health().stream.codec == "hevc")
    before = hall.health().received
    until(lambda: hall.health().received > before + 5)
    until(lambda: (p := hall.take()) is not None and p.frame().image.max() > 180)
    health = hall.health()
    assert (health.state, health.connections) == (CameraState.RUNNING, 2)


def test_another_size_in_the_middle_of_a_stream(relay, camera):
    hall = camera(relay.url)
    until(lambda: hall.health().size == (160, 120) and hall.health().received > 5)
    relay.change("wide.mp4")
    until(lambda: hall.health().size == (320, 180))
    until(lambda: (p := hall.take()) is not None and p.frame().image.shape == (180, 320, 3))
    health = hall.health()
    assert (health.state, health.size_changes) == (CameraState.RUNNING, 1)
    assert health.connections == 1


def test_times_stay_ours_when_a_cameras_clock_jumps(relay, camera):
    hall = camera(relay.url)
    until(lambda: hall.health().clock.source == "rtcp")
    times = []

    def seen(count):
        if (picture := hall.take()) is not None:
            times.append(picture.time_ns)
            assert abs(picture.time_ns - CLOCK.now_ns()) < 5e9
        return len(times) >= count

    until(lambda: seen(5))
    relay.shift_s = 3600.0
    until(lambda: hall.health().clock.jumps > 0)
    until(lambda: seen(15))
    assert times == sorted(set(times))
    assert hall.health().connections == 1


def test_pictures_come_by_udp_also_where_packets_are_lost(relay, camera):
    hall = camera(relay.url, transport="udp")
    until(lambda: hall.health().received > 10)
    assert all(each._udp for each in relay._sessions)  # or it would have come by TCP
    relay.loss = 0.1
    before = hall.health().received
    until(lambda: relay.lost > 3 and hall.health().received > before + 20, 40)
    assert hall.health().connections == 1


def denies(listener, asked):
    """Answer as a camera that does not know who asks, whatever it is, until nobody does."""
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client:
            while data := client.recv(4096):
                asked.append(data)
                number = re.search(rb"(?i)cseq: *(\d+)", data)
                client.sendall(
                    b"RTSP/1.0 401 Unauthorized\r\nCSeq: %s\r\n"
                    b'WWW-Authenticate: Basic realm="camera"\r\n\r\n'
                    % (number[1] if number else b"1")
                )


def test_a_wrong_password_is_told_and_not_shown(camera, capfd):
    log.configure()
    listener, asked = socket.create_server(("127.0.0.1", 0)), []
    threading.Thread(target=denies, args=(listener, asked), daemon=True).start()
    found = camera(f"rtsp://admin:topsecret@127.0.0.1:{listener.getsockname()[1]}/live")
    until(lambda: found.health().failures > 1)
    health = found.health()
    assert (health.state, health.fault) == (CameraState.FAILED, FaultCode.UNAUTHORISED)
    assert "password" in health.fix
    shown = b"Basic " + base64.b64encode(b"admin:topsecret")
    assert any(shown in each for each in asked)
    told = repr(health) + "".join(capfd.readouterr())
    assert "fault=unauthorised" in told
    assert "topsecret" not in told
    listener.close()
