"""All cameras in one picture at one time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from crosscam_edge.report.draw import Overlay
from crosscam_edge.report.encode import even_size
from crosscam_edge.sinks.run_file import DATED_FROM_NS, utc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crosscam_edge.report.rows import FrameRows
    from crosscam_edge.sinks.schema import CameraInfo

WIDEST = 1920
_GAP = 4
_BACKGROUND = (24, 20, 18)
_STALE_NS = 1_000_000_000


class _Cell:
    """Place of one camera and the last picture in it."""

    def __init__(self, camera: CameraInfo, place: tuple[int, int, int, int]) -> None:
        self.camera = camera
        self.x, self.y, width, height = place
        scale = min(width / camera.width, height / camera.height)
        self.size = (max(2, round(camera.width * scale)), max(2, round(camera.height * scale)))
        self.box = (width, height)
        self.overlay = Overlay((width, height))
        self.time_ns: int | None = None


class Mosaic:
    """A grid of cameras; pictures go in one by one, the whole is taken at a common rate.

    Args:
        cameras: In order of the grid, row by row.
    """

    def __init__(self, cameras: Sequence[CameraInfo]) -> None:
        self.columns = math.ceil(math.sqrt(len(cameras)))
        lines = math.ceil(len(cameras) / self.columns)
        aspect = float(np.median([c.width / c.height for c in cameras]))
        native = max(c.width for c in cameras)
        room = (WIDEST - _GAP * (self.columns - 1)) // self.columns
        width, height = even_size(min(native, room), round(min(native, room) / aspect), room)
        full = (
            self.columns * width + _GAP * (self.columns - 1),
            lines * height + _GAP * (lines - 1),
        )
        self.size = (full[0] // 2 * 2, full[1] // 2 * 2)
        self._canvas = np.full((self.size[1], self.size[0], 3), _BACKGROUND, np.uint8)
        self._cells: dict[str, _Cell] = {}
        for i, camera in enumerate(cameras):
            x, y = i % self.columns * (width + _GAP), i // self.columns * (height + _GAP)
            self._cells[camera.camera_id] = _Cell(camera, (x, y, width, height))

    def put(
        self, camera_id: str, image: NDArray[np.uint8], rows: FrameRows, time_ns: int, zero_ns: int
    ) -> None:
        """Draw the newest picture of a camera into its cell.

        Args:
            camera_id: The camera.
            image: `(H, W, 3)` uint8 BGR, not drawn on.
            rows: Its people.
            time_ns: Capture time.
            zero_ns: Start of the mosaic.
        """
        cell = self._cells[camera_id]
        cell.time_ns = time_ns
        small = cv2.resize(image, cell.size, interpolation=cv2.INTER_AREA).astype(
            np.uint8, copy=False
        )
        scale = (cell.size[0] / image.shape[1], cell.size[1] / image.shape[0])
        cell.overlay.draw(small, rows, (time_ns - zero_ns) / 1e9, scale)
        cell.overlay.header(small, cell.camera.camera_id, clock(time_ns))
        view = self._view(cell)
        view[:] = _BACKGROUND
        x, y = (cell.box[0] - cell.size[0]) // 2, (cell.box[1] - cell.size[1]) // 2
        view[y : y + cell.size[1], x : x + cell.size[0]] = small[: cell.box[1], : cell.box[0]]

    def picture(self, time_ns: int, ended: set[str]) -> NDArray[np.uint8]:
        """Return the whole at a time: `(H, W, 3)` uint8 BGR, valid until the next call.

        Args:
            time_ns: Time of the mosaic.
            ended: Cameras that give no more pictures.
        """
        for camera_id, cell in self._cells.items():
            before = cell.time_ns is None
            over = not before and camera_id in ended and time_ns - (cell.time_ns or 0) > _STALE_NS
            if before or over:
                view = self._view(cell)
                view[:] = _BACKGROUND
                note = "not started yet" if before and camera_id not in ended else "recording ended"
                cell.overlay.message(view, f"{camera_id}: {note}")
        return self._canvas

    def _view(self, cell: _Cell) -> NDArray[np.uint8]:
        return self._canvas[cell.y : cell.y + cell.box[1], cell.x : cell.x + cell.box[0]]


def clock(time_ns: int) -> str:
    """Return a UTC time for people, to the tenth of a second.

    Recordings whose date is not known start at 1970; there the time since the start is shown.
    """
    if time_ns < DATED_FROM_NS:
        seconds = time_ns // 10**8 / 10
        return f"{int(seconds // 3600)}:{int(seconds // 60 % 60):02d}:{seconds % 60:04.1f}"
    return utc(time_ns).strftime("%Y-%m-%d %H:%M:%S.%f")[:-5] + " UTC"
