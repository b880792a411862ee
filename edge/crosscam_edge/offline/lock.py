"""One process at a time in an output folder."""

from __future__ import annotations

import fcntl
import os
import socket
from typing import TYPE_CHECKING, Self

from crosscam_edge.sinks.atomic import output_error
from crosscam_kernels.errors import RunError

if TYPE_CHECKING:
    from pathlib import Path

LOCK_NAME = ".crosscam.lock"


class FolderLock:
    """Holds a folder until closed; the system lets go of it when the process dies, however.

    Args:
        folder: Existing output folder.

    Raises:
        RunError: Another process works in it.
        InputError: The folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / LOCK_NAME
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise output_error(path, error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 200).decode("utf-8", "replace").strip()
            os.close(self._file)
            raise RunError(
                f"another crosscam works in '{folder}'" + (f" ({holder})" if holder else ""),
                expected="one process per output folder",
                fix="wait for it, stop it, or choose another folder with -o",
            ) from None
        except OSError as error:
            os.close(self._file)
            raise output_error(path, error) from error
        self._note()

    def _note(self) -> None:
        """Write who holds the folder, for the message that others get."""
        text = f"process {os.getpid()} on {socket.gethostname()}"
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, text.encode(), 0)
        except OSError:
            return  # on a full disk the lock still holds, only its note is missing

    def close(self) -> None:
        """Let others in. The file stays: removing it would let two processes in at once."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
