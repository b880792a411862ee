"""A connection to a camera through FFmpeg (PyAV): pictures as they come, until they do not."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import av
import av.error
from av.codec.hwaccel import HWAccel

from crosscam_edge.live.faults import FaultCode, SourceFault, fault_of
from crosscam_edge.live.hardware import CPU

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from crosscam_edge.live.address import Address
    from crosscam_edge.live.ring import Ring

# FFmpeg takes twice its limit to notice: no camera holds its worker for 5 seconds.
_OPEN_S, _READ_S = 4.0, 2.4
_WAIT_FOR_KEY = 300  # packets; streams that refresh bit by bit have no key pictures
_MOST_ERRORS = 16
_MOST_CORRUPT = 50  # in a row; then that is what this camera's pictures are like


@dataclass(frozen=True, slots=True)
class Arrived:
    """A picture that has come.

    Attributes:
        raw: The decoded `av.VideoFrame`.
        arrival_ns: When, UTC nanoseconds.
        stream_ns: Its presentation time; None when it has none.
        rtcp_ns: When it was taken by the camera's own clock, UTC; None when that is not known.
    """

    raw: Any
    arrival_ns: int
    stream_ns: int | None
    rtcp_ns: int | None


@dataclass(slots=True)
class ConnectionFigures:
    """What a connection went through.

    Attributes:
        codec: Name of the codec.
        corrupt: Pictures that were damaged on the way, left out.
        errors: Packets that could not be decoded.
        skipped: Packets before the first key picture.
        decoder: ``cpu``, or the device of FFmpeg that decodes.
    """

    codec: str = ""
    corrupt: int = 0
    errors: int = 0
    skipped: int = 0
    decoder: str = CPU


class Connection(Protocol):
    """What every kind of camera offers once it is connected.

    Attributes:
        figures: What it went through.
    """

    figures: ConnectionFigures

    def pictures(self) -> Iterator[Arrived]:
        """Yield pictures as they come; ends with a `SourceFault`, never otherwise."""
        ...

    def close(self) -> None:
        """Hang up."""
        ...


def connect(
    address: Address,
    now_ns: Callable[[], int],
    *,
    transport: Literal["tcp", "udp"] = "tcp",
    hwaccel: str | None = None,
    ring: Ring | None = None,
) -> StreamConnection:
    """Connect to a network camera or a webcam.

    Args:
        address: Of kind ``stream`` or ``webcam``.
        now_ns: UTC.
        transport: How RTSP sends pictures.
        hwaccel: Device of FFmpeg that works here (`hardware_decoder`); the CPU decodes what the
            device does not.
        ring: Gets what the camera sends, before it is decoded.

    Raises:
        SourceFault: It does not work out, and why.
    """
    # No "nobuffer": it throws away what was read to tell what is in a stream, the first key picture
    # among it, and the next one may be many seconds off.
    options = {"flags": "low_delay"}
    form = None
    if address.kind == "webcam":
        form = "v4l2"
    else:
        # Half a second of a stream tells what is in it; FFmpeg would look at five.
        options |= {"probesize": "500000", "analyzeduration": "500000"}
        if address.target.startswith("rtsp"):
            options |= {"rtsp_transport": transport}
    began = time.monotonic()
    try:
        container = av.open(
            address.target,
            format=form,
            options=options,
            timeout=(_OPEN_S, _READ_S),
            metadata_errors="ignore",
            hwaccel=HWAccel(hwaccel, allow_software_fallback=True) if hwaccel else None,
        )
    except av.error.InvalidDataError as error:
        # Nothing was decoded yet: the answer was none, or not one of this protocol.
        if time.monotonic() - began >= _OPEN_S:
            raise SourceFault(
                FaultCode.TIMEOUT, "it takes connections, and does not answer"
            ) from None
        raise SourceFault(FaultCode.ENDED, f"it hung up, or answers otherwise ({error})") from None
    except Exception as error:
        raise fault_of(error) from None
    if not container.streams.video:
        container.close()
        raise SourceFault(FaultCode.NO_VIDEO, f"{len(container.streams)} streams, none with video")
    found = StreamConnection(container, now_ns, ring)
    if hwaccel and container.streams.video[0].codec_context.is_hwaccel:
        found.figures.decoder = hwaccel
    return found


class StreamConnection:
    """Pictures of an open container.

    Args:
        container: Open, with video.
        now_ns: UTC.
        ring: Gets every packet.
    """

    def __init__(self, container: Any, now_ns: Callable[[], int], ring: Ring | None = None) -> None:
        self._container, self._now, self._ring = container, now_ns, ring
        self._stream = container.streams.video[0]
        self._stream.thread_type = "NONE"  # threads of a decoder hold pictures back
        self.figures = ConnectionFigures(codec=self._stream.codec_context.name)
        if ring is not None:
            ring.begin(self._stream)

    def pictures(self) -> Iterator[Arrived]:
        """See `Connection.pictures`."""
        figures, errors, corrupt, keyed = self.figures, 0, 0, False
        for packet in self._packets():
            if not keyed and not packet.is_keyframe and figures.skipped < _WAIT_FOR_KEY:
                figures.skipped += 1
                continue
            keyed = True
            arrival, rtcp = self._now(), _rtcp_ns(packet)
            if self._ring is not None:
                self._ring.put(packet, arrival)
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, ValueError) as error:
                figures.errors += 1
                errors += 1
                if errors >= _MOST_ERRORS:
                    raise SourceFault(FaultCode.DECODE, str(error)) from None
                continue
            errors = 0
            for raw in frames:
                if raw.is_corrupt:
                    figures.corrupt += 1
                    corrupt += 1
                    if corrupt < _MOST_CORRUPT:
                        continue
                else:
                    corrupt = 0
                yield Arrived(raw, arrival, _stream_ns(raw), _of_frame(rtcp, packet, raw))

    def _packets(self) -> Iterator[Any]:
        demuxer = self._container.demux(self._stream)
        while True:
            try:
                packet = next(demuxer)
            except StopIteration:  # FFmpeg's word for a camera that hung up
                raise SourceFault(FaultCode.ENDED, "the camera ended the stream") from None
            except Exception as error:
                raise fault_of(error) from None
            if packet.size:  # the last packet of a stream is empty
                yield packet

    def close(self) -> None:
        """Hang up."""
        self._container.close()


def _stream_ns(raw: Any) -> int | None:
    if raw.pts is None or not raw.time_base:
        return None
    return int(raw.pts * raw.time_base * 1_000_000_000)


def _rtcp_ns(packet: Any) -> int | None:
    """Return the time that sender reports give a packet (`AVProducerReferenceTime`), UTC."""
    if not packet.has_sidedata("prft"):
        return None
    data = bytes(packet.get_sidedata("prft"))
    if len(data) < 8:
        return None
    return int(struct.unpack_from("<q", data)[0]) * 1000


def _of_frame(rtcp_ns: int | None, packet: Any, raw: Any) -> int | None:
    """Return the time of a frame that a decoder gave back with a later packet."""
    if rtcp_ns is None or packet.pts is None or raw.pts is None or not packet.time_base:
        return rtcp_ns
    late = (packet.pts * packet.time_base - raw.pts * raw.time_base) * 1_000_000_000
    return rtcp_ns - int(late)


class FileConnection:
    """A recorded video as if it were a camera: in real time, and over and over.

    Args:
        path: The file.
        now_ns: UTC.
        wait: Waits so many seconds; returns True to end at once.
        ring: Gets every packet.

    Raises:
        SourceFault: It cannot be opened.
    """

    def __init__(
        self,
        path: str,
        now_ns: Callable[[], int],
        wait: Callable[[float], bool],
        ring: Ring | None = None,
    ) -> None:
        self._path, self._now, self._wait, self._ring = path, now_ns, wait, ring
        self._container: Any = None
        self.figures = ConnectionFigures()
        self._open()

    def _open(self) -> Any:
        self.close()
        try:
            self._container = av.open(self._path, metadata_errors="ignore")
        except Exception as error:
            raise fault_of(error) from None
        if not self._container.streams.video:
            self.close()
            raise SourceFault(FaultCode.NO_VIDEO, "the file holds no video")
        stream = self._container.streams.video[0]
        self.figures.codec = stream.codec_context.name
        if self._ring is not None:
            self._ring.begin(stream)
        return stream

    def pictures(self) -> Iterator[Arrived]:
        """See `Connection.pictures`; times go on where the file begins anew."""
        offset, last, step, began = 0, 0, 40_000_000, self._now()
        while True:
            stream, first, count = self._open(), None, 0
            for raw in self._decoded(stream):
                at = _stream_ns(raw)
                first = at if first is None else first
                stamp = offset + (count * step if at is None or first is None else at - first)
                count += 1
                step = max(1_000_000, min(stamp - last, 1_000_000_000)) if stamp > last else step
                last = max(last + 1, stamp)
                if self._wait(max(0.0, (began + last - self._now()) / 1e9)):
                    raise SourceFault(FaultCode.ENDED, "stopped")
                yield Arrived(raw, self._now(), last, None)
            if not count:
                raise SourceFault(FaultCode.DECODE, "not one picture can be decoded")
            offset = last + step

    def _decoded(self, stream: Any) -> Iterator[Any]:
        frames = self._frames(stream)
        while True:
            try:
                yield next(frames)
            except StopIteration:
                return
            except av.error.FFmpegError:
                self.figures.errors += 1
                return

    def _frames(self, stream: Any) -> Iterator[Any]:
        for packet in self._container.demux(stream):
            if self._ring is not None and packet.size:
                self._ring.put(packet, self._now())
            yield from packet.decode()

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            self._container.close()
            self._container = None
