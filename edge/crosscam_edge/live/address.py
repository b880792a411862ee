"""Where a camera is: addresses with secrets that stay out of files, logs and error messages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlsplit

from crosscam_deploy.redact import redact
from crosscam_edge.config.secrets import with_secrets
from crosscam_kernels.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["stream", "webcam", "file"]
SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "srt", "udp", "rtp")


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
    escape = partial(quote, safe="")
    target = with_secrets(text, shown, escape=escape, environment=environment)
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
    return Address("stream", target, shown)
