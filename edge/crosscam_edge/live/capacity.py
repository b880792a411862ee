"""How many pictures a machine does in a second, found out from those that it does not manage.

What single pictures take does not say it: several are on their way at once, each waits for cores
that others have, and the more there are the better cores are used. A run that lowered its rates by
the sum of such times stayed at two thirds of what it could do, and the fewer pictures it looked at
the more each of them seemed to take. So, as the ends of a network find out what a line carries
(Jacobson, Congestion Avoidance and Control, SIGCOMM 1988): nothing is known until something is
lost; what still comes through is what it carries; and it is always asked for a little more.
"""

from __future__ import annotations

MORE = 1.15
"""So much of what a machine does is asked of it: it shows when it could do more."""
_NEWS = 0.4  # share of the last second in what is believed
_SHORT = 0.94  # less than this share of what was planned, and it was too much
_IDLE = 0.05  # a machine that is idle for more of the time is not short of it
_STEPS = 2
_TRUST = 0.3  # in what could be done with time that is left, a second
_LEAST = 1e-6


class Capacity:
    """What a machine does in a second, in any unit of work.

    Attributes:
        known: Work a second, > 0; None while it was never short of time.
    """

    def __init__(self) -> None:
        self.known: float | None = None
        self._planned = self._done = self._idle = 0.0
        self._short = 0

    def step(self, planned: float, done: float, idle: float) -> None:
        """Learn from a second.

        Args:
            planned: Work that should have been done in it, >= 0; `MORE` times what is known to be
                possible, if so much is wanted.
            done: Work that was done in it, >= 0.
            idle: Share of it, and of what can be done at once, that was not used, in [0, 1].
        """
        if not planned:
            return
        news = _NEWS if self._planned else 1.0
        self._planned += news * (planned - self._planned)
        self._done += news * (done - self._done)
        self._idle += news * (idle - self._idle)
        short = self._done < _SHORT * self._planned and self._idle < _IDLE
        self._short = self._short + 1 if short else 0
        if self.known is None:
            self.known = max(self._done, _LEAST) if self._short >= _STEPS else None
        elif self._idle < _IDLE:
            self.known = max(self._done, _LEAST)
        else:
            possible = self._done / (1.0 - min(self._idle, 0.9))
            self.known += _TRUST * max(0.0, possible - self.known)

    def forget(self) -> None:
        """Take it that there is time for everything again."""
        self.known, self._short = None, 0
