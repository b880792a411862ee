"""Chosen frames of a video file, without decoding the rest of it.

All compressed pictures are read twice, which costs little, but only those are decoded that lie
between a key frame and a chosen frame. The container's own index and seeking are not used: they
are missing or wrong in many formats, while this gives exactly the frames that decoding from the
start gives, or says that it cannot.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import av.error
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from fractions import Fraction

    from numpy.typing import NDArray

_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Packets:
    """The compressed pictures of a stream, in order of the file.

    Attributes:
        pts: `(N,)` int64 presentation times in units of the stream.
        key: `(N,)` bool; whether decoding can begin there.
        shown: `(N,)` bool; False for what an edit list hides and for empty packets.
    """

    pts: NDArray[np.int64]
    key: NDArray[np.bool_]
    shown: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Reading:
    """What to decode for some frames.

    Attributes:
        spans: First and last packet of each stretch to decode, ascending and apart.
        index: Frame number by presentation time, for the chosen frames.
    """

    spans: list[tuple[int, int]]
    index: dict[int, int]


def scan(container: Any, stream: Any, stop: Callable[[], bool]) -> Packets | None:
    """Read all packets of a stream without decoding them.

    Returns:
        The packets, or None when a packet has no time, the file is damaged, or `stop` said so.
    """
    pts, key, shown = array("q"), bytearray(), bytearray()
    try:
        for packet in container.demux(stream):
            if stop():
                return None
            if packet.pts is None:
                if packet.size:
                    return None
                continue  # the end
            if packet.is_corrupt:
                return None
            pts.append(packet.pts)
            key.append(packet.is_keyframe)
            shown.append(packet.size > 0 and not packet.is_discard)
    except (av.error.FFmpegError, OSError, ValueError, IndexError):
        return None
    flags = (np.frombuffer(data, np.bool_) for data in (key, shown))
    return Packets(np.frombuffer(pts, np.int64), *flags)


def plan_reading(
    packets: Packets, wanted: Mapping[int, int], time_base: Fraction, tolerance_ns: int
) -> Reading | None:
    """Find what to decode.

    A frame's number follows from the order of presentation times. That is trusted only when for
    every chosen frame the time agrees too: hidden pictures, damage, and clocks that jump shift one
    against the other.

    Args:
        packets: Result of `scan`.
        wanted: Nanoseconds after the first frame, by frame number.
        time_base: Seconds per unit of `packets.pts`.
        tolerance_ns: Most that the two times of a frame may differ.

    Returns:
        The plan, or None when frame numbers cannot be known without decoding everything.
    """
    at = np.flatnonzero(packets.shown)
    order = at[np.argsort(packets.pts[at], kind="stable")]  # packet of each frame
    pts = packets.pts[order]
    numbers = np.array(sorted(wanted), np.int64)
    if not len(numbers):
        return Reading([], {})
    if not len(order) or numbers[0] < 0 or numbers[-1] >= len(order) or (np.diff(pts) <= 0).any():
        return None
    keys = np.flatnonzero(packets.key)
    if not len(keys) or keys[0] != 0 or (packets.pts[at] < packets.pts[0]).any():
        return None  # what comes before the first key frame is decoded by nobody knows whom
    unit = float(time_base) * _NANOSECONDS
    times = np.array([wanted[int(n)] for n in numbers], np.float64)
    if (np.abs((pts[numbers] - pts[0]) * unit - times) > tolerance_ns).any():
        return None
    spans: list[tuple[int, int]] = []
    for last in sorted(order[numbers].tolist()):
        before = int(np.searchsorted(keys, last, side="right")) - 1
        # Pictures that follow a key frame in the file but are shown before it need the one before.
        while before and packets.pts[keys[before]] > packets.pts[last]:
            before -= 1
        first = int(keys[before])
        while spans and first <= spans[-1][1]:
            start, end = spans.pop()
            first, last = min(first, start), max(last, end)
        spans.append((first, last))
    return Reading(spans, dict(zip(pts[numbers].tolist(), numbers.tolist(), strict=True)))


def decode_spans(
    container: Any, stream: Any, spans: Sequence[tuple[int, int]], stop: Callable[[], bool]
) -> Iterator[Any]:
    """Yield the decoded `av.VideoFrame` of stretches of packets, each begun with a fresh decoder.

    Ends early, without an error, at what cannot be decoded.
    """
    ahead = iter(spans)
    span = next(ahead, None)
    number = -1
    try:
        for packet in container.demux(stream):
            if span is None or stop():
                return
            if packet.pts is None:
                continue
            number += 1
            if number < span[0]:
                continue
            yield from packet.decode()
            if number == span[1]:
                yield from stream.decode(None)
                stream.codec_context.flush_buffers()
                span = next(ahead, None)
    except (av.error.FFmpegError, OSError, ValueError, IndexError):
        return
