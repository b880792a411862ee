"""What long commands show while they work, and how they are stopped."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

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
def live_progress(*, silent: bool) -> Iterator[RichProgress | None]:
    """Show bars on standard error when people watch it."""
    from rich.console import Console

    console = Console(stderr=True)
    if silent or not console.is_terminal:
        yield None
        return
    with RichProgress(console) as progress:
        yield progress


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
            console=console,
        )
        self._tasks: dict[str, Any] = {}
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
            self._tasks[name] = self._bars.add_task(name, total=frames, of=frames or "?", fps="")
        if len(cameras) > 1:
            known = [frames for _, frames in cameras if frames is not None]
            total = sum(known) if len(known) == len(cameras) else None
            self._tasks[""] = self._bars.add_task("all", total=total, of=total or "?", fps="")

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
            last = self._tasks.get("", self._tasks[camera_id])
            self._bars.update(last, completed=sum(self._done.values()), fps=rate)

    def finished(self, camera_id: str, error: str | None) -> None:
        """Fill or mark the bar."""
        done = self._done.get(camera_id, 0)
        text = camera_id if error is None else f"{camera_id} [red]failed[/red]"
        self._bars.update(self._tasks[camera_id], total=done, of=done, description=text)

    def stage(self, text: str) -> None:
        """Say what happens after the frames."""
        self._bars.console.print(f"{text} …")


@contextmanager
def rendering_bar(*, silent: bool) -> Iterator[Callable[[int, int], None]]:
    """Give a function that shows how many frames of how many are rendered."""
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
        TextColumn("rendering"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} frames"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=silent or not console.is_terminal) as bar:
        task = bar.add_task("render", total=None, rate="")

        def show(done: int, total: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, total=total, rate=f"{speed:.0f} FPS" if speed else "")

        yield show
