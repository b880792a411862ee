"""What a run shows while it goes on: bars on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console


class Progress:
    """A bar for the epoch, with losses, pictures per second, and the share of time without data.

    Args:
        console: Where; None shows nothing.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console
        self._bars: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if self._console is not None and self._console.is_terminal:
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            self._bars = Bars(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[text]}"),
                console=self._console,
            )
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def begin(self, doing: str, total: int, done: int = 0) -> None:
        """Show a new bar instead of the last one."""
        if self._bars is None:
            return
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(doing, total=total, completed=done, text="")

    def move(self, done: int, text: str = "") -> None:
        """Move the bar, and say something behind it."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=done, text=text)

    def say(self, text: str) -> None:
        """Show a line that stays."""
        if self._console is not None:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def listed(figures: Mapping[str, float]) -> str:
    """Return figures in one line."""
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
