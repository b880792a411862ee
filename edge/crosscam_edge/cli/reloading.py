"""`crosscam run` takes a changed site file over: by SIGHUP, or as soon as it is written."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import TimeoutError as TookTooLong
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from crosscam_kernels.errors import CrosscamError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from crosscam_edge.config import SiteConfig
    from crosscam_edge.live.run import LiveRun

_POLL_S = 1.0
_WAIT_S = 60.0


@contextmanager
def hangups(stop: threading.Event) -> Iterator[threading.Event]:
    """Give an event that SIGHUP sets; where it means that the terminal is gone it sets `stop`."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    attended = os.isatty(2)

    def handle(_number: int, _frame: object) -> None:
        (stop if attended and not os.isatty(2) else asked).set()

    before = signal.signal(signal.SIGHUP, handle)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGHUP, before)


class Reloading:
    """Reads the site file again and hands it to the run, in a thread of its own.

    Args:
        path: The site file.
        read: Reads it, with what the command line says otherwise.
        run: Takes it over.
        asked: Set when somebody asks for it.
        watch: Whether to look every second for whether the file was written.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[], SiteConfig],
        run: LiveRun,
        asked: threading.Event,
        *,
        watch: bool,
    ) -> None:
        self._path, self._read, self._run = path, read, run
        self._asked, self._watch = asked, watch
        self._seen = self._stamp()

    def start(self, stop: threading.Event) -> None:
        """Begin; ends by itself when the run does."""
        threading.Thread(target=self._work, args=(stop,), name="reload", daemon=True).start()

    def _work(self, stop: threading.Event) -> None:
        while not stop.is_set():
            asked = self._asked.wait(_POLL_S)
            if stop.is_set():
                return
            stamp = self._stamp()
            written = self._watch and stamp is not None and stamp != self._seen
            if asked or written:
                self._asked.clear()
                self._seen = stamp
                told = self._reload()
                with suppress(OSError):  # a full disk: the next one is taken over all the same
                    click.echo(told, err=True)

    def _reload(self) -> str:
        """Do it; returns what to tell."""
        try:
            changes = self._run.reconfigure(self._read()).result(_WAIT_S)
        except CrosscamError as error:
            return f"{self._path} is refused, and all goes on as before: {error}"
        except TookTooLong:
            return f"{self._path}: the run did not come round to it in {_WAIT_S:.0f} s"
        return f"{self._path} is taken over: {str(changes) or 'the cameras are the same'}"

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:  # it is being replaced, or is gone: the old one goes on
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
