"""Files that are either whole or absent.

A file is written next to its final place and renamed, so a reader (or the next run, after a crash)
never meets half of one.
"""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from crosscam_kernels.errors import CrosscamError, InputError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
_REFUSED |= {errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP}


def output_error(path: Path, error: OSError) -> CrosscamError:
    """Turn a failed write into an error that says what to do.

    Args:
        path: What was being written.
        error: What the system said.

    Returns:
        `RunError` when the disk is full or fails, `InputError` when the place cannot be written.
    """
    if error.errno in _FULL:
        return RunError(
            f"no space left while writing {path}",
            fix="free space or choose another folder with -o; what is done is kept and resumes",
        )
    if error.errno in _REFUSED:
        return InputError(
            f"{path} cannot be written ({os.strerror(error.errno or 0)})",
            expected="a folder in which you may create files",
            fix="choose another folder with -o or change its permissions",
        )
    return RunError(f"writing {path} failed ({error})", fix="check the disk, then run again")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block succeeds.

    The parent folder is made. When the block raises, the temporary file is removed and an older
    `path` stays as it was. The temporary name keeps the suffix, which tells writers the format.

    Raises:
        InputError: The place cannot be written.
        RunError: The disk is full or fails.
    """
    temporary = path.with_name(f".{path.stem[:40]}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        with suppress(OSError):  # gone already after a success; after a failure best effort
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8 with Unix line ends."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a binary file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
