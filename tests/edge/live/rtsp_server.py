"""A real RTSP server in a process of its own, and videos for it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np


def write_video(
    path: Path,
    *,
    size=(160, 120),
    seconds=4.0,
    rate=10,
    bar=12,
    colour=220,
    gop=10,
    codec="libx264",
) -> Path:
    """Write a video in which a bright bar wanders; every `gop`-th picture is a key picture."""
    with av.open(str(path), "w") as container:
        options = {codec.removeprefix("lib") + "-params": "scenecut=0:log-level=none"}
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = 0
        for k in range(round(seconds * rate)):
            image = np.full((size[1], size[0], 3), 40, np.uint8)
            left = (k * 7) % size[0]
            image[:, left : left + bar] = colour
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RtspServer:
    """Serves the videos of a folder, looped, over TCP."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, name: str, user: str = "") -> str:
        return f"rtsp://{user}127.0.0.1:{self.port}/{name}?play_count=0"

    def start(self) -> None:
        program = Path(sys.executable).with_name("rtsp-server")
        self._process = subprocess.Popen(
            [
                program,
                "--dir",
                self.folder,
                "--host",
                "127.0.0.1",
                "--port",
                str(self.port),
                "--control-port",
                str(free_port()),  # else all of a machine want the same
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise TimeoutError("the RTSP server did not start")

    def freeze(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
