"""How often something may be done or tried, by address, in bounded memory."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Attempts:
    """Counts what each address does, which is forgiven at a steady pace (a leaky bucket).

    Args:
        burst: Attempts in a row that are let pass.
        pause_s: Seconds after which one is forgiven.
        most: Addresses that are kept; whose last attempt is longest ago is dropped first.
        now_s: Seconds of a clock that cannot be set.

    Attributes:
        refused: Attempts that were not let pass; counted by whoever refuses them.
    """

    def __init__(
        self,
        burst: int = 5,
        pause_s: float = 10.0,
        most: int = 4096,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst, self._pause, self._most, self._now = burst, pause_s, most, now_s
        self.refused = 0
        self._until: OrderedDict[str, float] = OrderedDict()  # when all will be forgiven
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._until)

    def wait_s(self, address: str) -> float:
        """Return the seconds before an address may try again; 0 when it may now."""
        with self._lock:
            left = self._until.get(address, 0.0) - self._now()
        return max(0.0, left - (self._burst - 1) * self._pause)

    def count(self, address: str) -> None:
        """Count an attempt."""
        with self._lock:
            now = self._now()
            self._until[address] = max(self._until.pop(address, 0.0), now) + self._pause
            while len(self._until) > self._most:
                self._until.popitem(last=False)

    def forgive(self, address: str) -> None:
        """Take the latest attempt back: it was none."""
        with self._lock:
            if address in self._until:
                self._until[address] -= self._pause
