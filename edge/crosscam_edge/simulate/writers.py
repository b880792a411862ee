"""Files of a simulated site: videos, ground truth, crops, masks."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
import yaml

from crosscam_kernels.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray


def encoder() -> str:
    """H.264 where PyAV brings it, else MPEG-4."""
    for name in ("libx264", "mpeg4"):
        if name in av.codecs_available:
            return name
    raise RunError(
        "PyAV has no video encoder",
        expected="libx264 or mpeg4",
        fix="install the PyAV wheel from PyPI: pip install --force-reinstall av",
    )


class VideoWriter:
    """Writes BGR pictures as an MP4; use as a context manager.

    Args:
        path: File to write.
        width: Pixels.
        height: Pixels.
        fps: Frames per second.
        crf: H.264 quality, 0 best to 51 worst.
    """

    def __init__(self, path: Path, width: int, height: int, fps: float, crf: int) -> None:
        self._container = av.open(str(path), "w")
        codec = encoder()
        rate = Fraction(fps).limit_denominator(1001)
        # One thread, and only assembly that rounds alike on every CPU: without the latter even
        # two encodings on one machine now and then differ.
        options = {"qscale": "4"}
        if codec == "libx264":
            options = {
                "crf": str(crf),
                "preset": "veryfast",
                "threads": "1",
                "x264-params": "cpu-independent=1",
            }
        stream = self._container.add_stream(codec, rate=rate, options=options)
        assert isinstance(stream, av.VideoStream)
        self._stream = stream
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"
        # As cameras send: with B-frames a server would hand pictures out before their turn.
        self._stream.codec_context.max_b_frames = 0

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append a picture `(H, W, 3)`."""
        # Not FFmpeg's own conversion: its rounding depends on how memory happens to be aligned.
        planes = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).astype(np.uint8, copy=False)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                for packet in self._stream.encode():
                    self._container.mux(packet)
        finally:
            self._container.close()


def write_json(path: Path, data: Any) -> None:
    """Write indented UTF-8 JSON."""
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_site(path: Path, cameras: Iterable[str], start_time: datetime) -> None:
    """Write the `site.yaml` that `crosscam process` takes; the time is in UTC."""
    text = start_time.isoformat().replace("+00:00", "Z")
    entries = [{"id": name, "video": f"videos/{name}.mp4", "start_time": text} for name in cameras]
    path.write_text(yaml.safe_dump({"cameras": entries}, sort_keys=False), encoding="utf-8")


def write_image(path: Path, image: NDArray[Any], quality: int = 92) -> None:
    """Write a JPEG or PNG, by the suffix."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix == ".jpg" else []
    done, data = cv2.imencode(path.suffix, image, options)
    if not done:
        raise RunError(f"cannot encode {path.name}")
    path.write_bytes(data.tobytes())
