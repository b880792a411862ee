"""What can be wrong with a live camera: a code for machines, words and a way out for people."""

from __future__ import annotations

import errno
from enum import StrEnum
from typing import Any

import av.error

from crosscam_deploy.redact import redact


class FaultCode(StrEnum):
    """Why a camera gives no pictures.

    Attributes:
        UNREACHABLE: Nobody answers at the address: no route, no such name.
        REFUSED: The machine answers, but not at this port.
        TIMEOUT: No answer in time.
        UNAUTHORISED: User name or password are wrong, or missing.
        NOT_FOUND: The camera has no such stream, or the file or device does not exist.
        NO_VIDEO: It has a stream, without video.
        DECODE: Pictures cannot be decoded.
        ENDED: The other side hung up.
        STALLED: Connected, but no picture for too long.
        UNSUPPORTED: A protocol or transport that this camera or this machine lacks.
        INTERNAL: A mistake of crosscam; the camera is tried again all the same.
    """

    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    UNAUTHORISED = "unauthorised"
    NOT_FOUND = "not_found"
    NO_VIDEO = "no_video"
    DECODE = "decode"
    ENDED = "ended"
    STALLED = "stalled"
    UNSUPPORTED = "unsupported"
    INTERNAL = "internal"


FIXES = {
    FaultCode.UNREACHABLE: "check address, cable and network",
    FaultCode.REFUSED: "check the port (554 is usual), and that RTSP is on",
    FaultCode.TIMEOUT: "check address and firewall",
    FaultCode.UNAUTHORISED: "check user name and password",
    FaultCode.NOT_FOUND: "check the path of the stream; the camera's manual names it",
    FaultCode.NO_VIDEO: "name a stream with video",
    FaultCode.DECODE: "set the camera to H.264 or H.265",
    FaultCode.ENDED: "nothing, if it comes back; else see the camera's own log",
    FaultCode.STALLED: "nothing, if it comes back; else check camera and network",
    FaultCode.UNSUPPORTED: "try the other transport (tcp or udp)",
    FaultCode.INTERNAL: "report it, with the log",
}


class SourceFault(Exception):  # noqa: N818 (no error of a run: cameras come and go)
    """A connection is gone, or did not come about.

    Args:
        code: What kind of trouble.
        detail: The words of whoever noticed; secrets are masked.

    Attributes:
        code: As above.
        detail: As above, masked.
    """

    def __init__(self, code: FaultCode, detail: str = "") -> None:
        self.code = code
        self.detail = redact(detail)
        super().__init__(f"{code}: {self.detail}" if detail else str(code))

    @property
    def fix(self) -> str:
        """What the operator can do."""
        return FIXES[self.code]


_HTTP: dict[type[Any], FaultCode] = {
    av.error.HTTPUnauthorizedError: FaultCode.UNAUTHORISED,
    av.error.HTTPForbiddenError: FaultCode.UNAUTHORISED,
    av.error.HTTPNotFoundError: FaultCode.NOT_FOUND,
    av.error.HTTPOtherClientError: FaultCode.UNSUPPORTED,
    av.error.ExitError: FaultCode.TIMEOUT,  # FFmpeg was interrupted by the time limit
    av.error.EOFError: FaultCode.ENDED,
    av.error.InvalidDataError: FaultCode.DECODE,
    av.error.DecoderNotFoundError: FaultCode.UNSUPPORTED,
    av.error.ProtocolNotFoundError: FaultCode.UNSUPPORTED,
    av.error.DemuxerNotFoundError: FaultCode.UNSUPPORTED,
}
_ERRNO = {
    errno.ECONNREFUSED: FaultCode.REFUSED,
    errno.ETIMEDOUT: FaultCode.TIMEOUT,
    errno.EAGAIN: FaultCode.TIMEOUT,
    errno.EHOSTUNREACH: FaultCode.UNREACHABLE,
    errno.ENETUNREACH: FaultCode.UNREACHABLE,
    errno.EIO: FaultCode.UNREACHABLE,  # FFmpeg's word for a name that cannot be resolved
    errno.ENOENT: FaultCode.NOT_FOUND,
    errno.ENODEV: FaultCode.NOT_FOUND,
    errno.EACCES: FaultCode.UNAUTHORISED,
    errno.EPERM: FaultCode.UNAUTHORISED,
    errno.ECONNRESET: FaultCode.ENDED,
    errno.EPIPE: FaultCode.ENDED,
    errno.EPROTONOSUPPORT: FaultCode.UNSUPPORTED,
}


def fault_of(error: BaseException) -> SourceFault:
    """Return what an error of FFmpeg, or of anything else, means for the camera."""
    if isinstance(error, SourceFault):
        return error
    for kind, code in _HTTP.items():
        if isinstance(error, kind):
            return SourceFault(code, str(error))
    if isinstance(error, OSError | av.error.FFmpegError):
        number = getattr(error, "errno", None)
        return SourceFault(_ERRNO.get(number or 0, FaultCode.INTERNAL), str(error))
    return SourceFault(FaultCode.INTERNAL, f"{type(error).__name__}: {error}")
