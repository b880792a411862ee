from __future__ import annotations

from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """Write a short video whose frame `i` has brightness `i`; returns its path."""

    def make(
        name: str = "clip.mp4",
        frames: int = 30,
        size: tuple[int, int] = (160, 120),
        pts: list[int] | None = None,
        codec: str = "mpeg4",
        rate: int = 10,
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=rate)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.codec_context.max_b_frames = 0
            noise = np.random.default_rng(1).integers(0, 60, (size[1], size[0], 3))
            for i in range(frames):
                image = (noise + 5 * i % 180).astype(np.uint8)
                frame = av.VideoFrame.from_ndarray(image, format="bgr24")
                if pts is not None:
                    frame.pts = pts[i]
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return make
