"""Downloads that survive cuts, never run twice at once, and are only kept with the right hash."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import httpx
from filelock import FileLock

from crosscam_deploy.log import get_logger
from crosscam_deploy.paths import MODELS_ENV
from crosscam_deploy.redact import redact
from crosscam_deploy.zoo import trust
from crosscam_kernels.errors import InputError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from crosscam_deploy.zoo.entries import ZooFile

_log = get_logger("download")
_ATTEMPTS = 4
_TIMEOUT = httpx.Timeout(20, connect=10)
MAX_BYTES = 8 << 30
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class _Retry(Exception):  # noqa: N818 - a signal, not an error
    """The connection broke; what arrived is kept."""


def fetch(file: ZooFile, target: Path, *, progress: bool = True) -> Path:
    """Download a file of the zoo, or return it when it is there and intact.

    The data goes to ``<target>.part`` (continued after a cut when the server can), is checked
    and only then renamed. Other processes wait on ``<target>.lock``.

    Args:
        file: Name, address and known checksums.
        target: Where the file shall be.
        progress: Whether to show a bar on standard error when that is a terminal.

    Returns:
        `target`.

    Raises:
        InputError: The data has another hash than the publisher's, or than at the first download.
        RunError: No connection, an error of the server, or the disk is full.
    """
    url = file.url
    if url is None:
        raise InputError(f"{file.name} has no address", fix=f"put it into a folder of {MODELS_ENV}")
    _check_scheme(url)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            expected = file.sha256 or trust.recorded_hash(url)
            if target.is_file() and expected and _digests(target)[0] == expected:
                return target
            part = target.with_name(target.name + ".part")
            _download(url, part, pinned=expected is not None, name=file.name, progress=progress)
            _verify(file, url, part, expected)
            os.replace(part, target)
            _validator_file(part).unlink(missing_ok=True)
    except OSError as error:
        raise RunError(
            f"{target} cannot be written ({error.strerror or error})",
            fix="free some space, or set CROSSCAM_CACHE to another folder",
        ) from error
    return target


def _check_scheme(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return
    raise InputError(
        f"{redact(url)} is not an https address",
        expected="https (models are only fetched over encrypted connections)",
        fix="correct the address",
    )


def _digests(path: Path) -> tuple[str, str]:
    sha256, sha384 = hashlib.sha256(), hashlib.sha384()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            sha256.update(chunk)
            sha384.update(chunk)
    return sha256.hexdigest(), sha384.hexdigest()


def _verify(file: ZooFile, url: str, part: Path, expected: str | None) -> None:
    """Check what arrived; wrong data is removed so that it is never continued."""
    sha256, sha384 = _digests(part)
    wrong = (expected is not None and sha256 != expected) or (
        file.sha384 is not None and sha384 != file.sha384
    )
    if not wrong:
        if file.sha256 is None:
            trust.record_hash(url, sha256, part.stat().st_size)
            if expected is None and file.sha384 is None:
                _log.warning(
                    "no published hash: trusting this first download", url=url, sha256=sha256
                )
        return
    part.unlink()
    _validator_file(part).unlink(missing_ok=True)
    if file.sha256 is None and expected is not None and sha256 != expected:
        raise trust.changed(redact(url), sha256, expected)
    by_256 = file.sha256 is not None and sha256 != file.sha256
    raise InputError(
        f"{redact(url)} served a file with "
        + (f"sha256 {sha256}" if by_256 else f"sha384 {sha384}"),
        expected=f"sha256 {file.sha256}" if by_256 else f"sha384 {file.sha384}",
        fix="try again later or from another network; if it stays, report it: the file was "
        "replaced or something between changes it",
    )


def _download(url: str, part: Path, *, pinned: bool, name: str, progress: bool) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _receive(url, part, pinned=pinned, name=name, progress=progress)
        except (_Retry, httpx.TransportError) as error:
            if attempt == _ATTEMPTS or isinstance(error, httpx.UnsupportedProtocol):
                _fail_offline(url, name, error)
            _log.info("connection broke, trying again", url=url, attempt=attempt, error=str(error))
            time.sleep(0.3 * 2**attempt)
        else:
            return


def _fail_offline(url: str, name: str, error: Exception) -> NoReturn:
    raise RunError(
        f"{redact(url)} cannot be downloaded ({str(error) or type(error).__name__})",
        expected="a connection to the internet",
        fix=f"download {name} on another machine, put it into a folder and set {MODELS_ENV} to "
        "that folder; or connect and run this again (it continues where it stopped)",
    ) from error


def _receive(url: str, part: Path, *, pinned: bool, name: str, progress: bool) -> None:
    headers = {"Accept-Encoding": "identity"}
    start = part.stat().st_size if part.is_file() else 0
    validator = _load_validator(part)
    # without a known hash only the server's validator tells that both halves are of one file
    if start and not pinned and validator is None:
        start = 0
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator is not None:
            headers["If-Range"] = validator
    with (
        httpx.Client(timeout=_TIMEOUT, follow_redirects=True, max_redirects=5) as client,
        client.stream("GET", url, headers=headers) as response,
    ):
        _check_scheme(str(response.url))
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)
            raise _Retry("the server has another length now")
        if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise _Retry(f"the server answered {response.status_code}")
        if response.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
            raise RunError(
                f"{redact(url)} answered {response.status_code} {response.reason_phrase}",
                fix=f"get {name} elsewhere, put it into a folder and set {MODELS_ENV} to it",
            )
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            part.unlink(missing_ok=True)
            raise _Retry("the server answered with another part")
        start = start if resumed else 0
        _store_validator(part, response.headers)
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else None
        if total is not None and total > MAX_BYTES:
            raise InputError(f"{redact(url)} has {total} bytes", expected=f"up to {MAX_BYTES}")
        _write(response, part, start, total, name=name, progress=progress)


def _write(
    response: httpx.Response,
    part: Path,
    start: int,
    total: int | None,
    *,
    name: str,
    progress: bool,
) -> None:
    done = start
    with part.open("ab" if start else "wb") as out, _bar(name, start, total, progress) as advance:
        for chunk in response.iter_raw():
            out.write(chunk)
            done += len(chunk)
            advance(len(chunk))
            if done > MAX_BYTES:
                raise InputError(f"{name} does not end", expected=f"up to {MAX_BYTES} bytes")
        out.flush()
        os.fsync(out.fileno())
    if total is not None and done != total:
        raise _Retry(f"{done} of {total} bytes arrived")


def _validator_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _store_validator(part: Path, headers: httpx.Headers) -> None:
    """Keep a strong validator of the file that the part belongs to."""
    etag = headers.get("ETag")
    value = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
    _validator_file(part).write_text(json.dumps({"validator": value}), encoding="utf-8")


def _load_validator(part: Path) -> str | None:
    with contextlib.suppress(OSError, ValueError):  # no record: nothing is known about the part
        content = json.loads(_validator_file(part).read_text(encoding="utf-8"))
        value = content.get("validator") if isinstance(content, dict) else None
        return value if isinstance(value, str) else None
    return None


@contextlib.contextmanager
def _bar(name: str, start: int, total: int | None, progress: bool) -> Iterator[Any]:
    """Show a progress bar on standard error; yields a function that takes bytes."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    if not progress or not console.is_terminal:
        yield lambda _count: None
        return
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress("{task.description}", *columns, console=console) as bar:
        task = bar.add_task(name, total=total, completed=start)
        yield lambda count: bar.advance(task, count)
