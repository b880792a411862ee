"""AI City / NVIDIA MTMC text files: boxes with global ids of several cameras in one file.

Line: ``camera_id object_id frame_id left top width height xworld yworld`` between blanks. Here the
frame is counted from 0 and the position in the world is -1 -1 when unknown
(https://docs.nvidia.com/mms/text/MDX_Multi_Camera_Tracking_KPI.html).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.sinks.atomic import atomic_path
from crosscam_edge.sinks.mot import (
    MotSequence,
    check,
    check_duplicates,
    check_integers,
    check_sizes,
    read_numbers,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_COLUMNS = "camera_id object_id frame_id left top width height xworld yworld"


def read_mtmc(path: Path) -> dict[int, MotSequence]:
    """Read an MTMC file.

    Args:
        path: Text file, UTF-8, 7 to 9 columns.

    Returns:
        The rows of each camera number, by frame then id; ascending numbers.

    Raises:
        InputError: The file cannot be read, a line is not of this form, or an id is twice in a
            frame of a camera; with the line number and what was found.
    """
    rows, lines = read_numbers(path, delimiter=None, columns=(7, 9), layout=_COLUMNS)
    if not len(rows):
        return {}
    check_integers(path, rows, lines, {0: "camera", 1: "id", 2: "frame"})
    check(path, lines, rows[:, 2] < 0, "frame {}", rows[:, 2], "frames counted from 0")
    check_sizes(path, rows[:, 5:7], lines)
    cameras: dict[int, MotSequence] = {}
    for number in np.unique(rows[:, 0]):
        mine = rows[:, 0] == number
        r = rows[mine]
        sequence = MotSequence.of(
            r[:, 2].astype(np.int64),
            r[:, 1].astype(np.int64),
            np.concatenate([r[:, 3:5], r[:, 3:5] + r[:, 5:7]], axis=1),
        )
        everything = np.ones(len(sequence), bool)
        check_duplicates(path, sequence, lines[mine], everything, first_frame=0)
        cameras[int(number)] = sequence.sorted()
    return cameras


def write_mtmc(path: Path, cameras: Mapping[int, MotSequence]) -> None:
    """Write an MTMC file: cameras by number, their rows by frame then id.

    Args:
        path: Where; written atomically.
        cameras: The rows of each camera number.

    Raises:
        RunError: The disk is full.
        InputError: The place cannot be written.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as file,
    ):
        for number in sorted(cameras):
            rows = cameras[number].sorted()
            for i in range(len(rows)):
                line = mtmc_line(number, rows.object_id[i], rows.frame[i], rows.xyxy[i])
                file.write(line + "\n")


def mtmc_line(camera: int, object_id: int, frame: int, xyxy: NDArray[np.floating]) -> str:
    """Return one line; `frame` is from 0, coordinates are rounded to 1/100 pixel."""
    x1, y1, x2, y2 = (float(v) for v in xyxy)
    box = f"{x1:.2f} {y1:.2f} {x2 - x1:.2f} {y2 - y1:.2f}"
    return f"{camera} {object_id} {frame} {box} -1 -1"
