"""Video files through FFmpeg (PyAV): every frame that can be had, with a time that makes sense."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import av
import av.error
import av.stream
from av.video.reformatter import VideoReformatter

from crosscam_edge.sources.clock import PresentationClock
from crosscam_edge.sources.container import open_container, video_stream
from crosscam_edge.sources.images import Stride
from crosscam_edge.sources.info import SourceInfo, SourceStats
from crosscam_edge.sources.orientation import orientation_of
from crosscam_edge.sources.pick import decode_spans, plan_reading, scan
from crosscam_edge.types import Frame
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

DEFAULT_RATE = 25.0
_MAX_READ_ERRORS = 16
# Raw streams: FFmpeg makes 25 frames/s up when the stream itself is silent.
_RAW = "av1 avs2 avs3 cavsvideo evc h261 h263 h264 hevc m4v mjpeg mjpeg_2000 mpegvideo obu vc1 vvc"
_RAW_FORMATS = frozenset(_RAW.split())


def probe_video(path: Path, frame_rate: float | None = None) -> SourceInfo:
    """Describe a video file, having decoded one frame.

    Args:
        path: The file.
        frame_rate: Frames per second to use where the stream does not say it.

    Raises:
        InputError: Not a video, or not one frame of it can be decoded.
    """
    with open_container(path) as container:
        stream = video_stream(container, path)
        decoder = _Decoder(container, stream, SourceStats())
        frame = next(decoder.frames(lambda: False), None)
        if frame is None:
            raise InputError(
                f"not one frame of '{path}' can be decoded ({stream.codec_context.name})",
                expected="a playable video",
                fix="play it with ffplay or VLC; export the recording again if that fails too",
            )
        rate, assumed, timestamps = _rate(container, stream, frame, frame_rate)
        width, height = orientation_of(frame).size(frame.width, frame.height)
        return SourceInfo(
            path=path,
            kind="video",
            width=width,
            height=height,
            frame_rate=rate,
            frame_rate_assumed=assumed,
            timestamps=timestamps,
            frames=_frame_count(container, stream, rate),
            container=str(container.format.name),
            codec=str(stream.codec_context.name),
        )


def _rate(container: Any, stream: Any, frame: Any, given: float | None) -> tuple[float, bool, bool]:
    """Return frames per second, whether that is a guess, and whether frames carry times."""
    timestamps = frame.pts is not None and container.format.name not in _RAW_FORMATS
    if not timestamps:
        if given is not None:
            return given, False, False
        own = float(stream.codec_context.framerate or 0)
        return (own, False, False) if 1 <= own <= 240 else (DEFAULT_RATE, True, False)
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and 0.05 <= float(rate) <= 1000:
            return float(rate), False, True
    return given or DEFAULT_RATE, given is None, True


def _frame_count(container: Any, stream: Any, rate: float) -> int | None:
    if stream.frames > 0:
        return int(stream.frames)
    if stream.duration and stream.time_base:
        return max(1, round(float(stream.duration * stream.time_base) * rate))
    if container.duration and container.duration > 0:
        return max(1, round(float(container.duration) / av.time_base * rate))
    return None


class _Decoder:
    """Packets to frames, going on after whatever can be gone on after."""

    def __init__(self, container: Any, stream: Any, stats: SourceStats) -> None:
        self._container = container
        self._stream = stream
        self._stats = stats

    def frames(self, stop: Callable[[], bool]) -> Iterator[Any]:
        """Yield decoded `av.VideoFrame` in order of presentation."""
        for packet in self._packets(stop):
            try:
                decoded = packet.decode()
            except av.error.EOFError:
                return
            except (av.error.FFmpegError, OSError, ValueError):
                self._stats.corrupt_packets += 1
                continue
            yield from decoded

    def _packets(self, stop: Callable[[], bool]) -> Iterator[Any]:
        demuxer = self._container.demux(self._stream)
        errors_in_row = 0
        while not stop():
            try:
                packet = next(demuxer)
            except StopIteration:
                return
            except IndexError:
                # PyAV knows no stream that damage lets appear after the opening. The packet is
                # consumed, so this ends with the file.
                self._stats.corrupt_packets += 1
                demuxer = self._container.demux(self._stream)
                continue
            except (av.error.FFmpegError, OSError, ValueError):
                # A failed read ends the generator, not necessarily the file.
                self._stats.read_errors += 1
                errors_in_row += 1
                if errors_in_row > _MAX_READ_ERRORS:
                    self._stats.ended_early = True
                    return
                demuxer = self._container.demux(self._stream)
                continue
            errors_in_row = 0
            yield packet


class VideoSource:
    """Frames of one video file.

    Args:
        camera_id: Name of the camera.
        info: Result of `probe_video`.
        start_ns: UTC nanoseconds of the first frame.
        process_fps: Deliver at most this many frames per second of video time; None for all.
        threads: Decoder threads, >= 1.
    """

    def __init__(
        self,
        camera_id: str,
        info: SourceInfo,
        *,
        start_ns: int = 0,
        process_fps: float | None = None,
        threads: int = 1,
    ) -> None:
        self.camera_id = camera_id
        self.info = info
        self.stats = SourceStats()
        self._start_ns = start_ns
        self._process_fps = process_fps
        self._threads = threads
        self._container: Any = None
        self._reformatter = VideoReformatter()

    def frames(
        self, *, start: int = 0, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Frame]:
        """Yield the frames from index `start` on, until the end or until `stop` says so.

        Frames before `start` are decoded and passed over: that keeps numbers and times exact in
        every codec and container, which seeking does not.
        """
        for index, offset, raw in self._decoded(stop):
            if index < start:
                continue
            frame = self._frame(index, offset, raw)
            if frame is None:
                continue
            self.stats.delivered += 1
            yield frame
            if stop():
                return
        if not stop():
            self._judge_end()

    def pick(
        self, wanted: Mapping[int, int], *, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Frame]:
        """Yield chosen frames, decoding as little as possible.

        Where frame numbers cannot be known without it (streams without times, damage), everything
        up to the last chosen frame is decoded. Either way these are the frames that `frames` gives.

        Args:
            wanted: UTC nanoseconds at which `frames` delivered the frame, by its number.
            stop: Says when to end early.
        """
        left = dict(wanted)
        if self.info.timestamps:
            for frame in self._picked(wanted, stop):
                del left[frame.index]
                yield frame
        if not left or stop():
            return
        for index, offset, raw in self._decoded(stop):
            if index in left:
                del left[index]
                chosen = self._frame(index, offset, raw)
                if chosen is not None:
                    yield chosen
            if not left:
                return

    def _picked(self, wanted: Mapping[int, int], stop: Callable[[], bool]) -> Iterator[Frame]:
        stream = self._open()
        packets = scan(self._container, stream, stop)
        if packets is None:
            return
        times = {index: time - self._start_ns for index, time in wanted.items()}
        half = round(5e8 / self.info.frame_rate)
        reading = plan_reading(packets, times, stream.time_base, half)
        if reading is None:
            return
        stream = self._open()
        for raw in decode_spans(self._container, stream, reading.spans, stop):
            index = reading.index.pop(raw.pts, None)
            frame = None if index is None else self._frame(index, times[index], raw)
            if frame is not None:
                yield frame

    def _open(self) -> Any:
        """Open the file from its start; returns the stream."""
        self.close()
        self._container = open_container(self.info.path)
        stream = video_stream(self._container, self.info.path)
        stream.codec_context.thread_count = self._threads
        stream.codec_context.thread_type = "AUTO" if self._threads > 1 else "NONE"
        return stream

    def _decoded(self, stop: Callable[[], bool]) -> Iterator[tuple[int, int, Any]]:
        """Yield number, nanoseconds after the first frame, and picture, of frames to deliver."""
        stream = self._open()
        clock = PresentationClock(self.info.frame_rate)
        stride = Stride(self._process_fps)
        size: tuple[int, int] | None = None
        for index, raw in enumerate(_Decoder(self._container, stream, self.stats).frames(stop)):
            self.stats.decoded += 1
            self.stats.corrupt_frames += bool(raw.is_corrupt)
            offset = clock.stamp(raw.pts if self.info.timestamps else None, raw.time_base)
            self.stats.repaired_timestamps = clock.repaired if self.info.timestamps else 0
            self.stats.size_changes += size is not None and size != (raw.width, raw.height)
            size = (raw.width, raw.height)
            if stride.take(offset):
                yield index, offset, raw
            else:
                self.stats.strided += 1

    def _frame(self, index: int, offset: int, raw: Any) -> Frame | None:
        """Return a picture as a frame; None, and counted, when it cannot be converted."""
        image = self._bgr(raw)
        if image is None:
            self.stats.corrupt_frames += not raw.is_corrupt
            self.stats.unusable_frames += 1
            return None
        return Frame(self.camera_id, index, self._start_ns + offset, image)

    def _judge_end(self) -> None:
        """Note when clearly fewer frames came out than the container promised."""
        promised = self.info.frames
        if promised and self.info.timestamps:
            lost = promised - self.stats.decoded
            # Counts are estimates in many containers, hence the slack of 5 %.
            self.stats.ended_early |= lost > max(2, 0.05 * promised)

    def _bgr(self, raw: Any) -> NDArray[np.uint8] | None:
        """Return the picture upright in BGR, or None when it cannot be converted."""
        try:
            image: Any = self._reformatter.reformat(raw, format="bgr24", threads=1).to_ndarray()
        except (av.error.FFmpegError, ValueError, MemoryError):
            return None
        return orientation_of(raw).upright(image)

    def close(self) -> None:
        """Close the file; a later `frames` opens it again from the start."""
        if self._container is not None:
            self._container.close()
            self._container = None
