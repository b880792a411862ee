"""Finding the folders and the pictures of a data set."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from crosscam_deploy.pictures.files import is_image
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from crosscam_trainer.data.findings import Findings


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that orders numbers inside names by value: "c2" before "c10".

    Names that differ only in leading zeros stay apart, in a fixed order.
    """
    # `\d` would also match digits of other scripts: int() reads most, not superscripts.
    parts = re.split(r"([0-9]+)", name)
    key = [(1, int(p), p) if k % 2 else (0, 0, p) for k, p in enumerate(parts)]
    return tuple(key)


def images(folder: Path) -> Iterator[Path]:
    """Yield the pictures directly in a folder, by name."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        path = folder / name
        if is_image(path):
            yield path


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, in natural order, without hidden ones."""
    found = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
    return sorted(found, key=lambda path: natural_key(path.name))


def existing_folder(path: Path) -> Path:
    """Return `path` when it is a folder.

    Raises:
        InputError: It is not.
    """
    if path.is_dir():
        return path
    what = "is a file" if path.exists() else "does not exist"
    raise InputError(f"{path} {what}", expected="the folder of a data set")


def marked(root: Path, marker: str) -> bool:
    """Whether a file or folder is there; ``a|b`` means one or the other."""
    return any((root / name).exists() for name in marker.split("|"))


def find_root(path: Path, markers: Sequence[str], names: Sequence[str] = ()) -> Path:
    """Find the folder of the set: `path` itself, or the usual name of the set in it.

    Args:
        path: What the user gave; also the folder above the set will do.
        markers: Any of these is in the set's folder (`marked`).
        names: Usual names of the set's folder; as in an unpacked archive.

    Returns:
        The first folder with a marker, else `path` (whose missing parts are then reported).
    """
    for folder in (path, *(path / name for name in names)):
        if any(marked(folder, marker) for marker in markers):
            return folder
    return path


def missing(root: Path, needed: Sequence[str], findings: Findings) -> bool:
    """Note which of the needed files and folders are not there.

    Returns:
        Whether any is missing.
    """
    absent = [name for name in needed if not (root / name).exists()]
    for name in absent:
        findings.add(
            "error",
            "missing-file" if Path(name).suffix else "missing-folder",
            f"{name} is not in {root}",
            expected=", ".join(needed),
            fix="unpack the whole archive, or give the folder that holds these",
        )
    return bool(absent)


def relative(path: Path, root: Path) -> str:
    """Return a path for messages: relative to the root, with forward slashes."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
