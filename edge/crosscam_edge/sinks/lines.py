"""JSON lines to a file that is changed for a new one when large; a slow disk blocks nobody."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any

from crosscam_deploy.log import get_logger
from crosscam_edge.sinks.atomic import output_error
from crosscam_edge.sinks.base import Health, encoded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import TextIO

_log = get_logger("lines")
_WAITING = 20_000
_FLUSH_S = 1.0


class LinesSink:
    """Appends records to ``NAME.jsonl``; full files become ``NAME.1.jsonl`` (the latest) and on.

    Records wait in a bounded queue for a thread that writes them. When the disk is slower than the
    site, or full, the newest records are dropped and counted; writing goes on when it can.

    Args:
        path: The file; its folder must exist.
        most_bytes: A file is changed when it has grown to this.
        files: Files that are kept, the current one included.

    Attributes:
        written: Records that were written.

    Raises:
        CrosscamError: The file cannot be opened.
    """

    def __init__(self, path: Path, *, most_bytes: int = 64 << 20, files: int = 8) -> None:
        self.written = 0
        self._late = self._unwritten = 0  # counted by those who put, and by the thread
        self._path, self._most, self._files = path, most_bytes, files
        self._waiting: queue.Queue[Mapping[str, Any] | None] = queue.Queue(_WAITING)
        self._failing = False
        self._file: TextIO | None = self._opened()
        self._thread = threading.Thread(target=self._work, name="lines", daemon=True)
        self._thread.start()

    def put(self, record: Mapping[str, Any]) -> None:
        """Take a record; never waits."""
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            self._late += 1

    @property
    def dropped(self) -> int:
        """Records that were not written."""
        return self._late + self._unwritten

    @property
    def health(self) -> Health:
        """Whether the disk takes them."""
        return Health.FAILING if self._failing else Health.OK

    def close(self) -> None:
        """Write what waits, and close the file."""
        self._waiting.put(None)
        self._thread.join()
        if self._file is not None:
            self._file.close()

    def _opened(self) -> TextIO:
        try:
            return self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise output_error(self._path, error) from error

    def _work(self) -> None:
        dirty = False
        while True:
            try:
                record = self._waiting.get(timeout=_FLUSH_S if dirty else None)
            except queue.Empty:
                dirty = not self._flushed()
                continue
            if record is None:
                self._flushed()
                return
            dirty = True
            data = encoded(record)
            if data is None:
                self._unwritten += 1
            else:
                self._write(data.decode() + "\n")

    def _write(self, line: str) -> None:
        try:
            if self._file is None:
                self._file = self._path.open("a", encoding="utf-8")
            self._file.write(line)
            if self._file.tell() >= self._most:
                self._change()
        except OSError as error:
            self._unwritten += 1
            self._failed(error)
            return
        self.written += 1
        self._failing = False

    def _flushed(self) -> bool:
        try:
            if self._file is not None:
                self._file.flush()
        except OSError as error:
            self._failed(error)
            return False
        return True

    def _change(self) -> None:
        """Begin a new file."""
        assert self._file is not None
        self._file.close()
        self._file = None
        for number in range(self._files - 1, 0, -1):
            older = self._path if number == 1 else self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))
        self._file = self._path.open("a", encoding="utf-8")

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.stem}.{number}{self._path.suffix}")

    def _failed(self, error: OSError) -> None:
        if not self._failing:  # told once, not for each record
            _log.warning("records are dropped", file=str(self._path), reason=str(error))
        self._failing = True
