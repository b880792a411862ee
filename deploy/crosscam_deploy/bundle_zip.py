"""Unpacking of zipped bundles from strangers: nothing outside the folder, nothing endless."""

from __future__ import annotations

import errno
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from crosscam_deploy.hashing import sha256_file
from crosscam_deploy.manifest import MANIFEST_NAME
from crosscam_kernels.errors import InputError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_MEMBERS = 65
MAX_UNPACKED_BYTES = 4 << 30
# Deflate cannot exceed about 1032:1; weights compress a few per cent, an untrained graph a lot.
MAX_RATIO = 200
RATIO_FREE_BYTES = 16 << 20
_CHUNK = 1 << 20


def unpack(archive: Path, parent: Path) -> Path:
    """Unpack a zipped bundle once and return its folder.

    Args:
        archive: The zip; a single top folder inside it is stripped.
        parent: Folder that receives ``zip-<sha256 of the zip>``.

    Raises:
        InputError: Not a zip, unsafe member names, links, encryption, or too large.
        RunError: The cache cannot be written.
    """
    target = parent / f"zip-{sha256_file(archive)[:32]}"
    if target.is_dir():
        return target
    try:
        parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".unpack-", dir=parent))
        try:
            _extract(archive, staging)
            staging.chmod(0o755)
            try:
                staging.rename(target)
            except OSError:
                if not target.is_dir():  # another process was faster otherwise
                    raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            raise RunError(
                f"{archive.name} cannot be unpacked into {parent} ({error.strerror})",
                fix="free some space, or set CROSSCAM_CACHE to another folder",
            ) from error
        raise _unsafe(archive, f"cannot be unpacked ({error.strerror or error})") from error
    return target


def _extract(archive: Path, staging: Path) -> None:
    try:
        opened = zipfile.ZipFile(archive)
    except Exception as error:  # hostile bytes make zipfile raise nearly anything
        raise _unreadable(archive, error) from error
    with opened:
        budget = MAX_UNPACKED_BYTES
        packed = archive.stat().st_size
        for info, name in _safe_members(opened, archive):
            destination = staging / name
            destination.parent.mkdir(parents=True, exist_ok=True)
            with destination.open("xb") as out:
                # sizes in the directory can lie: count what really comes out
                for chunk in _chunks(opened, info, archive):
                    budget -= len(chunk)
                    written = MAX_UNPACKED_BYTES - budget
                    if budget < 0 or (written > RATIO_FREE_BYTES and written > MAX_RATIO * packed):
                        raise _unsafe(archive, f"unpacks to more than {written >> 20} MiB")
                    out.write(chunk)


def _chunks(opened: zipfile.ZipFile, info: zipfile.ZipInfo, archive: Path) -> Iterator[bytes]:
    try:
        with opened.open(info) as source:
            while chunk := source.read(_CHUNK):
                yield chunk
    except Exception as error:  # hostile bytes make zipfile raise nearly anything
        raise _unreadable(archive, error) from error


def _unreadable(archive: Path, error: Exception) -> InputError:
    return InputError(
        f"{archive} is not a readable zip ({error})",
        expected="a folder with manifest.json, or an intact zip of one",
        fix="download it again; for a plain model file use `crosscam models import`",
    )


def _safe_members(opened: zipfile.ZipFile, archive: Path) -> list[tuple[zipfile.ZipInfo, str]]:
    infos = [info for info in opened.infolist() if not info.is_dir()]
    if len(infos) > MAX_MEMBERS:
        raise _unsafe(archive, f"has {len(infos)} files, more than {MAX_MEMBERS}")
    for info in infos:
        _check_member(info, archive)
    names = [info.filename for info in infos]
    prefix = ""
    if MANIFEST_NAME not in names:
        tops = {PurePosixPath(name).parts[0] for name in names}
        if len(tops) == 1 and f"{next(iter(tops))}/{MANIFEST_NAME}" in names:
            prefix = f"{next(iter(tops))}/"
        else:
            raise InputError(
                f"{archive} has no {MANIFEST_NAME}",
                expected="a zip of a model bundle",
                fix="make one with `crosscam models import FILE`",
            )
    stripped = [name.removeprefix(prefix) for name in names]
    if len({name.casefold() for name in stripped}) != len(stripped):
        raise _unsafe(archive, "names a file twice")
    return list(zip(infos, stripped, strict=True))


def _check_member(info: zipfile.ZipInfo, archive: Path) -> None:
    name = info.filename
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
        raise _unsafe(archive, f"has the member {name!r}, which points outside")
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise _unsafe(archive, f"has the member {name!r}, which is a link or a device")
    if info.flag_bits & 0x1:
        raise _unsafe(archive, "is encrypted")


def _unsafe(archive: Path, what: str) -> InputError:
    return InputError(
        f"{archive} {what}",
        expected="a zip made by crosscam: a few plain files and a manifest",
        fix="do not use this file; get the bundle from a source that you trust",
    )
