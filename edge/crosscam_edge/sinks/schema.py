"""What the rows of a run look like, and what is known of each camera."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import pyarrow as pa

from crosscam_kernels.errors import InputError

Polygon = tuple[tuple[float, float], ...]
"""Corners `(x, y)` in pixels of the full camera image, in order."""

TRACKS_SCHEMA: pa.Schema = pa.schema(
    [
        pa.field("camera_id", pa.string(), nullable=False),
        pa.field("frame", pa.int64(), nullable=False),
        pa.field("time_ns", pa.int64(), nullable=False),
        pa.field("track_id", pa.int64(), nullable=False),
        pa.field("global_id", pa.int64(), nullable=False),
        pa.field("x1", pa.float32(), nullable=False),
        pa.field("y1", pa.float32(), nullable=False),
        pa.field("x2", pa.float32(), nullable=False),
        pa.field("y2", pa.float32(), nullable=False),
        pa.field("confidence", pa.float32(), nullable=False),
        pa.field("interpolated", pa.bool_(), nullable=False),
    ]
)
"""Columns of `tracks.parquet`: one row per person and frame."""

EMBEDDINGS_SCHEMA: pa.Schema = pa.schema(
    [
        pa.field("camera_id", pa.string(), nullable=False),
        pa.field("track_id", pa.int64(), nullable=False),
        pa.field("global_id", pa.int64(), nullable=False),
        pa.field("frame", pa.int64(), nullable=False),
        pa.field("time_ns", pa.int64(), nullable=False),
        pa.field("quality", pa.float32(), nullable=False),
        pa.field("model_id", pa.string(), nullable=False),
        pa.field("embedding", pa.list_(pa.float32()), nullable=False),
    ]
)
"""Columns of `embeddings.parquet`: one row per crop that was embedded."""


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """One camera of a run.

    Attributes:
        camera_id: Name, unique in the run; any text a user chose.
        number: Position in the run, from 1; the camera number of MTMC files.
        video: Path or URL of the recording.
        width: Pixels.
        height: Pixels.
        frame_rate: Nominal frames per second.
        frames: Decoded frames; 0 while unknown.
        start_time_ns: UTC time of frame 0 in nanoseconds.
        region: Only people inside this polygon count; None for the whole picture.
        masks: People inside any of these polygons do not count.
        process_fps: Frames per second of video time that were processed; None for all frames.
    """

    camera_id: str
    number: int
    video: str
    width: int
    height: int
    frame_rate: float
    frames: int
    start_time_ns: int
    region: Polygon | None = None
    masks: tuple[Polygon, ...] = ()
    process_fps: float | None = None

    def __post_init__(self) -> None:
        who = f"camera {self.camera_id!r}"
        if not self.camera_id:
            raise InputError("a camera has an empty name", expected="a name of one or more letters")
        if self.number < 1:
            raise InputError(f"{who} has number {self.number}", expected="a number from 1")
        if not (math.isfinite(self.frame_rate) and self.frame_rate > 0):
            raise InputError(
                f"{who} has a frame rate of {self.frame_rate}",
                expected="a positive number of frames per second",
            )

    @property
    def stem(self) -> str:
        """Name of this camera's files: `file_stem` of its name."""
        return file_stem(self.camera_id)

    def time_of(self, frame: int) -> int:
        """Return the nominal UTC time of a frame in nanoseconds (constant frame rate)."""
        return self.start_time_ns + round(frame * 1e9 / self.frame_rate)


def file_stem(camera_id: str) -> str:
    """Turn a camera name into a file name that is safe on every file system.

    Letters and digits of any script, blanks, ``-``, ``_`` and inner dots stay; the rest becomes
    ``%XX`` of its UTF-8 bytes, so different names give different files. A name that would be too
    long for a file is cut and ended with a hash.

    Args:
        camera_id: Any text.

    Returns:
        A name without directory parts, never empty for a non-empty `camera_id`.
    """
    parts = []
    last = len(camera_id) - 1
    for position, letter in enumerate(camera_id):
        inner = letter in " ." and 0 < position < last
        if letter.isalnum() or letter in "-_" or inner:
            parts.append(letter)
        else:
            raw = letter.encode("utf-8", "surrogatepass")
            parts.append("".join(f"%{byte:02X}" for byte in raw))
    stem = "".join(parts)
    if len(stem.encode()) > 180:
        digest = hashlib.sha256(camera_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        stem = stem.encode()[:160].decode(errors="ignore") + "~" + digest
    return stem
