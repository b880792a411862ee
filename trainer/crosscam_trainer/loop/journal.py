"""What a run leaves to read: ``metrics.jsonl``, ``log.txt`` and TensorBoard scalars."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from crosscam_trainer.loop.checkpoint import writing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Journal:
    """Writes the records of one seed; resuming cuts off what came after the checkpoint.

    Args:
        folder: Of the seed; made if needed.
        keep: Length of ``metrics.jsonl`` in bytes up to the checkpoint; None for a new run.
        step: Iteration of the checkpoint; later scalars of TensorBoard are hidden.
    """

    def __init__(self, folder: Path, keep: int | None = None, step: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._metrics = (folder / "metrics.jsonl").open("ab")
        self._metrics.truncate(min(keep or 0, self._metrics.tell()))
        self._log = (folder / "log.txt").open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    @property
    def length(self) -> int:
        """Bytes of ``metrics.jsonl``, all on the disk."""
        with writing(self.path):
            self._metrics.flush()
            os.fsync(self._metrics.fileno())
        return self._metrics.seek(0, os.SEEK_END)

    @property
    def path(self) -> Path:
        """Of ``metrics.jsonl``."""
        from pathlib import Path

        return Path(self._metrics.name)

    def record(self, kind: str, iteration: int, **fields: Any) -> None:
        """Add a line to ``metrics.jsonl``, and its numbers to TensorBoard under ``kind/``."""
        line = {"kind": kind, "iteration": iteration, **fields}
        with writing(self.path):
            self._metrics.write(json.dumps(line).encode() + b"\n")
            self._metrics.flush()
        for name, value in fields.items():
            if isinstance(value, dict):
                self.scalars(kind, iteration, value)
            elif isinstance(value, float):
                self.scalars(kind, iteration, {name: value})

    def scalars(self, kind: str, iteration: int, values: Mapping[str, float]) -> None:
        """Add scalars to TensorBoard only."""
        for name, value in values.items():
            self._board.add_scalar(f"{kind}/{name}", value, iteration)

    def log(self, text: str) -> None:
        """Add a line to ``log.txt``."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        with writing(self.path.with_name("log.txt")):
            self._log.write(f"{now} {text}\n")
            self._log.flush()

    def close(self) -> None:
        """Close the files."""
        for file in (self._metrics, self._log, self._board):
            file.close()
