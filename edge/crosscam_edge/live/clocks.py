"""UTC that never runs backwards, and the time at which a camera took a picture.

Cameras disagree about the time: some have none, some jump when they find their time server, some
send no times at all. A tracker and an association need times that grow and that agree to a fraction
of a second, so every frame is dated three ways and the best one that is believable counts: by the
camera's own clock (RTCP sender reports, RFC 3550, 6.4.1), by its presentation times, anchored to
when its quickest packets arrive, and by arrival.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

NANOSECONDS = 1_000_000_000
_SLEW = 500e-6  # seconds a second by which UTC is corrected, as NTP does
_STEP_NS = 60 * NANOSECONDS  # a clock that was set this far ahead is followed at once
_JUMP_NS = 5 * NANOSECONDS  # presentation times this far off began anew
_DRIFT = 200e-6  # seconds a second by which a camera's pace may be off
_RTCP_NS = 5 * NANOSECONDS  # a camera's clock is believed when it is off by less
_LEAST_NS = 1_000_000  # between two frames


class UtcClock:
    """UTC in nanoseconds that never runs backwards, whatever is done to the system's clock.

    It runs on the monotonic clock and leans towards the system's UTC by at most 500 millionths; one
    that was set a minute or more ahead (a box that found its time server) is followed at once.

    Args:
        utc: Nanoseconds of the system's clock.
        monotonic: Nanoseconds of one that cannot be set.
    """

    def __init__(
        self,
        utc: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._utc, self._monotonic = utc, monotonic
        self._now, self._at = utc(), monotonic()

    def now_ns(self) -> int:
        """Return the time; never less than before."""
        at = self._monotonic()
        passed = max(0, at - self._at)
        behind = self._utc() - (self._now + passed)
        lean = round(_SLEW * passed)
        step = behind if behind >= _STEP_NS else max(-lean, min(lean, behind))
        self._now += max(0, passed + step)
        self._at = at
        return self._now


@dataclass(slots=True)
class ClockFigures:
    """What was met.

    Attributes:
        source: Where the last time came from: ``rtcp``, ``stream`` or ``arrival``.
        skew_s: How far the camera's own clock is from ours, seconds; None when it sends none.
        jumps: Times that presentation times began anew.
        repaired: Frames whose time did not grow.
    """

    source: str = "arrival"
    skew_s: float | None = None
    jumps: int = 0
    repaired: int = 0


class CameraClock:
    """Dates the frames of one camera: UTC nanoseconds that grow from frame to frame.

    Args:
        offset_ns: Added to every time.

    Attributes:
        figures: What was met.
    """

    def __init__(self, offset_ns: int = 0) -> None:
        self.figures = ClockFigures()
        self._offset = offset_ns
        self._base: int | None = None  # UTC at presentation time zero
        self._last_arrival = 0
        self._last: int | None = None

    def reconnected(self) -> None:
        """Presentation times begin anew."""
        self._base = None

    def date(self, arrival_ns: int, stream_ns: int | None, rtcp_ns: int | None) -> int:
        """Return the capture time of a frame.

        Args:
            arrival_ns: When it arrived, by `UtcClock`.
            stream_ns: Its presentation time; None when it has none.
            rtcp_ns: Its time by the camera's own clock; None when that is not known.
        """
        figures, taken = self.figures, arrival_ns
        figures.source = "arrival"
        if stream_ns is not None:
            taken = self._anchored(arrival_ns, stream_ns)
            figures.source = "stream"
        if rtcp_ns is not None:
            figures.skew_s = (rtcp_ns - taken) / NANOSECONDS
            if abs(rtcp_ns - taken) < _RTCP_NS:
                taken, figures.source = rtcp_ns, "rtcp"
        taken += self._offset
        if self._last is not None and taken < self._last + _LEAST_NS:
            taken = self._last + _LEAST_NS
            figures.repaired += 1
        self._last = taken
        return taken

    def _anchored(self, arrival_ns: int, stream_ns: int) -> int:
        """Return arrival without the network's jitter: the quickest packets tell the offset."""
        base = arrival_ns - stream_ns
        if self._base is None:
            self._base = base
        elif abs(base - self._base) > _JUMP_NS:
            self.figures.jumps += 1
            self._base = base
        else:
            # A slow pace moves the base up a little at a time; a quick packet moves it down.
            lean = round(_DRIFT * max(0, arrival_ns - self._last_arrival))
            self._base = min(base, self._base + lean)
        self._last_arrival = arrival_ns
        return stream_ns + self._base
