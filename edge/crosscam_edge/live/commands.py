"""Requests of other threads to the thread that analyses: carried out between two rounds."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from crosscam_kernels.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_MOST = 64


class Commands:
    """A bounded queue of work for one thread; asking never waits, and the answer is a future.

    What an association remembers belongs to one thread, which takes no locks. So whoever wants it
    changed hands over what is to be done.

    Args:
        most: Requests that may wait.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._waiting: queue.Queue[tuple[Callable[[], Any], Future[Any]]] = queue.Queue(most)
        self._lock = threading.Lock()
        self._closed = False

    def __len__(self) -> int:
        """Requests that wait."""
        return self._waiting.qsize()

    def ask(self, work: Callable[[], T]) -> Future[T]:
        """Ask for something to be done; any thread may.

        Returns:
            What it returned, or raised, once it was done. Cancelled in time, it is not done.

        Raises:
            RunError: The run has ended, or too many requests wait.
        """
        asked: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise _ended()
            try:
                self._waiting.put_nowait((work, asked))
            except queue.Full:
                raise RunError(
                    f"{self._waiting.maxsize} requests wait already",
                    expected="a run that comes round to them",
                    fix="try again in a moment",
                ) from None
        return asked

    def carry_out(self) -> None:
        """Do what was asked for until now; of the one thread alone."""
        for _ in range(self._waiting.qsize()):
            work, asked = self._waiting.get_nowait()
            if not asked.set_running_or_notify_cancel():
                continue
            try:
                asked.set_result(work())
            except Exception as error:  # belongs to whoever asked; the run goes on
                asked.set_exception(error)

    def close(self) -> None:
        """Take no more requests, and refuse those that wait."""
        with self._lock:
            self._closed = True
            while not self._waiting.empty():
                _, asked = self._waiting.get_nowait()
                if asked.set_running_or_notify_cancel():
                    asked.set_exception(_ended())


def _ended() -> RunError:
    return RunError("the run has ended", expected="a run that goes on", fix="start it again")
