"""What long commands show while they work, and how they are stopped."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console
    from rich.progress import TaskID

    from crosscam_edge.offline import Progress

INTERRUPTED = 130


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Give an event that the first SIGINT or SIGTERM sets; a second one quits at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(_number: int, _frame: object) -> None:
        if stop.is_set():
            os._exit(INTERRUPTED)  # checkpoints are whole files: nothing can be left half written
        stop.set()
        click.echo("stopping: writing what is done (again to quit at once)", err=True)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def live_progress(*, silent: bool) -> Iterator[Progress | None]:
    """Show bars on standard error when people watch it, else a line now and then."""
    if silent:
        yield None
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield PlainProgress()
        return
    with RichProgress(console) as progress:
        yield progress


def people_so_far(count: int, shared: int, cameras: int) -> str:
    """Say how many people were seen so far."""
    text = f"{count} {'person' if count == 1 else 'people'} so far"
    return f"{text}, {shared} in several cameras" if cameras > 1 else text


class PlainProgress:
    """Lines on standard error for files and pipes: few, so that a log stays readable.

    Args:
        every_s: Seconds between two lines about frames, at least.
    """

    def __init__(self, every_s: float = 10.0) -> None:
        self._every_s = every_s
        self._cameras: Sequence[tuple[str, int | None]] = ()
        self._done: dict[str, int] = {}
        self._resumed: dict[str, int] = {}
        self._people = self._stage = ""
        self._started = self._said = time.monotonic()
        self._lock = threading.Lock()

    def start(self, cameras: Sequence[tuple[str, int | None]]) -> None:
        """Take the time."""
        self._cameras = cameras
        self._started = self._said = time.monotonic()

    def frames(self, camera_id: str, done: int, *, resumed: bool) -> None:
        """Say how far it is, unless that was said just now."""
        with self._lock:
            self._done[camera_id] = done
            if resumed:
                self._resumed[camera_id] = done
            now = time.monotonic()
            if now - self._said < self._every_s:
                return
            self._said = now
            text = self._state(now - self._started)
        click.echo(text, err=True)

    def people(self, count: int, shared: int) -> None:
        """Keep it for the next line."""
        with self._lock:
            self._people = people_so_far(count, shared, len(self._cameras))

    def finished(self, camera_id: str, error: str | None) -> None:
        """Say which camera failed, and why."""
        if error is not None:
            click.echo(f"{camera_id} failed: {error}", err=True)

    def stage(self, text: str) -> None:
        """Say what happens after the frames, when that is worth a line."""
        self._stage = text
        if time.monotonic() - self._started >= self._every_s:
            click.echo(f"{text} …", err=True)

    def pictures(self, done: int, total: int) -> None:
        """Say how far the drawing is, unless something was said just now."""
        with self._lock:
            now = time.monotonic()
            if now - self._said < self._every_s:
                return
            self._said = now
        click.echo(f"{self._stage}: {done}{f'/{total}' if total else ''} frames", err=True)

    def _state(self, seconds: float) -> str:
        done = sum(self._done.values())
        rate = (done - sum(self._resumed.values())) / max(seconds, 1e-3)
        known = [frames for _, frames in self._cameras if frames is not None]
        parts = [f"{done} frames", f"{rate:.1f} frames/s"]
        if len(known) == len(self._cameras):
            parts[0] = f"{done}/{sum(known)} frames"
            if rate > 0:
                parts.append(f"{max(0.0, (sum(known) - done) / rate):.0f} s left")
        if self._people:
            parts.append(self._people)
        return ", ".join(parts)


class RichProgress:
    """A bar per camera and one for all, with frames per second and the time left."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.fields[of]}"),
            TextColumn("{task.fields[fps]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[people]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._stage = ""
        self._drawing: TaskID | None = None
        self._cameras = 0
        self._done: dict[str, int] = {}
        self._resumed: dict[str, int] = {}
        self._started = 0.0
        self._lock = threading.Lock()

    def __enter__(self) -> RichProgress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def start(self, cameras: Sequence[tuple[str, int | None]]) -> None:
        """Make the bars."""
        self._started = time.monotonic()
        for name, frames in cameras:
            self._tasks[name] = self._add(name, frames)
        self._cameras = len(cameras)
        if len(cameras) > 1:
            known = [frames for _, frames in cameras if frames is not None]
            total = sum(known) if len(known) == len(cameras) else None
            self._tasks[""] = self._add("all", total)

    def frames(self, camera_id: str, done: int, *, resumed: bool) -> None:
        """Move the bars."""
        with self._lock:
            self._done[camera_id] = done
            if resumed:
                self._resumed[camera_id] = done
            fresh = sum(self._done.values()) - sum(self._resumed.values())
            seconds = max(time.monotonic() - self._started, 1e-3)
            rate = f"{fresh / seconds:.1f} frames/s"
            self._bars.update(self._tasks[camera_id], completed=done)
            self._bars.update(self._last, completed=sum(self._done.values()), fps=rate)

    def people(self, count: int, shared: int) -> None:
        """Say how many there are, behind the last bar."""
        self._bars.update(self._last, people=people_so_far(count, shared, self._cameras))

    def finished(self, camera_id: str, error: str | None) -> None:
        """Fill or mark the bar."""
        done = self._done.get(camera_id, 0)
        text = camera_id if error is None else f"{camera_id} [red]failed[/red]"
        self._bars.update(self._tasks[camera_id], total=done, of=done, description=text)

    def stage(self, text: str) -> None:
        """Say what happens after the frames."""
        self._stage, self._drawing = text, None
        self._bars.console.print(f"{text} …")

    def pictures(self, done: int, total: int) -> None:
        """Move a bar below those of the cameras."""
        with self._lock:
            if self._drawing is None:
                self._drawing = self._add(self._stage, total or None)
            self._bars.update(self._drawing, completed=done)

    def _add(self, name: str, total: int | None) -> TaskID:
        return self._bars.add_task(name, total=total, of=total or "?", fps="", people="")

    @property
    def _last(self) -> TaskID:
        """The bar of all cameras, or of the only one."""
        return next(reversed(self._tasks.values()))


@contextmanager
def counting_bar(
    doing: str, units: str, *, silent: bool, rate: str = ""
) -> Iterator[Callable[[int, int], None]]:
    """Give a function that shows how many things of how many are done.

    Args:
        doing: What is going on, in a word.
        units: What is counted.
        silent: Show nothing.
        rate: Unit of the speed; empty to leave it out.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn(doing),
        BarColumn(),
        TextColumn(f"{{task.completed}}/{{task.total}} {units}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=silent or not console.is_terminal) as bar:
        task = bar.add_task(doing, total=None, rate="")

        def show(done: int, total: int) -> None:
            speed = bar.tasks[0].speed
            text = f"{speed:.0f} {rate}" if speed and rate else ""
            bar.update(task, completed=done, total=total, rate=text)

        yield show
