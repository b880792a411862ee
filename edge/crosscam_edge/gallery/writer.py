"""Writes to a database from one thread, once a second, and never makes anybody wait."""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

from crosscam_deploy.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

_log = get_logger("gallery")
_WAITING = 50_000
_LATE = 256
_AGAIN_S = 1.0

Statement = tuple[str, Any]


class Late:
    """Values of a statement that are made by the writer's thread, once: pictures to encode.

    Args:
        make: Returns them; raises nothing.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make: Callable[[], Any] | None = make
        self._made: Any = None

    def values(self) -> Any:
        """Return the values; what they were made of is let go."""
        if self._make is not None:
            self._made, self._make = self._make(), None
        return self._made


class Writer:
    """Carries statements out in order, as one transaction for each second.

    A crash loses what was put in the last second at most. When the disk is full the statements wait
    and are tried again; beyond a bound, new ones are dropped and counted.

    Args:
        connection: Used by the writer's thread alone from here on.
        every_s: Seconds that statements are gathered.

    Attributes:
        written: Statements carried out.
        dropped: Statements given up.
        failures: Transactions that failed, and were tried again.
    """

    def __init__(self, connection: sqlite3.Connection, every_s: float = 0.5) -> None:
        self.written = self.dropped = self.failures = 0
        self._connection, self._every = connection, every_s
        self._waiting: queue.Queue[Statement | threading.Event] = queue.Queue(_WAITING)
        self._late = 0
        self._late_lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="gallery", daemon=True)
        self._thread.start()

    def put(self, sql: str, values: Any = ()) -> bool:
        """Take a statement; never waits. Returns whether there was room."""
        try:
            self._waiting.put_nowait((sql, values))
        except queue.Full:
            self.dropped += 1
            return False
        return True

    def put_late(self, sql: str, values: Late) -> bool:
        """Take a statement with values that are large; never waits.

        Returns:
            Whether there was room: 256 of them may wait, for they take memory.
        """
        with self._late_lock:
            if self._late >= _LATE:
                self.dropped += 1
                return False
            taken = self.put(sql, values)
            self._late += taken
            return taken

    def __len__(self) -> int:
        """Statements that wait."""
        return self._waiting.qsize()

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until everything that was put is on disk; returns whether it is, in time."""
        done = threading.Event()
        try:
            self._waiting.put(done, timeout=timeout)
        except queue.Full:
            return False
        return done.wait(timeout)

    def close(self) -> None:
        """Write what waits, and end the thread; what cannot be written is dropped and counted."""
        self._closed.set()
        self._thread.join()

    def _work(self) -> None:
        while True:
            closing = self._closed.is_set()
            statements, told = self._gather()
            while statements and not self._carried_out(statements):
                if self._closed.is_set():
                    self.dropped += len(statements)
                    break
                time.sleep(_AGAIN_S)
            with self._late_lock:
                self._late -= sum(isinstance(values, Late) for _, values in statements)
            for event in told:
                event.set()
            if closing and self._waiting.empty():
                return
            if not closing:
                self._closed.wait(self._every)

    def _gather(self) -> tuple[list[Statement], list[threading.Event]]:
        statements: list[Statement] = []
        told: list[threading.Event] = []
        while True:
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                return statements, told
            if isinstance(item, threading.Event):
                told.append(item)
            else:
                statements.append(item)

    def _carried_out(self, statements: list[Statement]) -> bool:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for sql, values in statements:
                made = values.values() if isinstance(values, Late) else values
                self._connection.execute(sql, made)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self.failures += 1
            if self.failures == 1 or self.failures % 60 == 0:
                _log.warning("gallery cannot be written", reason=str(error), again="in a second")
            return False
        self.written += len(statements)
        return True
