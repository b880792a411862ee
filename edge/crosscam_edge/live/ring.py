"""The last seconds of a camera as it sent them, in bounded memory: what clips are cut from."""

from __future__ import annotations

import io
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import av

if TYPE_CHECKING:
    from collections.abc import Callable

CODECS = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4", "mjpeg"})
"""What MP4 holds and a camera sends in few bytes; raw pictures of webcams are too many."""
_JUMP_S = 5.0


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture as it came.

    Attributes:
        time_ns: When, UTC.
        data: Its bytes.
        pts: When it is shown, in units of `time_base`.
        dts: When it is decoded.
        duration: In the same units; 0 when not known.
        time_base: Seconds, a fraction.
        key: Whether it can be decoded without those before.
    """

    time_ns: int
    data: bytes
    pts: int
    dts: int
    duration: int
    time_base: Any
    key: bool


@dataclass(slots=True)
class Group:
    """A key picture and those that need it.

    Attributes:
        template: Stream of an output that was never written, with the codec's parameters.
        part: Groups of one number follow each other without a gap.
        pictures: In the order in which they came.
    """

    template: Any
    part: int
    pictures: list[Encoded] = field(default_factory=list)


class Ring:
    """Keeps what one camera sent last, from a key picture on; the camera's thread never waits.

    Args:
        seconds: That are kept.
        most_bytes: That are kept, if that is less.
        offset_ns: Added to the times at which pictures came: the camera's own offset.
    """

    def __init__(self, seconds: float, most_bytes: int, offset_ns: int = 0) -> None:
        self.offset_ns = offset_ns
        self._keep_ns, self._most = round(seconds * 1e9), most_bytes
        self._lock = threading.Lock()
        self._groups: deque[Group] = deque()
        self._bytes = 0
        self._part = 0
        self._broken = True  # what comes is of no use until a key picture
        self._template: Any = None

    def __len__(self) -> int:
        return self._bytes

    def begin(self, stream: Any) -> None:
        """Take what comes from here on as a stream of its own.

        Args:
            stream: Of an open container; not used after this.
        """
        template = None
        if stream.codec_context.codec.canonical_name in CODECS:
            container = av.open(io.BytesIO(), "w", format="mp4")
            template = container.add_stream_from_template(stream, opaque=True)
        with self._lock:
            self._template = template
            self._gap()

    def put(self, packet: Any, arrival_ns: int) -> None:
        """Take a packet that came."""
        if self._template is None or packet.pts is None or not packet.time_base:
            return
        dts = packet.pts if packet.dts is None else packet.dts
        taken = Encoded(
            arrival_ns + self.offset_ns, bytes(packet), packet.pts, dts, packet.duration or 0,
            packet.time_base, packet.is_keyframe,
        )  # fmt: skip
        with self._lock:
            if self._jumped(taken):
                self._gap()
            if taken.key:
                self._groups.append(Group(self._template, self._part))
                self._broken = False
            if self._broken:
                return
            self._groups[-1].pictures.append(taken)
            self._bytes += len(taken.data)
            self._let_go(taken.time_ns - self._keep_ns)

    def between(self, start_ns: int, at_ns: int, end_ns: int) -> tuple[Any, list[Encoded]] | None:
        """Return what was kept of a time, from the key picture before it on.

        Args:
            start_ns: From when, UTC.
            at_ns: What came without a gap before and after this is returned.
            end_ns: Until when.

        Returns:
            The template, and pictures; None where there are none.
        """
        with self._lock:
            groups = [
                each
                for each in self._groups
                if each.pictures[0].time_ns <= end_ns and each.pictures[-1].time_ns >= start_ns
            ]
            if not groups:
                return None
            before = [each for each in groups if each.pictures[0].time_ns <= at_ns]
            part = (before[-1] if before else groups[0]).part
            chosen = [each for each in groups if each.part == part]
            pictures = [p for each in chosen for p in each.pictures if p.time_ns <= end_ns]
            return chosen[0].template, pictures

    def forget(self) -> None:
        """Let everything go, and begin with the next key picture."""
        with self._lock:
            self._groups.clear()
            self._bytes = 0
            self._gap()

    def _gap(self) -> None:
        self._part += 1
        self._broken = True

    def _jumped(self, taken: Encoded) -> bool:
        """Tell whether a picture's own time does not go on from the one before."""
        if self._broken:
            return False
        before = self._groups[-1].pictures[-1]
        if taken.dts <= before.dts or taken.time_base != before.time_base:
            return True
        own = float((taken.dts - before.dts) * taken.time_base)
        return abs(own - (taken.time_ns - before.time_ns) / 1e9) > _JUMP_S

    def _let_go(self, until_ns: int) -> None:
        groups = self._groups
        while len(groups) > 1 and (
            groups[1].pictures[0].time_ns <= until_ns or self._bytes > self._most
        ):
            self._bytes -= sum(len(each.data) for each in groups.popleft().pictures)
        if self._bytes > self._most:  # one group is too large: nothing until the next one
            groups.clear()
            self._bytes = 0
            self._gap()


class Rings:
    """The rings of all cameras, made when they are asked for; any thread may.

    Args:
        make: Makes one, for a camera's offset in nanoseconds.
    """

    def __init__(self, make: Callable[[int], Ring]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._rings: dict[str, Ring] = {}

    def of(self, camera_id: str) -> Ring:
        """Return the ring of a camera; an empty one before it sends anything."""
        with self._lock:
            if camera_id not in self._rings:
                self._rings[camera_id] = self._make(0)
            return self._rings[camera_id]

    def begin(self, camera_id: str, offset_ns: int) -> Ring:
        """Return a new ring for a camera that begins; what the one before sent is let go."""
        with self._lock:
            ring = self._rings[camera_id] = self._make(offset_ns)
            return ring

    def drop(self, camera_id: str) -> None:
        """Let a camera go that has ended."""
        with self._lock:
            self._rings.pop(camera_id, None)
