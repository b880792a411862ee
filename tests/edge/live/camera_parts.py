"""A clock, and patience, for tests of cameras."""

from __future__ import annotations

import time
from collections.abc import Callable

from crosscam_edge.live.clocks import UtcClock

CLOCK = UtcClock()


def until(condition: Callable[[], bool], seconds: float = 15.0) -> float:
    """Wait until something is so; returns how many seconds that took."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if condition():
            return time.monotonic() - began
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")
