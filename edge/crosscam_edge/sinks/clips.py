"""Clips around what happens, cut from what the cameras sent: nothing is decoded or encoded."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import av
import av.error

from crosscam_deploy.log import get_logger
from crosscam_edge.sinks.atomic import atomic_path
from crosscam_edge.sinks.base import Health
from crosscam_edge.sinks.shelf import Bounds, Shelf
from crosscam_kernels.errors import CrosscamError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from crosscam_edge.live.ring import Encoded, Ring
    from crosscam_edge.sinks.forget import Seen

_log = get_logger("clips")
_LATE_NS = 1_000_000_000  # pictures are on their way for so long
_WAITING = 200
_WAITING_OF_CAMERA = 8
_TIDY_S = 60.0
_CLOSE_S = 5.0
_NEAR_NS = 10_000_000_000
"""A clip that somebody was near in time is erased with them: clocks of cameras are not ours."""
_NAME = re.compile(
    r"\d{8}T\d{6}Z_(?P<camera>.+)_(?P<kind>[a-z]+)_(?P<who>\d+)_(?P<start>\d+)_(?P<end>\d+)\.mp4"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A clip that is to be cut.

    Attributes:
        camera: Of which camera.
        kind: What happened.
        global_id: To whom.
        at_ns: When, UTC by the camera's clock.
        due_ns: When all of it will have come, UTC by ours.
    """

    camera: str
    kind: str
    global_id: int
    at_ns: int
    due_ns: int


