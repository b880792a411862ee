"""How long things take: counts in bins, so that a month of them takes no more memory than a day."""

from __future__ import annotations

import threading

import numpy as np

_LEAST_S, _MOST_S, _BINS = 1e-3, 100.0, 200
STAGES = ("arrive", "wait", "detect", "track", "tell")
"""What a picture goes through: from capture to its arrival, until it is taken, until its people are
known, their tracks, and until that is told."""


class Latency:
    """Durations from a millisecond to 100 seconds, to 6 % each.

    Attributes:
        count: How many.
        total_s: Their sum, seconds.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total_s = 0.0
        self._bins = np.zeros(_BINS, np.int64)
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        """Count a duration; beyond the range it counts as the nearest there is."""
        place = np.log(max(seconds, _LEAST_S) / _LEAST_S) / np.log(_MOST_S / _LEAST_S)
        with self._lock:
            self._bins[min(int(place * _BINS), _BINS - 1)] += 1
            self.count += 1
            self.total_s += seconds

    def cumulative(self) -> list[tuple[float, int]]:
        """Return how many durations were no longer than each of 20 bounds, in seconds."""
        with self._lock:
            total = np.cumsum(self._bins)
        ends = range(_BINS // 20, _BINS + 1, _BINS // 20)
        bounds = (_LEAST_S * (_MOST_S / _LEAST_S) ** (end / _BINS) for end in ends)
        return [(bound, int(total[end - 1])) for bound, end in zip(bounds, ends, strict=True)]

    def quantiles(self) -> dict[str, float | None]:
        """Return half, 95 % and 99 %, seconds to 0.1 ms, as `p50`, `p95` and `p99`; or None."""
        found = {f"p{round(100 * share)}": self.quantile(share) for share in (0.5, 0.95, 0.99)}
        return {name: round(value, 4) if self.count else None for name, value in found.items()}

    def quantile(self, share: float) -> float:
        """Return the duration that `share` of all stay below, seconds; NaN when there are none."""
        with self._lock:
            total = np.cumsum(self._bins)
        if total[-1] == 0:
            return float("nan")
        place = int(np.searchsorted(total, share * total[-1]))
        return float(_LEAST_S * (_MOST_S / _LEAST_S) ** ((place + 1) / _BINS))
