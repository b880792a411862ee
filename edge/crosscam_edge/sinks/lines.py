"""JSON lines to a file that is changed for a new one when large; a slow disk blocks nobody."""

from __future__ import annotations

import os
import queue
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from crosscam_deploy.log import get_logger
from crosscam_edge.sinks.atomic import output_error
from crosscam_edge.sinks.base import Health, encoded
from crosscam_edge.sinks.forget import PART, Erasure, rewrite
from crosscam_kernels.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from crosscam_edge.sinks.forget import Seen

_log = get_logger("lines")
_WAITING = 20_000
_FLUSH_S = 1.0
_FLUSH_BYTES = 1 << 16
_LONGEST_LINE = 1 << 20
_ERASE_S = 60.0


class LinesSink:
    """Appends records to ``NAME.jsonl``; full files become ``NAME.1.jsonl`` (the latest) and on.

    Records wait in a bounded queue for a thread that writes them, whole lines at a time. When the
    disk is slower than the site, or full, the newest records are dropped and counted, and what was
    written of them is cut off; writing goes on when it can.

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
        self._waiting: queue.Queue[Mapping[str, Any] | Erasure | None] = queue.Queue(_WAITING)
        self._failing = False
        self._lines: list[bytes] = []  # that are to be written, and their bytes
        self._gathered = 0
        self._size = 0  # of the file
        self._file: BinaryIO | None = None
        try:
            for left in path.parent.glob(f".{path.stem}*{PART}"):  # by a crash
                left.unlink()
            self._open()
        except OSError as error:
            raise output_error(path, error) from error
        self._thread = threading.Thread(target=self._work, name="lines", daemon=True)
        self._thread.start()

    def put(self, record: Mapping[str, Any]) -> None:
        """Take a record; never waits."""
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            self._late += 1

    def erase(self, names: Collection[int], seen: Collection[Seen]) -> int:
        """Take somebody out of all files, and wait until that is done.

        Every file is written anew beside its place and put there whole; records that come
        meanwhile wait in the queue.

        Args:
            names: Their global ids.
            seen: Where they were.

        Returns:
            Number of lines that were changed or left out.

        Raises:
            RunError: It cannot be done now; nothing is half done, and asking again does it.
        """
        asked = Erasure.of(names, seen)
        try:
            self._waiting.put(asked, timeout=_ERASE_S)
            return asked.done.result(_ERASE_S)
        except (queue.Full, TimeoutError):
            raise RunError(
                f"{self._path.name} is not being written", fix="check the disk, and ask again"
            ) from None
        except OSError as error:
            raise RunError(
                f"{self._path.name} cannot be written anew ({os.strerror(error.errno or 0)})",
                fix="check the disk, and ask again",
            ) from None

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

    def _open(self) -> BinaryIO:
        """Open the file at its end, which is the end of a line: a crash may have left a half."""
        file = self._path.open("ab+", buffering=0)
        try:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - _LONGEST_LINE))
            tail = file.read(_LONGEST_LINE) if end else b""
            if tail and not tail.endswith(b"\n"):
                end -= len(tail) - (tail.rfind(b"\n") + 1)
                file.truncate(end)
        except BaseException:
            file.close()
            raise
        self._file, self._size = file, end
        return file

    def _work(self) -> None:
        due: float | None = None  # when what was gathered shall be written
        while True:
            try:
                left = None if due is None else max(0.0, due - time.monotonic())
                item = self._waiting.get(timeout=left)
            except queue.Empty:
                self._flush()
                due = None
                continue
            if item is None:
                self._flush()
                return
            if isinstance(item, Erasure):
                self._flush()
                due = None
                self._erase(item)
                continue
            data = encoded(item)
            if data is None:
                self._unwritten += 1
                continue
            self._lines.append(data + b"\n")
            due = due or time.monotonic() + _FLUSH_S
            self._gathered += len(data) + 1
            if self._gathered >= _FLUSH_BYTES or self._size + self._gathered >= self._most:
                self._flush()
                due = None

    def _flush(self) -> None:
        """Write what was gathered; all of it or nothing."""
        lines, self._lines, self._gathered = self._lines, [], 0
        if not lines:
            return
        data = b"".join(lines)
        try:
            file = self._file or self._open()
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
        except OSError as error:
            self._unwritten += len(lines)
            if self._file is not None:
                with suppress(OSError):
                    self._file.truncate(self._size)
                with suppress(OSError):
                    self._file.close()
                self._file = None  # opened again, for it may be another disk by then
            self._failed(error)
            return
        self.written += len(lines)
        self._size += len(data)
        try:
            if self._size >= self._most:
                self._change()
        except OSError as error:
            self._failed(error)
            return
        self._failing = False

    def _change(self) -> None:
        """Begin a new file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        for number in range(self._files - 1, 0, -1):
            older = self._path if number == 1 else self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))
        self._open()

    def _erase(self, asked: Erasure) -> None:
        """Write all files anew without somebody."""
        try:
            changed = 0
            for path in (self._path, *map(self._numbered, range(1, self._files))):
                if path.is_file():
                    changed += rewrite(path, asked)
            if self._file is not None:
                self._file.close()
                self._file = None
            self._open()
        except OSError as error:
            asked.done.set_exception(error)
        else:
            asked.done.set_result(changed)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.stem}.{number}{self._path.suffix}")

    def _failed(self, error: OSError) -> None:
        if not self._failing:  # told once, not for each record
            _log.warning("records are dropped", file=str(self._path), reason=str(error))
        self._failing = True
