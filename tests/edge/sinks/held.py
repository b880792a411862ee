"""Something that takes a while, held up half-way: who waits for it meanwhile?"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Held:
    """Work that is made slow, and is let go on once it is known who waits for it."""

    def __init__(self) -> None:
        self._began, self._go = threading.Event(), threading.Event()

    def slowly(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return work that begins, and goes on when it may."""

        def held(*given: Any) -> Any:
            self._began.set()
            assert self._go.wait(20)
            return work(*given)

        return held

    def waits(self, other: Callable[[], Any], slow: Callable[[], Any]) -> bool:
        """Return whether `other` waits for `slow`, which is held; both are done then."""
        threads = [threading.Thread(target=each) for each in (slow, other)]
        threads[0].start()
        assert self._began.wait(20)
        threads[1].start()
        threads[1].join(5)
        waited = threads[1].is_alive()
        self._go.set()
        for each in threads:
            each.join()
        return waited
