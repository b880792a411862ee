"""Decoders in hardware that are there, and mostly are not: pictures come all the same."""

from __future__ import annotations

import pytest
from camera_parts import CLOCK, until

from crosscam_edge.config import CameraConfig, SiteConfig
from crosscam_edge.live import hardware
from crosscam_edge.live import open as opening
from crosscam_edge.live.address import Address
from crosscam_edge.live.camera import LiveCamera
from crosscam_edge.live.connection import ConnectionFigures, connect
from crosscam_edge.live.faults import FaultCode, SourceFault


@pytest.mark.parametrize("asked", [None, "auto", "cuda", "vaapi", "qsv", "nonsense"])
def test_pictures_come_whatever_decodes(videos, asked):
    address = Address("stream", str(videos / "hall.mp4"), "hall")
    device = hardware.hardware_decoder(asked)
    connection = connect(address, CLOCK.now_ns, hwaccel=device)
    try:
        first = next(connection.pictures())
        assert (first.raw.width, first.raw.height) == (160, 120)
        assert connection.figures.decoder in {"cpu", device}
    finally:
        connection.close()


def test_what_is_not_there_is_not_tried_twice(monkeypatch):
    tried = []

    class Device:
        def __init__(self, name, **_):
            tried.append(name)

        def create(self, _codec):
            if tried[-1] != "good":
                raise PermissionError("no device")

    hardware._works.cache_clear()
    monkeypatch.setattr(hardware, "HWAccel", Device)
    monkeypatch.setattr(hardware, "hwdevices_available", lambda: ["bad", "good", "other"])
    try:
        assert hardware.hardware_decoder("bad") is None
        assert hardware.hardware_decoder("auto") == "good"
        assert hardware.hardware_decoder("auto") == "good"
        assert hardware.hardware_decoder(None) is None
        assert tried == ["bad", "good"]
    finally:
        hardware._works.cache_clear()


def test_a_device_that_fails_at_what_a_camera_sends_gives_way_to_the_cpu(monkeypatch):
    devices = []

    class Failing:
        def __init__(self, device):
            self.figures = ConnectionFigures(decoder=device or "cpu")

        def pictures(self):
            raise SourceFault(FaultCode.DECODE, "no surface")
            yield

        def close(self):
            pass

    def made(_address, _now, *, hwaccel, **_):
        devices.append(hwaccel)
        return Failing(hwaccel)

    monkeypatch.setattr(opening, "connect", made)
    monkeypatch.setattr(opening, "hardware_decoder", lambda asked: asked)
    config = CameraConfig(id="hall", url="rtsp://127.0.0.1:1/x", hwaccel="cuda")
    ((_, camera),) = opening.live_cameras(SiteConfig(cameras=[config]), CLOCK.now_ns, lambda: None)
    assert isinstance(camera, LiveCamera)
    camera.start()
    try:
        until(lambda: len(devices) > 2)
    finally:
        assert camera.stop()
    assert devices[:3] == ["cuda", None, None]
    assert camera.health().stream.decoder == "cpu"
