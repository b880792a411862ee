"""A folder of files that is bounded in number, bytes and age; the oldest go first."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crosscam_edge.sinks.atomic import output_error

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept.

    Attributes:
        files: At most so many.
        most_bytes: At most so many together.
        keep_s: Seconds that a file is kept.
    """

    files: int
    most_bytes: int
    keep_s: float


class Shelf:
    """Files whose names begin with the time at which they were made, so that names are in order.

    Args:
        folder: Made when missing; half files that a crash has left in it are removed.
        suffix: Of the files; others are left alone.
        bounds: How much is kept.

    Raises:
        CrosscamError: The folder cannot be made or read.
    """

    def __init__(self, folder: Path, suffix: str, bounds: Bounds) -> None:
        self.folder, self._suffix, self._bounds = folder, suffix, bounds
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(f".*.part{suffix}"):
                left.unlink()
        except OSError as error:
            raise output_error(folder, error) from error

    def files(self) -> list[Path]:
        """Return the files, the oldest first."""
        return sorted(
            each
            for each in self.folder.glob(f"*{self._suffix}")
            if not each.name.startswith(".") and each.is_file()
        )

    def tidy(self, *, room: int = 0, places: int = 0) -> int:
        """Remove what is too old or too much.

        Args:
            room: Bytes that shall be free for what comes.
            places: Files that shall.

        Returns:
            Number of files that were removed.

        Raises:
            OSError: One cannot be removed.
        """
        found = [(each, each.stat()) for each in self.files()]
        total, count, removed = sum(stat.st_size for _, stat in found), len(found), 0
        oldest = time.time() - self._bounds.keep_s
        for path, stat in found:
            much = total + room > self._bounds.most_bytes or count + places > self._bounds.files
            if not much and stat.st_mtime >= oldest:
                continue
            path.unlink(missing_ok=True)
            total, count, removed = total - stat.st_size, count - 1, removed + 1
        return removed
