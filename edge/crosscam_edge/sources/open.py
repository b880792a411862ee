"""One door to every kind of source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from crosscam_edge.sources.images import ImageFolderSource, probe_images
from crosscam_edge.sources.paths import check_readable
from crosscam_edge.sources.video import VideoSource, probe_video

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from crosscam_edge.sources.info import SourceInfo, SourceStats
    from crosscam_edge.types import Frame


class Source(Protocol):
    """What every source offers.

    Attributes:
        camera_id: Name of the camera.
        info: What `probe` found.
        stats: Counters of the pass so far.
    """

    camera_id: str
    info: SourceInfo
    stats: SourceStats

    def frames(
        self, *, start: int = 0, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Frame]:
        """Yield frames with index >= `start`; those before are decoded and passed over."""
        ...

    def pick(
        self, wanted: Mapping[int, int], *, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Frame]:
        """Yield the frames with these numbers, given the UTC nanoseconds of each."""
        ...

    def close(self) -> None:
        """Free the decoder."""
        ...


def probe(path: str | Path, frame_rate: float | None = None) -> SourceInfo:
    """Describe a video file or a folder of pictures, having decoded its first frame.

    Args:
        path: File or folder.
        frame_rate: Frames per second where the source does not say it (and for pictures).

    Raises:
        InputError: It cannot be used; says why and what to do.
    """
    checked = check_readable(Path(path))
    return (
        probe_images(checked, frame_rate) if checked.is_dir() else probe_video(checked, frame_rate)
    )


def open_source(
    camera_id: str,
    info: SourceInfo,
    *,
    start_ns: int = 0,
    process_fps: float | None = None,
    threads: int = 1,
) -> Source:
    """Open a probed source.

    Args:
        camera_id: Name of the camera, put on each frame.
        info: Result of `probe`.
        start_ns: UTC nanoseconds of the first frame.
        process_fps: Deliver at most this many frames per second of video time; None for all.
        threads: Decoder threads, >= 1.
    """
    if info.kind == "images":
        return ImageFolderSource(camera_id, info, start_ns=start_ns, process_fps=process_fps)
    return VideoSource(camera_id, info, start_ns=start_ns, process_fps=process_fps, threads=threads)
