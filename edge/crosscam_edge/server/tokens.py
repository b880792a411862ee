"""Tokens of an HTTP interface, kept in a file as salted hashes."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import threading
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crosscam_edge.config.strict import CAMERA_ID
from crosscam_edge.sinks.atomic import output_error
from crosscam_kernels.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Cost of a guess. The secrets are random, 256 bits; this is for files that get into wrong hands.
_SCRYPT = {"n": 1 << 14, "r": 8, "p": 1, "maxmem": 64 << 20, "dklen": 32}
_SECRET_BYTES = 32
_SALT_BYTES = 16
_MOST_BYTES = 1 << 20
_TOKEN = re.compile(r"cc_(?P<id>[0-9a-f]{12})_(?P<secret>[A-Za-z0-9_-]{43})")


class Role(StrEnum):
    """What a token's holder may do; each may also do what those before it may.

    Attributes:
        VIEWER: Look at cameras, identities, events and figures.
        OPERATOR: See where cameras are, take out what is stored of somebody, merge and split.
        ADMIN: Erase people.
    """

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, other: Role) -> bool:
        """Return whether this role may do what the other may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        name: Of the token; stands in the audit.
        role: What they may do.
        cameras: All that they may know of; None for all.
    """

    name: str
    role: Role
    cameras: frozenset[str] | None = None

    def sees(self, camera_id: str | None) -> bool:
        """Return whether they may know of a camera; what is of no camera is for those of all."""
        return self.cameras is None or camera_id in self.cameras


class TokenRecord(BaseModel):
    """A token as it is kept: without its secret."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern="^[0-9a-f]{12}$")
    name: str = Field(pattern=CAMERA_ID)
    role: Role
    cameras: list[str] | None = None
    salt: str = Field(pattern=f"^[0-9a-f]{{{2 * _SALT_BYTES}}}$")
    hash: str = Field(pattern="^[0-9a-f]{64}$")

    @property
    def caller(self) -> Caller:
        """Who holds it."""
        scope = None if self.cameras is None else frozenset(self.cameras)
        return Caller(self.name, self.role, scope)


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = Field(ge=1, le=1)
    tokens: list[TokenRecord]


def read_tokens(path: Path) -> list[TokenRecord]:
    """Return the tokens of a file.

    Raises:
        InputError: It cannot be read, or is no file of tokens.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"the tokens in {path} cannot be read ({error.strerror})",
            expected="a file made by crosscam token create",
            fix=f"crosscam token create --file {path} --role viewer",
        ) from None
    try:
        if len(text) > _MOST_BYTES:
            raise ValueError("too large")
        return _Kept.model_validate_json(text).tokens
    except (ValidationError, ValueError):  # what is in it is not repeated: it may be secret
        raise InputError(
            f"{path} is no file of tokens",
            expected="a file made by crosscam token create",
            fix="make a new one",
        ) from None


def _write(path: Path, tokens: Sequence[TokenRecord]) -> None:
    text = _Kept(version=1, tokens=list(tokens)).model_dump_json(indent=1) + "\n"
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(
            os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w"
        ) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise output_error(path, error) from error


def create_token(
    path: Path, role: Role, *, name: str | None = None, cameras: Sequence[str] | None = None
) -> tuple[TokenRecord, str]:
    """Add a token to a file, which is made when missing, readable by its owner alone.

    Args:
        path: The file.
        role: What the holder may do.
        name: What the audit calls them; the role and a number if not given.
        cameras: All that they may know of; None for all.

    Returns:
        What is kept, and the token, which is nowhere else.

    Raises:
        UsageError: The name is taken or is none, a camera's is none, or an admin of some cameras:
            whoever erases somebody erases what all cameras have seen.
    """
    if role is Role.ADMIN and cameras is not None:
        raise UsageError(
            "an admin of some cameras only",
            expected="viewers and operators with --cameras; who erases a person erases everything",
            fix="leave out --cameras, or choose another role",
        )
    known = read_tokens(path) if path.exists() else []
    taken = {each.name for each in known}
    if name is None:
        name = next(f"{role}{k}" for k in range(1, len(known) + 2) if f"{role}{k}" not in taken)
    if name in taken:
        raise UsageError(
            f"there is a token called '{name}'", expected="a name of its own", fix="choose another"
        )
    for each in (name, *(cameras or ())):
        if not re.fullmatch(CAMERA_ID, each):
            raise UsageError(
                f"'{each}' is no name", expected="up to 64 letters, digits, '.', '_' and '-'"
            )
    secret, salt = secrets.token_urlsafe(_SECRET_BYTES), secrets.token_bytes(_SALT_BYTES)
    record = TokenRecord(
        id=secrets.token_hex(6),
        name=name,
        role=role,
        cameras=None if cameras is None else sorted(set(cameras)),
        salt=salt.hex(),
        hash=_hashed(secret, salt).hex(),
    )
    _write(path, [*known, record])
    return record, f"cc_{record.id}_{secret}"


def revoke_token(path: Path, name: str) -> None:
    """Take a token out of a file; a run that uses the file refuses it at once.

    Raises:
        UsageError: There is none of that name.
    """
    known = read_tokens(path)
    left = [each for each in known if each.name != name]
    if len(left) == len(known):
        names = ", ".join(each.name for each in known) or "no tokens"
        raise UsageError(f"there is no token '{name}'", expected=names, fix="crosscam token list")
    _write(path, left)


def _hashed(secret: str, salt: bytes) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=salt, **_SCRYPT)


class Keyring:
    """Knows whose a token is. The file is read again when it has changed.

    A token that was right once is known again by a keyed hash in memory, so that a hash that is
    slow on purpose costs the cameras nothing at every request.

    Args:
        path: The file of tokens.

    Raises:
        InputError: It cannot be read, or is no file of tokens.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._key = secrets.token_bytes(32)
        self._seen: dict[bytes, TokenRecord] = {}
        self._records: dict[str, TokenRecord] = {}
        self._stamp = self._stamped()
        self._take(read_tokens(path))

    def __len__(self) -> int:
        return len(self._records)

    def known(self, token: str) -> Caller | None:
        """Return whose a token is that was right before; takes no time to speak of."""
        with self._lock:
            self._refresh()
            found = self._seen.get(self._mark(token))
            return None if found is None else found.caller

    def check(self, token: str) -> Caller | None:
        """Return whose a token is; None when it is nobody's. Slow on purpose, one at a time."""
        parts = _TOKEN.fullmatch(token)
        with self._lock:
            self._refresh()
            record = None if parts is None else self._records.get(parts["id"])
            if parts is None or record is None:
                return None
            found = _hashed(parts["secret"], bytes.fromhex(record.salt))
            if not hmac.compare_digest(found, bytes.fromhex(record.hash)):
                return None
            self._seen[self._mark(token)] = record
            return record.caller

    def _mark(self, token: str) -> bytes:
        return hmac.digest(self._key, token.encode(errors="surrogateescape"), "sha256")

    def _stamped(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _refresh(self) -> None:
        stamp = self._stamped()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._take(read_tokens(self._path))
        except InputError:  # a file that is gone or broken lets nobody in
            self._take([])

    def _take(self, records: Sequence[TokenRecord]) -> None:
        self._records = {each.id: each for each in records}
        self._seen = {k: v for k, v in self._seen.items() if self._records.get(v.id) == v}


def shown(records: Sequence[TokenRecord]) -> str:
    """Return tokens as JSON for programs: names, roles and cameras."""
    return json.dumps(
        [{"name": each.name, "role": each.role.value, "cameras": each.cameras} for each in records]
    )
