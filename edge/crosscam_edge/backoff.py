"""How long to wait before a camera, a broker or a web hook is tried again."""

from __future__ import annotations

import random

_FIRST_S = 0.5
_LONGEST_S = 30.0


class Backoff:
    """Exponential back-off with jitter: many cameras behind one switch do not return as one.

    Each pause is drawn evenly between half of a bound and the bound, which doubles (Brooker,
    "Exponential backoff and jitter", AWS Architecture Blog, 2015: "equal jitter"). The bound stays
    at its largest for ever: nothing is given up.

    Args:
        first_s: First bound, seconds.
        longest_s: Largest bound, seconds.
        seed: Of the jitter.
    """

    def __init__(
        self, first_s: float = _FIRST_S, longest_s: float = _LONGEST_S, seed: int | None = None
    ) -> None:
        self._first, self._longest = first_s, max(first_s, longest_s)
        self._random = random.Random(seed)  # noqa: S311 (jitter, no secret)
        self.failures = 0

    def failed(self) -> float:
        """Count a failure; returns the seconds to wait."""
        bound = min(self._longest, self._first * 2.0 ** min(self.failures, 62))
        self.failures += 1
        return bound * (0.5 + 0.5 * self._random.random())

    def worked(self) -> None:
        """Begin anew: it was there."""
        self.failures = 0
