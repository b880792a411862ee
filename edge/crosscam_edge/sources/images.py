"""A folder of pictures as a source: one picture is one frame, in natural order of the names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from crosscam_edge.sources.info import SourceInfo, SourceStats
from crosscam_edge.sources.paths import IMAGE_SUFFIXES, VIDEO_SUFFIXES, natural_key
from crosscam_edge.types import Frame
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

DEFAULT_IMAGE_RATE = 10.0
_NANOSECONDS = 1_000_000_000


def list_pictures(path: Path) -> list[Path]:
    """Return the pictures of a folder in natural order of their names.

    Raises:
        InputError: The folder cannot be listed or holds no picture.
    """
    try:
        entries = [p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
        videos = [p.name for p in path.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES]
    except PermissionError:
        raise InputError(
            f"no permission to list the folder '{path}'",
            expected="a folder this user may read",
            fix=f"chmod +rx '{path}'",
        ) from None
    if not entries:
        raise InputError(
            f"the folder '{path}' holds no pictures"
            + (f" (but {len(videos)} videos)" if videos else ""),
            expected="pictures (" + ", ".join(sorted(IMAGE_SUFFIXES)) + ")",
            fix=f"give the videos themselves, for example '{path / min(videos)}'"
            if videos
            else "give a video file",
        )
    return sorted(entries, key=lambda p: (natural_key(p.name), p.name))


def _read(path: Path) -> NDArray[np.uint8] | None:
    """Return a BGR picture, or None when it cannot be decoded."""
    try:
        data = np.fromfile(path, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, cv2.error):
        return None
    return None if image is None else np.asarray(image, np.uint8)


def probe_images(path: Path, frame_rate: float | None = None) -> SourceInfo:
    """Describe a folder of pictures.

    Args:
        path: The folder.
        frame_rate: Pictures per second; 10 is assumed when None.

    Raises:
        InputError: No picture, or none that can be decoded.
    """
    pictures = list_pictures(path)
    first = next((image for image in map(_read, pictures) if image is not None), None)
    if first is None:
        raise InputError(
            f"none of the {len(pictures)} pictures in '{path}' can be decoded",
            expected="readable pictures",
            fix=f"open '{pictures[0].name}' in a viewer to see what is wrong",
        )
    return SourceInfo(
        path=path,
        kind="images",
        width=first.shape[1],
        height=first.shape[0],
        frame_rate=frame_rate or DEFAULT_IMAGE_RATE,
        frame_rate_assumed=frame_rate is None,
        timestamps=False,
        frames=len(pictures),
        container="folder",
        codec=pictures[0].suffix.lower().lstrip("."),
    )


class ImageFolderSource:
    """Frames of a picture folder; unreadable pictures are skipped and counted.

    Args:
        camera_id: Name of the camera.
        info: Result of `probe_images`.
        start_ns: UTC nanoseconds of the first frame.
        process_fps: Deliver at most this many frames per second of video time; None for all.
    """

    def __init__(
        self,
        camera_id: str,
        info: SourceInfo,
        *,
        start_ns: int = 0,
        process_fps: float | None = None,
    ) -> None:
        self.camera_id = camera_id
        self.info = info
        self.stats = SourceStats()
        self._start_ns = start_ns
        self._process_fps = process_fps

    def frames(
        self, *, start: int = 0, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Frame]:
        """Yield the frames from index `start` on, until the end or until `stop` says so."""
        stride = Stride(self._process_fps)
        size: tuple[int, ...] | None = None
        for index, path in enumerate(list_pictures(self.info.path)):
            if stop():
                return
            offset = round(index * _NANOSECONDS / self.info.frame_rate)
            if not stride.take(offset):
                self.stats.strided += 1
                continue
            image = _read(path)
            if image is None:
                self.stats.corrupt_frames += 1
                self.stats.unusable_frames += 1
                continue
            self.stats.decoded += 1
            self.stats.size_changes += size is not None and size != image.shape
            size = image.shape
            if index < start:
                continue
            self.stats.delivered += 1
            yield Frame(self.camera_id, index, self._start_ns + offset, image)

    def pick(
        self, wanted: Mapping[int, int], *, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Frame]:
        """Yield the pictures with these numbers; only they are read.

        Args:
            wanted: UTC nanoseconds at which `frames` delivered the picture, by its number.
            stop: Says when to end early.
        """
        pictures = list_pictures(self.info.path)
        for index in sorted(wanted):
            if stop() or index >= len(pictures):
                return
            image = _read(pictures[index])
            if image is not None:
                yield Frame(self.camera_id, index, wanted[index], image)

    def close(self) -> None:
        """Nothing is kept open between frames."""


class Stride:
    """Chooses frames so that a rate is not exceeded, by time and not by counting.

    Args:
        fps: Highest number of frames per second of video time; None takes all.
    """

    def __init__(self, fps: float | None) -> None:
        self._period = None if fps is None else _NANOSECONDS / fps
        self._next = 0.0

    def take(self, time_ns: int) -> bool:
        """Return whether the frame at `time_ns` (nanoseconds from the start) is wanted."""
        if self._period is None:
            return True
        # A tenth of a period of slack: 30 -> 10 fps must take every third frame although
        # timestamps are rounded to the container's time base.
        if time_ns < self._next - 0.1 * self._period:
            return False
        self._next = max(self._next + self._period, time_ns + 0.5 * self._period)
        return True
