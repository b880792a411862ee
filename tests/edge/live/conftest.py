from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from camera_parts import CLOCK
from rtsp_server import RtspServer, write_video

from crosscam_edge.backoff import Backoff
from crosscam_edge.live.address import parse_address
from crosscam_edge.live.camera import LiveCamera
from crosscam_edge.live.connection import connect


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "hall.mp4")
    write_video(folder / "wide.mp4", size=(320, 180))
    return folder


@pytest.fixture(scope="session")
def large(tmp_path_factory):
    """Pictures large enough for crops that count."""
    folder = tmp_path_factory.mktemp("large")
    for name, size in (("hall.mp4", (320, 240)), ("yard.mp4", (480, 240))):
        write_video(folder / name, size=size, seconds=8, bar=70)
    return folder


@pytest.fixture
def server(videos):
    pytest.importorskip("aio_rtsp_toolkit")
    found = RtspServer(videos)
    found.start()
    yield found
    found.kill()


@pytest.fixture
def camera() -> Iterator[Callable[..., LiveCamera]]:
    """Start a camera of an address; all are stopped in the end."""
    made = []

    def make(url: str, transport: str = "tcp", **options) -> LiveCamera:
        address = parse_address(url, {})
        found = LiveCamera(
            "hall", address.shown, lambda: connect(address, CLOCK.now_ns, transport=transport),
            CLOCK.now_ns, backoff=Backoff(0.1, 0.5), **options,
        )  # fmt: skip
        made.append(found)
        found.start()
        return found

    yield make
    for each in made:
        assert each.stop()
