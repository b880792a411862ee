"""The newest analysed picture of each camera, for whoever follows; nobody follows, nothing is kept.

The run's thread hands over a picture that it has looked at, which is a reference and takes no time.
Pictures are scaled and encoded by a thread of their own, once for all followers that want them of
the same height, and only those that somebody takes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from crosscam_edge.types import TrackletKey
from crosscam_kernels.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from crosscam_edge.track.live import LiveFrame
    from crosscam_edge.types import Frame

_QUALITY = 75
_ENCODED = 64


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture that was looked at.

    Attributes:
        camera_id: Whose.
        number: Grows with each picture of any camera.
        time_ns: When it was taken, UTC.
        image: `(H, W, 3)` uint8, BGR; never written to.
        people: Track, global id or None, and box `x1, y1, x2, y2` in pixels of each person.
    """

    camera_id: str
    number: int
    time_ns: int
    image: NDArray[np.uint8]
    people: tuple[tuple[int, int | None, tuple[float, ...]], ...]

    def header(self, jpeg: int) -> dict[str, Any]:
        """Return what is said of it, with the number of bytes of the picture that follows."""
        height, width = self.image.shape[:2]
        return {
            "camera": self.camera_id,
            "ns": self.time_ns,
            "width": width,
            "height": height,
            "jpeg": jpeg,
            "people": [
                {"track": track, "global_id": global_id, "box": box}
                for track, global_id, box in self.people
            ],
        }


def encode(image: NDArray[np.uint8], height: int) -> bytes:
    """Return a picture as JPEG, no higher than `height` pixels.

    Raises:
        RunError: It cannot be encoded.
    """
    if image.shape[0] > height:
        size = (max(1, round(image.shape[1] * height / image.shape[0])), height)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise RunError("a picture cannot be encoded as JPEG", expected="pixels")
    return data.tobytes()


class View:
    """One place for each camera; a newer picture takes it from an older one.

    Args:
        id_of: Whose a track is, as far as it is known; asked on the run's thread.
    """

    def __init__(self, id_of: Callable[[TrackletKey], int | None]) -> None:
        self._id_of = id_of
        self._lock = threading.Lock()
        self._followers = 0
        self._number = 0
        self._newest: dict[str, Shown] = {}
        self._encoded: OrderedDict[tuple[int, int], Future[bytes]] = OrderedDict()
        self._pool: ThreadPoolExecutor | None = None

    def look(self, frame: Frame, seen: LiveFrame) -> None:
        """Take a picture and who is in it; called by the run's thread, never waits."""
        if not self._followers:
            return
        people = tuple(
            (
                row.track_id,
                self._id_of(TrackletKey(frame.camera_id, row.track_id)),
                tuple(round(float(v), 1) for v in row.xyxy),
            )
            for row in seen.rows
        )
        with self._lock:
            if self._followers:
                self._number += 1
                self._newest[frame.camera_id] = Shown(
                    frame.camera_id, self._number, frame.time_ns, frame.image, people
                )

    def enter(self) -> None:
        """Count a follower: from now on pictures are taken."""
        with self._lock:
            self._followers += 1

    def leave(self) -> None:
        """Give a place back; with the last one, everything is let go."""
        with self._lock:
            self._followers -= 1
            if not self._followers:
                self._newest.clear()
                self._encoded.clear()
                if self._pool is not None:
                    self._pool.shutdown(wait=False, cancel_futures=True)
                    self._pool = None

    def newest(self) -> list[Shown]:
        """Return the newest picture of each camera, by name."""
        with self._lock:
            return [self._newest[name] for name in sorted(self._newest)]

    def jpeg(self, shown: Shown, height: int) -> Future[bytes]:
        """Return a picture as JPEG, once it is encoded; only while somebody follows."""
        key = shown.number, height
        with self._lock:
            found = self._encoded.get(key)
            if found is None:
                if self._pool is None:
                    self._pool = ThreadPoolExecutor(1, thread_name_prefix="live-pictures")
                found = self._encoded[key] = self._pool.submit(encode, shown.image, height)
                while len(self._encoded) > _ENCODED:
                    self._encoded.popitem(last=False)
            return found

    def forget(self, global_id: int) -> None:
        """Let pictures go that say of somebody who they are."""
        with self._lock:
            for name, shown in list(self._newest.items()):
                if any(each == global_id for _, each, _ in shown.people):
                    del self._newest[name]
