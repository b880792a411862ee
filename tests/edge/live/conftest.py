from __future__ import annotations

import pytest
from rtsp_server import RtspServer, write_video


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
