"""Checks on a path before anything tries to decode it; each failure says what to do."""

from __future__ import annotations

import difflib
import re
import stat
from pathlib import Path

from crosscam_deploy.redact import redact
from crosscam_kernels.errors import InputError

_VIDEO = (
    ".264 .265 .3gp .asf .av1 .avi .dav .flv .h264 .h265 .hevc .ivf .m2ts .m4v .mjpeg .mjpg .mkv "
    ".mov .mp4 .mpeg .mpg .mts .mxf .nut .obu .ogv .ts .vob .webm .wmv .y4m"
)
_IMAGE = ".bmp .jpeg .jpg .jp2 .png .ppm .tif .tiff .webp"
VIDEO_SUFFIXES = frozenset(_VIDEO.split())
IMAGE_SUFFIXES = frozenset(_IMAGE.split())
# A `Path` has already made one slash of two.
_ADDRESS = re.compile(r"^(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/+(?P<rest>.*)", re.DOTALL)


def check_readable(path: Path) -> Path:
    """Return `path` made absolute when it is a readable, non-empty file or a folder.

    Raises:
        InputError: It is missing, unreadable, empty, or neither a file nor a folder.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        address = _ADDRESS.match(str(path))
        if address:
            raise InputError(
                f"'{redact(address['scheme'] + '://' + address['rest'])}' is an address",
                expected="a recorded video file or a folder of pictures",
                fix="record it to a file first, for example with ffmpeg -i ADDRESS -c copy cam.mkv",
            ) from None
        raise InputError(
            f"'{path}' does not exist",
            expected="a video file or a folder of pictures",
            fix=_similar(path),
        ) from None
    except PermissionError:
        raise _no_permission(path) from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"'{path}' cannot be opened: {error}",
            expected="a video file or a folder of pictures",
            fix="check the path",
        ) from None
    if stat.S_ISDIR(status.st_mode):
        return path.absolute()
    if not stat.S_ISREG(status.st_mode):
        raise InputError(
            f"'{path}' is a device, pipe or socket",
            expected="a recorded video file or a folder of pictures",
            fix="record it to a file first",
        )
    if status.st_size == 0:
        raise InputError(
            f"'{path}' is empty (0 bytes)",
            expected="a recorded video",
            fix="copy or export the recording again",
        )
    try:
        with path.open("rb"):
            pass
    except PermissionError:
        raise _no_permission(path) from None
    return path.absolute()


def _no_permission(path: Path) -> InputError:
    return InputError(
        f"no permission to read '{path}'",
        expected="a file this user may read",
        fix=f"chmod +r '{path}' (and +x on its folders), or run as a user who may read it",
    )


def _similar(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f"check the path; the folder '{path.parent}' cannot be listed either"
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{path.parent / close[0]}'?"
    return "check the path"


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key in which ``frame2`` comes before ``frame10``."""
    parts: list[tuple[int, int, str]] = []
    digits = text = ""
    for char in name:
        if char.isascii() and char.isdigit():
            if text:
                parts.append((1, 0, text))
                text = ""
            digits += char
        else:
            if digits:
                parts.append((0, int(digits), digits))
                digits = ""
            text += char
    if digits:
        parts.append((0, int(digits), digits))
    if text:
        parts.append((1, 0, text))
    return tuple(parts)
