"""How the pipeline tells where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Progress(Protocol):
    """Receiver of progress; called from several threads, must be quick."""

    def start(self, cameras: Sequence[tuple[str, int | None]]) -> None:
        """Get all cameras with their number of frames, where known."""
        ...

    def frames(self, camera_id: str, done: int, *, resumed: bool) -> None:
        """Get the number of frames of a camera done so far."""
        ...

    def people(self, count: int, shared: int) -> None:
        """Get told how many people were seen so far, and how many of them in several cameras."""
        ...

    def finished(self, camera_id: str, error: str | None) -> None:
        """Get told that a camera is done, or why it cannot be."""
        ...

    def stage(self, text: str) -> None:
        """Get told what happens after the frames."""
        ...

    def pictures(self, done: int, total: int) -> None:
        """Get the frames drawn or searched for crops so far, and how many in all; 0 if unknown."""
        ...


class SilentProgress:
    """Says nothing."""

    def start(self, cameras: Sequence[tuple[str, int | None]]) -> None:
        """Say nothing."""

    def frames(self, camera_id: str, done: int, *, resumed: bool) -> None:
        """Say nothing."""

    def people(self, count: int, shared: int) -> None:
        """Say nothing."""

    def finished(self, camera_id: str, error: str | None) -> None:
        """Say nothing."""

    def stage(self, text: str) -> None:
        """Say nothing."""

    def pictures(self, done: int, total: int) -> None:
        """Say nothing."""
