"""H.264 files that every browser plays."""

from __future__ import annotations

from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import av.codec
import av.error
import cv2

from crosscam_edge.sinks.atomic import atomic_path
from crosscam_kernels.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

_CLOCK = Fraction(1, 90_000)


def video_codec() -> str:
    """Return the encoder to use: libx264 where FFmpeg has it, else MPEG-4 part 2."""
    try:
        av.codec.Codec("libx264", "w")
    except (av.error.FFmpegError, ValueError):
        return "mpeg4"
    return "libx264"


class VideoWriter:
    """Writes BGR pictures with their own times into an MP4 file.

    Args:
        container: Output container, open for writing.
        size: `(width, height)`, even numbers; pictures of another size are resized.
        rate: Nominal frames per second.
        threads: Encoder threads, >= 1.
    """

    def __init__(self, container: Any, size: tuple[int, int], rate: float, threads: int) -> None:
        codec = video_codec()
        self._container = container
        self._size = size
        stream = container.add_stream(codec, rate=Fraction(rate).limit_denominator(1001))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = _CLOCK
        stream.codec_context.thread_count = threads
        stream.codec_context.gop_size = max(1, round(2 * rate))
        if codec == "libx264":
            # superfast: half the time of veryfast for a tenth more bytes.
            stream.options = {"preset": "superfast", "crf": "25", "profile": "high"}
        else:
            stream.options = {"qscale": "4"}
        self._stream = stream
        self._last = -1

    def write(self, image: NDArray[np.uint8], seconds: float) -> None:
        """Encode one picture.

        Args:
            image: `(H, W, 3)` uint8 BGR.
            seconds: Time since the start of the file; made to ascend when it does not.
        """
        if (image.shape[1], image.shape[0]) != self._size:
            shrinks = image.shape[1] > self._size[0]
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            image = cv2.resize(image, self._size, interpolation=how).astype(image.dtype, copy=False)
        frame = av.VideoFrame.from_ndarray(image, format="bgr24")
        self._last = max(self._last + 1, round(seconds / _CLOCK))
        frame.pts, frame.time_base = self._last, _CLOCK
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write what the encoder still holds."""
        self._container.mux(self._stream.encode(None))


@contextmanager
def video_file(
    path: Path, size: tuple[int, int], rate: float, *, threads: int = 2
) -> Iterator[VideoWriter]:
    """Open an MP4 file that appears when the block succeeds, with its index at the front.

    Raises:
        InputError: The place cannot be written.
        RunError: The disk is full or the encoder fails.
    """
    with atomic_path(path) as temporary:
        try:
            with av.open(
                str(temporary), "w", format="mp4", options={"movflags": "+faststart"}
            ) as container:
                writer = VideoWriter(container, size, rate, threads)
                yield writer
                writer.finish()
        except av.error.FFmpegError as error:
            if isinstance(error, OSError):
                raise  # atomic_path tells a full disk from a forbidden one
            raise RunError(f"encoding {path} failed ({error})") from error


def even_size(width: int, height: int, widest: int) -> tuple[int, int]:
    """Shrink a size to at most `widest` pixels across and make both sides even."""
    scale = min(1.0, widest / max(1, width))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
