"""The latest records of a run, for clients that follow it; none of them makes the run wait."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from crosscam_edge.server.tokens import Caller
from crosscam_edge.sinks.forget import without

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crosscam_edge.sinks.forget import Erasure

_KEPT = 4096
_AT_ONCE = 256
TYPES = frozenset({"identity", "camera", "model"})


class Missed(Exception):  # noqa: N818 (not an error of ours: the client was too slow)
    """Records that a client has not had are no longer here."""


class Hub:
    """A ring of records with numbers that grow; followers read it at their own pace.

    A follower holds nothing here but a number, so a thousand slow ones take no more memory than
    none. Whoever falls behind the ring has missed something, and is told so.

    Args:
        kept: Records that are kept.

    Attributes:
        missed: Followers that were too slow.
    """

    def __init__(self, kept: int = _KEPT) -> None:
        self.missed = 0
        self._epoch = secrets.token_hex(4)
        self._ring: deque[tuple[int, Mapping[str, Any]]] = deque(maxlen=kept)
        self._next = 1
        self._lock = threading.Lock()

    @property
    def last(self) -> int:
        """Number of the latest record; 0 before the first."""
        with self._lock:
            return self._next - 1

    def name(self, number: int) -> str:
        """Return how clients call a record; other runs have other names."""
        return f"{self._epoch}-{number}"

    def number(self, name: str) -> int:
        """Return the number of a name.

        Raises:
            Missed: It is of another run, or no name at all.
        """
        epoch, _, digits = name.partition("-")
        if epoch != self._epoch or not (digits.isascii() and digits.isdigit() and len(digits) < 19):
            raise Missed
        return min(int(digits), self.last)

    def put(self, record: Mapping[str, Any]) -> None:
        """Take a record; never waits. Boxes of pictures are not kept: they are too many."""
        if record["type"] not in TYPES:
            return
        with self._lock:
            self._ring.append((self._next, record))
            self._next += 1

    def after(self, number: int) -> list[tuple[int, Mapping[str, Any]]]:
        """Return the records that came after one, the first 256 of them.

        Args:
            number: Of the last record that was had.

        Raises:
            Missed: Some of them are gone.
        """
        with self._lock:
            behind = self._next - 1 - number
            if behind <= 0:
                return []
            if behind > len(self._ring):
                raise Missed
            start = len(self._ring) - behind
            return [self._ring[k] for k in range(start, min(start + _AT_ONCE, len(self._ring)))]

    def too_slow(self) -> None:
        """Count a follower that was too slow."""
        with self._lock:
            self.missed += 1

    def erase(self, asked: Erasure) -> None:
        """Take somebody out of what is kept: nothing is in the place of what happened to them."""
        with self._lock:
            kept = list(self._ring)
        # Without the lock: whoever puts would wait for it.
        found = [(number, record, without(record, asked)) for number, record in kept]
        with self._lock:
            first = self._ring[0][0] if self._ring else 0
            for number, record, left in found:
                if left is not record and number >= first:
                    self._ring[number - first] = number, left or {"type": "nothing"}


def visible(record: Mapping[str, Any], caller: Caller) -> Mapping[str, Any] | None:
    """Return what a caller may know of a record; None for nothing.

    Who may know of some cameras gets what happened there, and no ids of other people, who may have
    been elsewhere; nor that the model was changed, which tells how many people the site knows.
    """
    if record["type"] not in TYPES:
        return None
    if record["type"] == "model":
        return record if caller.cameras is None else None
    if not caller.sees(record["camera"]):
        return None
    if caller.cameras is None or record["type"] != "identity":
        return record
    hidden: Any = None
    return {**record, "other_id": hidden, "runner_up": hidden, "runner_up_id": hidden}
