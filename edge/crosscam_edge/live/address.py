"""Where a camera is: addresses with secrets that stay out of files, logs and error messages."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlsplit

from crosscam_deploy.redact import redact
from crosscam_kernels.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["stream", "webcam", "file"]
SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "srt", "udp", "rtp")
_VARIABLE = re.compile(r"\$\{(?P<name>[^}]*)\}")
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_FROM_FILE = "file:"
_MOST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Address:
    """A place that pictures come from.

    Attributes:
        kind: What it is.
        target: What FFmpeg opens; may hold a password, so it is neither shown nor logged.
        shown: The same for people, without secrets.
    """

    kind: Kind
    target: str
    shown: str

    def __repr__(self) -> str:
        return f"Address({self.kind}, {self.shown})"


def parse_address(text: str, environment: Mapping[str, str] | None = None) -> Address:
    """Read an address as a site file has it.

    ``${NAME}`` is replaced by an environment variable, ``${file:PATH}`` by the first line of a
    file; either is escaped as a URL wants it, so that any password will do.

    Args:
        text: ``rtsp://…`` or another URL, ``webcam:0`` or ``/dev/video0``, or a video file.
        environment: Where variables come from; that of the process if not given.

    Raises:
        UsageError: No such scheme, no host, or a secret that is not there.
    """
    if text.startswith("webcam:") or text.startswith("/dev/"):
        number = text.removeprefix("webcam:")
        device = f"/dev/video{number}" if number.isdigit() else text
        if not device.startswith("/dev/"):
            raise UsageError(
                f"'{text}' names no webcam", expected="webcam:0, webcam:1 … or /dev/video0"
            )
        return Address("webcam", device, device)
    if "://" not in text:
        return Address("file", text, text)
    shown = redact(text)
    known = os.environ if environment is None else environment
    target = _VARIABLE.sub(lambda found: _secret(found["name"], shown, known), text)
    try:
        parts = urlsplit(target)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = None, None
    if parts is None or parts.scheme.lower() not in SCHEMES or not host:
        raise UsageError(
            f"'{shown}' is not the address of a camera",
            expected="rtsp://HOST/PATH, one of " + ", ".join(f"{each}://" for each in SCHEMES),
            fix="escape '@', '/' and ':' in passwords (%40, %2F, %3A), or write ${VARIABLE}",
        )
    return Address("stream", target, redact(shown))


def _secret(name: str, shown: str, environment: Mapping[str, str]) -> str:
    if name.startswith(_FROM_FILE):
        path = Path(name.removeprefix(_FROM_FILE))
        try:
            with path.open("rb") as file:
                value = file.read(_MOST_BYTES).decode().splitlines()[0]
        except (OSError, UnicodeDecodeError, IndexError) as error:
            raise UsageError(
                f"the secret of '{shown}' cannot be read from {path}: {error}",
                expected="a readable file with the secret in its first line",
            ) from None
        return quote(value, safe="")
    if not _NAME.match(name) or name not in environment:
        raise UsageError(
            f"'{shown}' needs the environment variable '{name}', which is not set",
            fix=f"export {name}=…, or ${{file:PATH}} for a secret in a file",
        )
    return quote(environment[name], safe="")
