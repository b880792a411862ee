"""Columns of equal length in a ring: append at one end, drop at the other, squeeze out gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_WINDOW = 64  # rows looked at first when dropping from the old end
_FIRST_SLOTS = 64


class ColumnRing:
    """A ring of rows, each live or dead, whose columns are NumPy arrays.

    The oldest row is live, or there is none: dead rows at the old end are given back at once. Dead
    rows further in keep their place until `squeeze` or growth.

    Args:
        columns: One empty array (0, ...) per column; gives dtype and trailing shape.
        slots: Most rows, dead ones included. Memory grows in doublings up to it.
    """

    def __init__(self, columns: dict[str, NDArray[Any]], slots: int) -> None:
        self.columns = dict(columns)
        self.live = np.zeros(0, np.bool_)
        self.max_slots = slots
        self.head = 0  # slot of the oldest row
        self.count = 0  # rows from the oldest to the newest, dead ones included
        self.live_count = 0

    @property
    def slots(self) -> int:
        """Rows there is memory for."""
        return len(self.live)

    def segments(self) -> list[slice]:
        """The slots in use, oldest first, as at most two ranges."""
        end = self.head + self.count
        parts = [slice(self.head, min(end, self.slots)), slice(0, max(0, end - self.slots))]
        return [part for part in parts if part.stop > part.start]

    def order(self) -> NDArray[np.int64]:
        """Slots of the live rows, oldest first."""
        slots = [np.arange(part.start, part.stop) for part in self.segments()]
        every: NDArray[np.int64] = np.concatenate([np.empty(0, np.int64), *slots])
        return np.compress(self.live[every], every)

    def append(self, rows: dict[str, NDArray[Any]], count: int) -> None:
        """Adds live rows at the new end; `live_count + count` must not exceed `max_slots`."""
        if self.count + count > self.slots:
            self._make_room(count)
        begin = (self.head + self.count) % max(1, self.slots)
        first = min(count, self.slots - begin)
        for name, column in self.columns.items():
            column[begin : begin + first] = rows[name][:first]
            column[: count - first] = rows[name][first:]
        self.live[begin : begin + first] = True
        self.live[: count - first] = True
        self.count += count
        self.live_count += count

    def drop_oldest(self, count: int) -> None:
        """Drops the oldest `count` live rows, and the dead ones before the next live one."""
        width = max(_WINDOW, 2 * count)
        while True:
            window = (self.head + np.arange(min(width, self.count))) % max(1, self.slots)
            passed = int(np.searchsorted(np.cumsum(self.live[window]), count + 1))
            if passed < len(window) or len(window) == self.count:
                break
            width *= 4
        self.live_count -= int(np.count_nonzero(self.live[window[:passed]]))
        self.live[window[:passed]] = False
        self.count -= passed
        self.head = int(self.head + passed) % max(1, self.slots)

    def kill(self, slots: NDArray[np.int64]) -> int:
        """Makes rows dead; returns how many were live. `slots` must be distinct."""
        killed = int(np.count_nonzero(self.live[slots]))
        self.live[slots] = False
        self.live_count -= killed
        self.drop_oldest(0)
        return killed

    def squeeze(self) -> None:
        """Moves the live rows together, in order; afterwards no row is dead."""
        self._move(self.order(), self.slots)

    def _make_room(self, count: int) -> None:
        """Grows while that is allowed, else squeezes."""
        needed = self.live_count + count
        size = (
            self.slots
            if self.slots == self.max_slots
            else max(needed, 2 * self.slots, _FIRST_SLOTS)
        )
        self._move(self.order(), min(size, self.max_slots))

    def _move(self, order: NDArray[np.int64], size: int) -> None:
        moved = {}
        for name, column in self.columns.items():
            moved[name] = np.empty((size, *column.shape[1:]), column.dtype)
            np.take(column, order, axis=0, out=moved[name][: len(order)])
        self.columns = moved
        self.live = np.zeros(size, np.bool_)
        self.live[: len(order)] = True
        self.head, self.count = 0, len(order)