class ClipsSink:
    """Writes an MP4 file for each event of chosen kinds; a thread does, once its end has come.

    Files are called ``TIME_CAMERA_KIND_ID_STARTNS_ENDNS.mp4`` and are whole or absent. An event for
    which nothing was kept, or that finds too many waiting, or a full disk, is dropped and counted.

    Args:
        folder: Gets the files.
        ring_of: What a camera sent last.
        now_ns: UTC.
        kinds: Kinds of events of identities.
        before_s: Seconds before the event.
        after_s: Seconds after it.
        bounds: How much is kept; the oldest clips make room.

    Attributes:
        written: Clips.
        dropped: Events that have none.
        health: Whether the disk takes them.

    Raises:
        CrosscamError: The folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        ring_of: Callable[[str], Ring],
        now_ns: Callable[[], int],
        *,
        kinds: Collection[str],
        before_s: float,
        after_s: float,
        bounds: Bounds,
    ) -> None:
        self.written = self.dropped = 0
        self.health = Health.OK
        self._ring_of, self._now, self._kinds = ring_of, now_ns, frozenset(kinds)
        self._before_ns, self._after_ns = round(before_s * 1e9), round(after_s * 1e9)
        self._bounds = bounds
        self._shelf = Shelf(folder, ".mp4", bounds)
        self._changed = threading.Condition()
        self._waiting: deque[Wanted] = deque()
        self._ends: float | None = None
        self._writing = threading.Lock()  # held while files are made or removed
        self._thread = threading.Thread(target=self._work, name="clips", daemon=True)
        self._thread.start()

    def put(self, record: Mapping[str, Any]) -> None:
        """Take a record; never waits. What needs no clip is passed over."""
        camera = record.get("camera")
        if record["type"] != "identity" or record["kind"] not in self._kinds or camera is None:
            return
        at_ns = record["time_ns"] + self._ring_of(camera).offset_ns
        wanted = Wanted(
            camera, record["kind"], record["global_id"], at_ns,
            record["time_ns"] + self._after_ns + _LATE_NS,
        )  # fmt: skip
        with self._changed:
            of_camera = sum(each.camera == camera for each in self._waiting)
            full = len(self._waiting) >= _WAITING or of_camera >= _WAITING_OF_CAMERA
            if full or self._ends is not None:
                self.dropped += 1
                return
            self._waiting.append(wanted)
            self._changed.notify()

    def erase(self, names: Collection[int], seen: Collection[Seen]) -> int:
        """Remove all clips that tell of somebody, or were taken where and when they were.

        Args:
            names: Their global ids.
            seen: Where they were, and when.

        Returns:
            Number of clips.

        Raises:
            RunError: One cannot be removed.
        """
        with self._writing:
            for camera in {each.key.camera_id for each in seen}:
                self._ring_of(camera).forget()
            with self._changed:
                waiting = list(self._waiting)
            # Without that lock, which whoever puts would wait for; nobody else takes any away.
            gone = {id(each) for each in waiting if self._shows(each, names, seen)}
            with self._changed:
                self.dropped += len(gone)
                self._waiting = deque(each for each in self._waiting if id(each) not in gone)
            count = 0
            for path in self._shelf.files():
                found = _NAME.fullmatch(path.name)
                if found is None:
                    continue
                near = _near(found["camera"], int(found["start"]), int(found["end"]), seen)
                if near or int(found["who"]) in names:
                    try:
                        path.unlink(missing_ok=True)
                    except OSError as error:
                        raise RunError(
                            f"{path.name} cannot be removed ({error.strerror})"
                        ) from None
                    count += 1
        return count

    def close(self) -> None:
        """Write what waits, for five seconds at most; the rest is dropped and counted."""
        with self._changed:
            self._ends = time.monotonic() + _CLOSE_S
            self._changed.notify()
        self._thread.join()

    def _shows(self, wanted: Wanted, names: Collection[int], seen: Collection[Seen]) -> bool:
        start, end = wanted.at_ns - self._before_ns, wanted.at_ns + self._after_ns
        return wanted.global_id in names or _near(wanted.camera, start, end, seen)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._is_time() and self._changed.wait(self._pause_s()):
                    pass  # something came meanwhile: it may be due sooner than what was waited for
                if self._ends is not None and (not self._waiting or time.monotonic() >= self._ends):
                    self.dropped += len(self._waiting)
                    self._waiting.clear()
                    return
                due = self._is_time()
            # From the queue it is taken under the lock, so that whoever is erased is found in
            # the queue or on the disk.
            with self._writing:
                self._tried(self._next() if due else None)

    def _is_time(self) -> bool:
        if self._ends is not None:
            return True
        return bool(self._waiting) and self._waiting[0].due_ns <= self._now()

    def _pause_s(self) -> float:
        if not self._waiting:
            return _TIDY_S
        return min(_TIDY_S, max(0.0, (self._waiting[0].due_ns - self._now()) / 1e9))

    def _next(self) -> Wanted | None:
        with self._changed:
            return self._waiting.popleft() if self._waiting else None

    def _tried(self, wanted: Wanted | None) -> None:
        """Cut a clip, or only let old ones go."""
        try:
            if wanted is None:
                self._shelf.tidy()
            elif self._cut(wanted):
                self.health = Health.OK
                self.written += 1
            else:
                self.dropped += 1
        except (CrosscamError, OSError) as error:
            if self.health is Health.OK:  # told once, not for each clip
                _log.warning("clips are dropped", reason=str(error))
            self.health = Health.FAILING
            self.dropped += wanted is not None

    def _cut(self, wanted: Wanted) -> bool:
        """Write a clip; returns whether there was anything to write."""
        found = self._ring_of(wanted.camera).between(
            wanted.at_ns - self._before_ns, wanted.at_ns, wanted.at_ns + self._after_ns
        )
        if found is None:
            return False
        template, pictures = found
        size = sum(len(each.data) for each in pictures)
        size += size // 16 + 65_536  # with its index
        if size > self._bounds.most_bytes:
            return False
        self._shelf.tidy(room=size, places=1)
        start, end = pictures[0].time_ns, pictures[-1].time_ns
        stamp = datetime.fromtimestamp(start // 1_000_000_000, UTC).strftime("%Y%m%dT%H%M%SZ")
        name = f"{stamp}_{wanted.camera}_{wanted.kind}_{wanted.global_id}_{start}_{end}.mp4"
        write_clip(self._shelf.folder / name, template, pictures)
        return True


def _near(camera: str, start_ns: int, end_ns: int, seen: Collection[Seen]) -> bool:
    return any(
        each.key.camera_id == camera
        and each.start_ns <= end_ns + _NEAR_NS
        and each.end_ns >= start_ns - _NEAR_NS
        for each in seen
    )


def write_clip(path: Path, template: Any, pictures: Sequence[Encoded]) -> None:
    """Write encoded pictures as MP4, the index at the front, from time zero on.

    Args:
        path: Appears when it is whole.
        template: Stream with the codec's parameters.
        pictures: The first is a key picture.

    Raises:
        CrosscamError: The disk is full or the place cannot be written, or MP4 cannot hold them.
    """
    first = pictures[0].dts
    with atomic_path(path) as temporary:
        try:
            with av.open(
                str(temporary), "w", format="mp4", options={"movflags": "+faststart"}
            ) as container:
                stream = container.add_stream_from_template(template, opaque=True)
                for each in pictures:
                    packet = av.Packet(each.data)
                    packet.pts, packet.dts = each.pts - first, each.dts - first
                    packet.duration, packet.time_base = each.duration, each.time_base
                    packet.is_keyframe = each.key
                    packet.stream = stream
                    container.mux(packet)
        except (av.error.FFmpegError, ValueError) as error:
            if isinstance(error, OSError):
                raise  # atomic_path tells a full disk from a forbidden one
            raise RunError(f"the clip {path.name} cannot be written ({error})") from error
