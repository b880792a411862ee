"""The newest picture of a camera: who is slow gets that one, and what it missed is counted."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Latest(Generic[T]):
    """A place for one item: a newer one takes it from an older one.

    Args:
        changed: Called after an item was put; by whoever put it.

    Attributes:
        dropped: Items that were replaced before anybody took them.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self.dropped = 0
        self._changed = changed
        self._lock = threading.Lock()
        self._item: T | None = None

    def __len__(self) -> int:
        """Items that wait: none or one."""
        return int(self._item is not None)

    def put(self, item: T) -> None:
        """Offer an item."""
        with self._lock:
            self.dropped += self._item is not None
            self._item = item
        self._changed()

    def take(self) -> T | None:
        """Return the item, which is then gone; None when there is none."""
        with self._lock:
            item, self._item = self._item, None
            return item

    def clear(self) -> None:
        """Drop the item, and count it."""
        with self._lock:
            self.dropped += self._item is not None
            self._item = None
