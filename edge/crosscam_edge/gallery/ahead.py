"""Numbers that are given at once and written down a moment later, and never given twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_AHEAD = 1000
_PREFIX = "reserved "
_SET = (
    "INSERT INTO counters (name, value) VALUES (?, ?) "
    "ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)"
)
_END = "DELETE FROM counters WHERE name = ? AND value = ?"


class Ahead:
    """Counters whose next value is known after a crash too.

    What a run tells is out in the world at once; what it writes is on disk up to a second later.
    So the disk always holds a number that is some way ahead of what was given: a run that was
    killed is followed by one that goes on from there. A run that ends cleanly leaves no gap.

    Args:
        put: Has a statement carried out later, without waiting; returns whether it will be.
        ahead: How far; half of it may be given before the next reservation is on disk.
    """

    def __init__(self, put: Callable[[str, Any], bool], ahead: int = _AHEAD) -> None:
        self._put, self._ahead = put, ahead
        self._reserved: dict[str, int] = {}
        self._next: dict[str, int] = {}

    def restored(self, counters: Mapping[str, int]) -> dict[str, int]:
        """Return where each counter goes on, and reserve what comes next.

        Args:
            counters: All rows of the table, by name.
        """
        out: dict[str, int] = {}
        for name, value in counters.items():
            plain = name.removeprefix(_PREFIX)
            if plain != name and value == self._reserved.get(plain):
                continue  # reserved here: nobody was killed
            out[plain] = max(out.get(plain, 0), int(value))
        for name, value in out.items():
            self.given(name, value)
        return out

    def given(self, name: str, next_one: int) -> None:
        """Note that what is below `next_one` was given."""
        if next_one <= self._next.get(name, 0):
            return
        if self._put(_SET, (name, next_one)):
            self._next[name] = next_one
        far = next_one + self._ahead
        if far - self._ahead // 2 > self._reserved.get(name, 0) and self._put(
            _SET, (f"{_PREFIX}{name}", far)
        ):
            self._reserved[name] = far

    def end(self) -> None:
        """Give nothing more: what was reserved here is free again."""
        for name, far in self._reserved.items():
            self._put(_END, (f"{_PREFIX}{name}", far))
