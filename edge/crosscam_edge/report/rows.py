"""The rows of `tracks.parquet`, frame by frame, without holding the file in memory."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FrameRows:
    """The people of one frame.

    Attributes:
        frame: From 0.
        global_id: `(N,)` int64.
        xyxy: `(N, 4)` float32 pixels.
        interpolated: `(N,)` bool; True where no detection stands behind the box.
        time_ns: UTC nanoseconds of the frame; 0 when it has no rows.
    """

    frame: int
    global_id: NDArray[np.int64]
    xyxy: NDArray[np.float32]
    interpolated: NDArray[np.bool_]
    time_ns: int = 0

    @classmethod
    def none(cls, frame: int) -> FrameRows:
        """Return a frame without people."""
        return cls(
            frame, np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.bool_)
        )


_COLUMNS = ("frame", "time_ns", "global_id", "x1", "y1", "x2", "y2", "interpolated")


def tables_of(path: Path, camera_id: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the rows of one camera, one row group at a time, in the order of the file.

    Args:
        path: `tracks.parquet` or `embeddings.parquet`.
        camera_id: The camera; row groups that cannot hold it are not read.
        columns: Columns to read beside `camera_id`.

    Raises:
        InputError: The file cannot be read as Parquet with these columns.
    """
    try:
        with pq.ParquetFile(path) as file:
            at = file.schema_arrow.get_field_index("camera_id")
            for group in range(file.num_row_groups):
                statistics = file.metadata.row_group(group).column(at).statistics
                if (
                    statistics is not None
                    and statistics.has_min_max
                    and not statistics.min <= camera_id <= statistics.max
                ):
                    continue
                table = file.read_row_group(group, columns=["camera_id", *columns])
                table = table.filter(pc.equal(table["camera_id"], camera_id))
                if table.num_rows:
                    yield table
    except FileNotFoundError as error:
        raise InputError(
            f"{path} does not exist", expected="a folder that `crosscam process` wrote"
        ) from error
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        raise InputError(
            f"{path} cannot be read ({str(error)[:160]})",
            expected="Parquet with the columns in docs/reference/outputs.md",
        ) from error


def frames_of(path: Path, camera_id: str) -> Iterator[FrameRows]:
    """Yield the frames of one camera that have people, ascending.

    Args:
        path: `tracks.parquet`.
        camera_id: The camera.

    Raises:
        InputError: The file cannot be read.
    """
    held: dict[str, NDArray[Any]] | None = None  # the last frame may go on in the next group
    for table in tables_of(path, camera_id, _COLUMNS):
        part = {name: table[name].to_numpy() for name in _COLUMNS}
        rows = part if held is None else {n: np.concatenate([held[n], part[n]]) for n in _COLUMNS}
        starts = np.flatnonzero(np.diff(rows["frame"], prepend=rows["frame"][0] - 1))
        for start, stop in pairwise(starts):
            yield _frame(rows, int(start), int(stop))
        held = {name: column[starts[-1] :] for name, column in rows.items()}
    if held is not None:
        yield _frame(held, 0, len(held["frame"]))


def _frame(rows: dict[str, NDArray[Any]], start: int, stop: int) -> FrameRows:
    boxes = np.stack([rows[name][start:stop] for name in ("x1", "y1", "x2", "y2")], axis=1)
    interpolated = rows["interpolated"][start:stop].astype(np.bool_)
    seen = start + int(np.argmin(interpolated))  # times of interpolated rows are estimates
    return FrameRows(
        int(rows["frame"][start]),
        rows["global_id"][start:stop],
        boxes.astype(np.float32),
        interpolated,
        int(rows["time_ns"][seen]),
    )


class RowCursor:
    """Gives the rows of ascending frame numbers of one camera.

    Args:
        path: `tracks.parquet`.
        camera_id: The camera.
        hold: Frames for which rows stay valid when only some frames were processed; 0 for none.
    """

    def __init__(self, path: Path, camera_id: str, hold: int = 0) -> None:
        self._frames = frames_of(path, camera_id)
        self._next = next(self._frames, None)
        self._current: FrameRows | None = None
        self._hold = hold

    def at(self, frame: int) -> FrameRows:
        """Return the people of a frame; call with ascending numbers."""
        while self._next is not None and self._next.frame <= frame:
            self._current = self._next
            self._next = next(self._frames, None)
        if self._current is not None and frame - self._current.frame <= self._hold:
            return self._current
        return FrameRows.none(frame)
