"""How many pictures a machine does in a second, found out from those that it does not manage.

What single pictures take does not say it: several are on their way at once, each waits for cores
that others have, and the more there are the better cores are used. A run that lowered its rates by
the sum of such times stayed at two thirds of what it could do, and the fewer pictures it looked at
the more each of them seemed to take. So, as the ends of a network find out what a line carries
(Jacobson, Congestion Avoidance and Control, SIGCOMM 1988): nothing is known until something is
lost; what still came through is what it carries; and now and then a little more is tried, less
often each time that it was too much.
"""

from __future__ import annotations

_NEWS = 0.4  # share of the last second in what is believed
_ENOUGH = 0.95  # share of the pictures that were planned; cameras do not keep time
_IDLE = 0.05  # a machine with nothing to do for more of the time is not short of it
_STEPS = 2
_MORE = 1.03  # what is tried, a second
_MOST = 1.15  # of what was planned
_MUCH = 1.1  # so much more than was thought ends all waiting
_LEAST = 1e-6
_FIRST_S, _LONGEST_S = 8, 64


class Capacity:
    """What a machine does in a second, in any unit of work.

    Attributes:
        known: Work a second, > 0; None while it was never short of time.
    """

    def __init__(self) -> None:
        self.known: float | None = None
        self._planned = self._done = self._idle = 0.0
        self._short = self._calm = self._hold = 0
        self._wait = _FIRST_S

    def step(self, planned: float, done: float, idle: float) -> None:
        """Learn from a second.

        Args:
            planned: Work that should have been done in it, >= 0.
            done: Work that was done in it, >= 0.
            idle: Share of it in which there was nothing at all to do, in [0, 1].
        """
        if not planned:
            return
        news = _NEWS if self._planned else 1.0
        self._planned += news * (planned - self._planned)
        self._done += news * (done - self._done)
        self._idle += news * (idle - self._idle)
        short = self._done < _ENOUGH * self._planned and self._idle < _IDLE
        self._short = self._short + 1 if short else 0
        self._calm = self._calm + 1 if self.known is None and not short else 0
        if self._calm > _LONGEST_S:
            self._wait = _FIRST_S
        if self._short >= _STEPS:
            self.known = max(self._done, _LEAST)
            if self._short == _STEPS:
                self._hold, self._wait = self._wait, min(_LONGEST_S, 2 * self._wait)
        elif self.known is not None and not short:
            self.known = max(self.known, self._more(self.known))

    def forget(self) -> None:
        """Take it that there is time for everything again."""
        self.known, self._short = None, 0

    def _more(self, known: float) -> float:
        """Return what to count on when all that was planned was done."""
        least = self._done / max(_IDLE, 1.0 - self._idle)  # with the time that is left
        if least > _MUCH * known:
            self._hold, self._wait = 0, _FIRST_S
        if self._hold:
            self._hold -= 1
            return least
        return max(least, min(known * _MORE, _MOST * max(self._planned, self._done)))
