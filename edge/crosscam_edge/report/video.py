"""Annotated videos: one per camera and one of all, in a single pass over the recordings.

The recordings are read side by side in order of time, so nothing is held but the current picture of
each camera. The same pass takes the crops for the contact sheets; without videos `collect` does.
"""

from __future__ import annotations

import heapq
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from crosscam_edge.report.crops import clear_crops, plan_crops
from crosscam_edge.report.draw import Overlay
from crosscam_edge.report.encode import VideoWriter, even_size, video_file
from crosscam_edge.report.mosaic import WIDEST, Mosaic, clock
from crosscam_edge.report.rows import RowCursor
from crosscam_edge.sources import open_source, probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from crosscam_edge.report.rows import FrameRows
    from crosscam_edge.sinks.schema import CameraInfo
    from crosscam_edge.types import Frame

    Progress = Callable[[int, int], None]

_MOSAIC_FPS = 25.0
_QUIET_NS = 2_000_000_000  # longer times without any picture are cut out of the mosaic
MOSAIC = "mosaic.mp4"


def render_videos(
    out: Path,
    cameras: Sequence[CameraInfo],
    *,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
    threads: int = 2,
) -> list[Path]:
    """Draw the tracks of a run on its videos and take the crops of its identities.

    Writes ``video/<camera>.mp4`` for each camera, ``video/mosaic.mp4`` when there are several, and
    ``crops/<global_id>/<camera>_<frame>.jpg``, at most six for each identity and camera. Nothing
    half-written is left behind when it fails or is interrupted, older videos then stay.

    Args:
        out: Folder of the run, with `tracks.parquet` and perhaps `embeddings.parquet`.
        cameras: All cameras of the run; their videos are read again.
        progress: Called with the frames done and the frames in all (0 when not known).
        stop: Says when to give up.
        threads: Threads of each encoder, >= 1.

    Returns:
        The videos, the mosaic last; nothing when `stop` said so.

    Raises:
        InputError: A recording or `tracks.parquet` cannot be read, or `out` cannot be written.
        RunError: The disk is full, or an encoder fails.
    """
    try:
        return _render(out, cameras, progress, stop, threads)
    except _Stopped:
        return []


class _Stopped(Exception):  # noqa: N818 - not an error
    """Unwinds the open files, which removes what is half-written."""


def _render(
    out: Path,
    cameras: Sequence[CameraInfo],
    progress: Progress | None,
    stop: Callable[[], bool],
    threads: int,
) -> list[Path]:
    plan = plan_crops(out, cameras)
    clear_crops(out)
    total = sum(camera.frames for camera in cameras) if all(c.frames for c in cameras) else 0
    written: list[Path] = []
    with ExitStack() as stack:
        lanes = []
        for camera in cameras:
            path = out / "video" / f"{camera.stem}.mp4"
            lanes.append(_Lane(camera, path, out / "tracks.parquet", stack, threads))
            written.append(path)
        mosaic = None
        if len(cameras) > 1:
            mosaic = _MosaicVideo(cameras, out / "video" / MOSAIC, stack, threads)
            written.append(out / "video" / MOSAIC)
        by_id = {lane.camera.camera_id: lane for lane in lanes}
        for done, frame in enumerate(_in_order(lanes), 1):
            if stop():
                raise _Stopped
            lane = by_id[frame.camera_id]
            rows = lane.rows.at(frame.index)
            plan.take(out, lane.camera, frame.image, rows)
            if mosaic is not None:
                mosaic.put(frame, rows, {one.camera.camera_id for one in lanes if one.ended})
            lane.write(frame, rows)
            if progress is not None:
                progress(done, max(done, total) if total else 0)
        if mosaic is not None:
            mosaic.finish()
    return written


class _Lane:
    """One camera on its way from recording to annotated video."""

    def __init__(
        self, camera: CameraInfo, path: Path, tracks: Path, stack: ExitStack, threads: int
    ) -> None:
        self.camera = camera
        info = probe(camera.video, camera.frame_rate)
        self._source = open_source(camera.camera_id, info, start_ns=camera.start_time_ns)
        stack.callback(self._source.close)
        self._size = even_size(camera.width, camera.height, WIDEST)
        self._overlay = Overlay(self._size)
        stride = 0.0 if not camera.process_fps else camera.frame_rate / camera.process_fps
        self.rows = RowCursor(tracks, camera.camera_id, hold=max(0, int(np.ceil(stride)) - 1))
        self._file: VideoWriter = stack.enter_context(
            video_file(path, self._size, camera.frame_rate, threads=threads)
        )
        self.ended = False

    def frames(self) -> Iterator[Frame]:
        yield from self._source.frames()
        self.ended = True

    def write(self, frame: Frame, rows: FrameRows) -> None:
        height, width = frame.image.shape[:2]
        image: NDArray[np.uint8] = frame.image
        if (width, height) != self._size:
            resized = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
            image = resized.astype(np.uint8, copy=False)
        seconds = (frame.time_ns - self.camera.start_time_ns) / 1e9
        self._overlay.draw(image, rows, seconds, (self._size[0] / width, self._size[1] / height))
        right = f"{clock(frame.time_ns)}   {frame.index}"
        self._overlay.header(image, self.camera.camera_id, right)
        self._file.write(image, seconds)


def _in_order(lanes: list[_Lane]) -> Iterator[Frame]:
    """Yield the frames of all cameras in order of time, decoding only what is due."""
    streams = [lane.frames() for lane in lanes]
    heads: list[tuple[int, int, Frame]] = []
    for number, stream in enumerate(streams):
        first = next(stream, None)
        if first is not None:
            heapq.heappush(heads, (first.time_ns, number, first))
    while heads:
        _, number, frame = heads[0]
        yield frame
        following = next(streams[number], None)
        if following is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (following.time_ns, number, following))


class _MosaicVideo:
    """Samples the mosaic at a constant rate while pictures come in."""

    def __init__(
        self, cameras: Sequence[CameraInfo], path: Path, stack: ExitStack, threads: int
    ) -> None:
        self._mosaic = Mosaic(cameras)
        rate = min(_MOSAIC_FPS, max(camera.frame_rate for camera in cameras))
        self._step = 1e9 / rate
        self._zero = min(camera.start_time_ns for camera in cameras)
        self._origin = float(self._zero)  # moves when quiet time is cut out
        self._due = 0  # number of the next picture
        self._ended: set[str] = set()
        self._file: VideoWriter = stack.enter_context(
            video_file(path, self._mosaic.size, rate, threads=threads)
        )

    def put(self, frame: Frame, rows: FrameRows, ended: set[str]) -> None:
        """Emit the pictures due before this frame, then take it in."""
        while (at := self._origin + self._due * self._step) < frame.time_ns:
            self._emit(round(at))
            if frame.time_ns - at > _QUIET_NS:
                self._origin += frame.time_ns - at - self._step
        self._ended = ended
        self._mosaic.put(frame.camera_id, frame.image, rows, frame.time_ns, self._zero)

    def finish(self) -> None:
        """Emit the last picture."""
        self._emit(round(self._origin + self._due * self._step))

    def _emit(self, time_ns: int) -> None:
        self._file.write(self._mosaic.picture(time_ns, self._ended), self._due * self._step / 1e9)
        self._due += 1
