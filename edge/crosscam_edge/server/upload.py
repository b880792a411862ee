"""Pictures that clients send: what they are and how large is read first, then they are decoded.

A few kilobytes can say that they are a picture of a hundred million pixels, or paint the same one a
thousand times over. Both are told from the header and the markers, before anything is decoded.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np

from crosscam_edge.server.errors import RefusedError
from crosscam_edge.sources.orientation import orientation_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_BYTES = 8 << 20
"""Of a picture that is sent."""
MOST_PIXELS = 25_000_000
KINDS = ("image/jpeg", "image/png", "image/webp")
_LEAST_SIDE = 16
_MORE = 128  # pixels of a side that FFmpeg adds at most, to begin its rows at round addresses
_MOST_SCANS = 100  # of a progressive JPEG, thumbnails included; encoders write about ten
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # ITU-T T.81, table B.1
_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a length
_SCAN = b"\xff\xda"
_END = b"\xff\xd9"


def decode(data: bytes) -> NDArray[np.uint8]:
    """Return a picture as `(H, W, 3)` uint8, BGR, turned as it says that it should be seen.

    Args:
        data: JPEG, PNG or WebP; of a moving one the first picture.

    Raises:
        RefusedError: It is none (422), or too large or too small to look at (413, 422).
    """
    size = size_of(data)
    if size is None:
        raise not_a_picture("this is no JPEG, PNG or WebP")
    width, height = size
    if width * height > MOST_PIXELS:
        raise RefusedError(
            413,
            "too_large",
            f"the picture has {width} x {height} pixels",
            expected=f"{MOST_PIXELS:,} at most",
            fix="make it smaller, or cut out the person",
        )
    if min(size) < _LEAST_SIDE:
        raise not_a_picture(
            f"the picture has {width} x {height} pixels", f"{_LEAST_SIDE} on each side at least"
        )
    if data.startswith(b"\xff\xd8") and data.count(_SCAN) > _MOST_SCANS:
        raise not_a_picture("the JPEG paints its picture over and over", "an ordinary one")
    # OpenCV's decoders would fill up what is missing, and say so to the standard error of the run.
    if not is_whole(data):
        raise not_a_picture("the picture is damaged, or ends too soon")
    image = _of_jpeg(data, size) if data.startswith(b"\xff\xd8") else _of_others(data)
    if image is None or image.shape[0] * image.shape[1] != width * height:
        raise not_a_picture("the picture is damaged")
    return image


def _of_jpeg(data: bytes, size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Return a JPEG's picture; None where something is wrong in it.

    By the decoder of the cameras, which says nothing of damage and can be told to stop there:
    OpenCV's writes to standard error, and goes on.
    """
    most = (size[0] + _MORE) * (size[1] + _MORE)  # a second header may tell of a larger one
    decoder: Any = av.CodecContext.create("mjpeg", "r")
    decoder.thread_count = 1
    decoder.options = {"err_detect": "explode", "max_pixels": str(most)}
    try:
        frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
        if len(frames) != 1:
            return None
        image: Any = frames[0].to_ndarray(format="bgr24")
    except (av.FFmpegError, ValueError):  # also pixels of a kind that cannot be turned into BGR
        return None
    return orientation_of(frames[0]).upright(image)


def _of_others(data: bytes) -> NDArray[np.uint8] | None:
    """Return the picture of a PNG or WebP; None where something is wrong in it."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, np.uint8)


def not_a_picture(found: str, expected: str = "a whole JPEG, PNG or WebP") -> RefusedError:
    """Return the error of what cannot be looked at."""
    return RefusedError(422, "not_a_picture", found, expected=expected, fix="send another one")


def is_whole(data: bytes) -> bool:
    """Return whether a JPEG, PNG or WebP goes on to its end, and a PNG is as it was written.

    A PNG has a checksum in each chunk (ISO/IEC 15948, 5.3). What is wrong within the others is
    found by decoding alone, and not always.
    """
    if data.startswith(b"\x89PNG"):
        return _is_whole_png(data)
    if data.startswith(b"RIFF"):
        return 8 + int.from_bytes(data[4:8], "little") <= len(data)
    scan = data.find(_SCAN, _frame(data) or 0)  # before it there may be small pictures, whole ones
    return scan > 0 and data.find(_END, scan) > 0


def _is_whole_png(data: bytes) -> bool:
    at, name = 8, b""
    while name != b"IEND":
        if at + 12 > len(data):
            return False
        length, name = struct.unpack(">I4s", data[at : at + 8])
        end = at + 8 + length
        if data[end : end + 4] != zlib.crc32(data[at + 4 : end]).to_bytes(4):
            return False
        at = end + 4
    return True


def size_of(data: bytes) -> tuple[int, int] | None:
    """Return width and height that a file says of itself; None for no JPEG, PNG or WebP."""
    try:
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data)
        if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR":
            return struct.unpack(">II", data[16:24])
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
    except struct.error:  # it ends too soon
        pass
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = _frame(data)
    if at is None:
        return None
    height, width = struct.unpack(">HH", data[at + 5 : at + 9])
    return (width, height) if width and height else None


def _frame(data: bytes) -> int | None:
    """Return where the header of a JPEG's frame is; None where there is none."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill
            at += 1
        elif marker in _ALONE:
            at += 2
        elif marker in _SOF:
            return at
        else:
            at += 2 + max(2, *struct.unpack(">H", data[at + 2 : at + 4]))
    return None


def _webp(data: bytes) -> tuple[int, int] | None:
    """Read the first chunk (RFC 9649): simple, lossless, or extended."""
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return (width, height) if len(data) >= 30 else None
    if kind == b"VP8L" and data[20:21] == b"\x2f":
        (bits,) = struct.unpack("<I", data[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None
