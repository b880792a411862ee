"""Pictures as they were meant to be seen: what a camera says of how it was held or mounted.

Phones store what their sensor reads and a matrix beside it; mirrored ones come from front cameras
and from cameras behind glass.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from av.sidedata.sidedata import SideDataContainer

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Orientation(NamedTuple):
    """What makes a stored picture upright, in this order.

    Attributes:
        transposed: Exchange rows and columns.
        mirrored: Exchange left and right.
        upended: Exchange top and bottom.
    """

    transposed: bool = False
    mirrored: bool = False
    upended: bool = False

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height of the upright picture."""
        return (height, width) if self.transposed else (width, height)

    def upright(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a picture `(H, W, 3)` upright, contiguous."""
        turned: Any = image
        if self.transposed:
            turned = cv2.transpose(turned)
        if self.mirrored or self.upended:
            both = self.mirrored and self.upended
            turned = cv2.flip(turned, -1 if both else int(self.mirrored))
        return np.ascontiguousarray(turned, np.uint8)


class _Told(SideDataContainer):
    """What a frame brings beside its pixels, up to the first thing that PyAV has no name for.

    JPEGs of cameras bring their EXIF, which PyAV 18 does not know: it would refuse all of it. The
    matrix is made from the EXIF and stands before it.
    """

    def __init__(self, frame: Any) -> None:
        begin: Any = super().__init__  # its stub does not tell what it is made from
        with suppress(ValueError):  # of the enumeration of the names
            begin(frame)


def orientation_of(frame: Any) -> Orientation:
    """Read the display matrix of a decoded `av.VideoFrame`.

    The matrix (ISO/IEC 14496-12, 8.3.2.3) takes a stored pixel (x, y) to
    (a x + c y, b x + d y) on the screen. Only quarter turns and mirrorings are followed; for other
    angles the nearest of them is.
    """
    # `frame.side_data` would be a ring of references: the frame, megabytes outside of Python, would
    # stay until the garbage collector comes by, which counts objects and not bytes.
    data = _Told(frame).get("DISPLAYMATRIX")
    if data is None or data.buffer_size < 36:
        return Orientation()
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32, 5).tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(True, c < 0, b < 0)
    return Orientation(False, a < 0, d < 0)
