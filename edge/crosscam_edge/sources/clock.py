"""Presentation times that never run backwards."""

from __future__ import annotations

from fractions import Fraction

NANOSECONDS = 1_000_000_000
_FORWARD_LIMIT_NS = 24 * 3600 * NANOSECONDS
_REANCHOR_AFTER = 5


class PresentationClock:
    """Turns presentation timestamps into strictly increasing nanoseconds from the first frame.

    A missing timestamp, one that does not increase, or one more than a day ahead is replaced by
    "one nominal frame after the last". After five such frames in a row the stream itself has
    jumped (recordings glued together, a camera clock that was set): the clock then goes on from
    there at the stream's own pace.

    Args:
        frame_rate: Nominal frames per second, > 0.

    Attributes:
        repaired: Number of frames whose time was replaced.
    """

    def __init__(self, frame_rate: float) -> None:
        self.repaired = 0
        self._period = max(1, round(NANOSECONDS / frame_rate))
        self._last: int | None = None
        self._offset: int | None = None
        self._bad_in_row = 0

    def stamp(self, pts: int | None, time_base: Fraction | None) -> int:
        """Return the time of the next frame in nanoseconds after the first one.

        Args:
            pts: Presentation timestamp in units of `time_base`; None when the frame has none.
            time_base: Seconds per unit.
        """
        raw = None if pts is None or not time_base else int(pts * time_base * NANOSECONDS)
        if self._last is None:
            self._offset = None if raw is None else -raw
            self._last = 0
            self.repaired += raw is None
            return 0
        if raw is not None and self._offset is None:
            self._offset = self._last + self._period - raw
        time = None if raw is None or self._offset is None else raw + self._offset
        if time is not None and self._last < time <= self._last + _FORWARD_LIMIT_NS:
            self._bad_in_row = 0
        else:
            time = self._last + self._period
            self.repaired += 1
            self._bad_in_row += 1
            if raw is not None and self._bad_in_row >= _REANCHOR_AFTER:
                self._offset = time - raw
                self._bad_in_row = 0
        self._last = time
        return time
