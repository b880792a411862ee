"""Folders of files that only this machine may have made: what holds machine code.

A bundle's files are trusted by the hashes in its manifest, since engines only read numbers and
operators from them. Compiled code is run as it is, and a hash that lies beside it proves nothing.
So a folder is sealed when it was filled: its manifest lists what it depends on and the sha256 of
each file, and carries a code (HMAC-SHA256) by a secret that lies among the user's data, not in the
cache. A folder that was copied from elsewhere or changed is not used.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import tempfile
from typing import TYPE_CHECKING

from crosscam_deploy.hashing import sha256_file
from crosscam_deploy.paths import data_dir

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SEAL = "sealed.json"
_SECRET_BYTES = 32
_MOST_BYTES = 1 << 20


def name_of(facts: Mapping[str, str]) -> str:
    """Return a folder's name that follows from what its files depend on."""
    return hashlib.sha256(_text(facts)).hexdigest()[:32]


def seal(folder: Path, facts: Mapping[str, str]) -> None:
    """Seal a folder of plain files, again where it was sealed before.

    Raises:
        OSError: It, or this user's data, cannot be written.
    """
    files = {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != SEAL
    }
    secret = _secret() or _make_secret()
    words = {**facts, **{f"sha256 of {name}": value for name, value in files.items()}}
    text = json.dumps({"facts": words, "code": _code(secret, words)}, indent=1)
    descriptor, staging = tempfile.mkstemp(dir=folder, suffix=".part")
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.replace(staging, folder / SEAL)


def is_sealed(folder: Path, facts: Mapping[str, str]) -> bool:
    """Whether a folder holds what this machine sealed there for these facts, and nothing else."""
    secret = _secret()
    try:
        if secret is None or (folder / SEAL).stat().st_size > _MOST_BYTES:
            return False
        told = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        words, code = dict(told["facts"]), str(told["code"])
        if not hmac.compare_digest(code, _code(secret, words)):
            return False
        found = dict(facts)
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                return False
            if path.is_file() and path.name != SEAL:
                found[f"sha256 of {path.relative_to(folder).as_posix()}"] = sha256_file(path)
    except (OSError, ValueError, KeyError, TypeError):  # not there, or damaged
        return False
    return bool(found == words)


def _text(facts: Mapping[str, str]) -> bytes:
    return json.dumps(dict(facts), sort_keys=True).encode()


def _code(secret: bytes, facts: Mapping[str, str]) -> str:
    return hmac.new(secret, _text(facts), hashlib.sha256).hexdigest()


def _secret() -> bytes | None:
    """Return this user's secret on this machine; None where there is none that is private."""
    file = data_dir() / "secret"
    with contextlib.suppress(OSError):
        status, held = file.stat(), file.read_bytes()
        private = not hasattr(os, "getuid") or (
            status.st_uid == os.getuid() and not status.st_mode & 0o077
        )
        if len(held) == _SECRET_BYTES and private:
            return held
    return None


def _make_secret() -> bytes:
    folder = data_dir()
    folder.mkdir(parents=True, exist_ok=True)
    made = secrets.token_bytes(_SECRET_BYTES)
    descriptor, staging = tempfile.mkstemp(dir=folder)  # for this user only
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(made)
    os.replace(staging, folder / "secret")
    return made
