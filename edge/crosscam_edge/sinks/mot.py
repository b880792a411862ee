"""MOT Challenge text files: boxes with ids, one line per person and frame.

Line: ``frame,id,left,top,width,height[,conf[,…]]`` with the frame counted from 1. What follows the
confidence depends on the number of columns, as in the data sets: 9 columns end in ``class,
visibility`` (MOT16 to MOT20 ground truth), 8 end in ``class``, 10 end in a position in the world
(MOT15, and every tracker's output), which is not kept. In ground truth a confidence of 0 marks a
row that is not to be counted (https://arxiv.org/abs/1603.00831, section 3.2).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from crosscam_edge.sinks.atomic import atomic_path
from crosscam_kernels.errors import InputError, ShapeError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_COLUMNS = "frame,id,left,top,width,height,conf,-1,-1,-1"
_EXACT = 2.0**53  # integers up to here survive being read as a float


@dataclass(frozen=True, slots=True)
class MotSequence:
    """Boxes with ids in the frames of one camera; ground truth or a tracker's result.

    Attributes:
        frame: `(N,)` int64, from 0.
        object_id: `(N,)` int64; at most once per frame.
        xyxy: `(N, 4)` float64 pixels.
        confidence: `(N,)` float64; in ground truth 0 marks rows that are not counted.
        class_id: `(N,)` int64 of MOT16 (1 is a pedestrian); -1 when not given.
        visibility: `(N,)` float64 in [0, 1]; NaN when not given.
        track_id: `(N,)` int64 id inside the camera, where it is known beside a global `object_id`;
            equal to `object_id` otherwise.
    """

    frame: NDArray[np.int64]
    object_id: NDArray[np.int64]
    xyxy: NDArray[np.float64]
    confidence: NDArray[np.float64]
    class_id: NDArray[np.int64]
    visibility: NDArray[np.float64]
    track_id: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.int64] | slice) -> MotSequence:
        """Return the selected rows."""
        return MotSequence(
            self.frame[rows],
            self.object_id[rows],
            self.xyxy[rows],
            self.confidence[rows],
            self.class_id[rows],
            self.visibility[rows],
            self.track_id[rows],
        )

    @classmethod
    def of(
        cls,
        frame: NDArray[np.integer],
        object_id: NDArray[np.integer],
        xyxy: NDArray[np.floating],
        *,
        confidence: NDArray[np.floating] | None = None,
        class_id: NDArray[np.integer] | None = None,
        visibility: NDArray[np.floating] | None = None,
        track_id: NDArray[np.integer] | None = None,
    ) -> Self:
        """Build a sequence from columns of any numeric type; absent ones get their default.

        Raises:
            ShapeError: The columns differ in length or the boxes are not `(N, 4)`.
        """
        n = len(frame)
        boxes = np.asarray(xyxy, np.float64).reshape(-1, 4)
        ids = np.asarray(object_id, np.int64)
        sequence = cls(
            np.asarray(frame, np.int64),
            ids,
            boxes,
            np.ones(n) if confidence is None else np.asarray(confidence, np.float64),
            np.full(n, -1) if class_id is None else np.asarray(class_id, np.int64),
            np.full(n, np.nan) if visibility is None else np.asarray(visibility, np.float64),
            ids if track_id is None else np.asarray(track_id, np.int64),
        )
        for name in cls.__slots__:
            column = getattr(sequence, name)
            if len(column) != n:
                raise ShapeError(f"column {name} has {len(column)} rows", expected=f"{n}")
        return sequence

    @classmethod
    def empty(cls) -> Self:
        """Return a sequence without rows."""
        none = np.zeros(0, np.int64)
        return cls.of(none, none, np.zeros((0, 4)))

    def sorted(self) -> MotSequence:
        """Return the rows by frame, then id."""
        return self[np.lexsort((self.object_id, self.frame))]


def read_mot(path: Path, *, ground_truth: bool = False) -> MotSequence:
    """Read a MOT file.

    Args:
        path: Text file, UTF-8, 6 to 10 columns; an empty one is a video without people.
        ground_truth: Rows with confidence 0 are marks, whose ids may repeat in a frame.

    Returns:
        Its rows, by frame then id.

    Raises:
        InputError: The file cannot be read, a line is not of this form, or an id is twice in a
            frame; with the line number and what was found.
    """
    rows, lines = read_numbers(path, delimiter=",", columns=(6, 10), layout=_COLUMNS)
    if not len(rows):
        return MotSequence.empty()
    width = rows.shape[1]
    check_integers(path, rows, lines, {0: "frame", 1: "id"})
    check(path, lines, rows[:, 0] < 1, "frame {}", rows[:, 0], "frames counted from 1")
    check_sizes(path, rows[:, 4:6], lines)
    if ground_truth and width in (8, 9):
        check_integers(path, rows, lines, {7: "class"})
    sequence = MotSequence.of(
        rows[:, 0].astype(np.int64) - 1,
        rows[:, 1].astype(np.int64),
        np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], axis=1),
        confidence=rows[:, 6] if width > 6 else None,
        class_id=rows[:, 7].astype(np.int64) if width in (8, 9) else None,
        visibility=rows[:, 8] if width == 9 else None,
    )
    counted = sequence.confidence != 0 if ground_truth else np.ones(len(sequence), bool)
    check_duplicates(path, sequence, lines, counted, first_frame=1)
    return sequence.sorted()


def write_mot(path: Path, sequence: MotSequence) -> None:
    """Write a MOT file of 10 columns (9 when classes are known), rows by frame then id.

    Coordinates are rounded to 1/100 pixel and confidences to 1/10000.

    Args:
        path: Where; written atomically.
        sequence: The rows. With a `class_id` other than -1 the ground-truth layout is written.

    Raises:
        RunError: The disk is full.
        InputError: The place cannot be written.
    """
    rows = sequence.sorted()
    labelled = bool((rows.class_id != -1).any())
    visibility = np.where(np.isnan(rows.visibility), 1.0, rows.visibility)
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as file,
    ):
        for i in range(len(rows)):
            head = mot_line(rows.frame[i], rows.object_id[i], rows.xyxy[i], rows.confidence[i])
            tail = f"{rows.class_id[i]},{visibility[i]:.4g}" if labelled else "-1,-1,-1"
            file.write(f"{head},{tail}\n")


def mot_line(frame: int, object_id: int, xyxy: NDArray[np.floating], confidence: float) -> str:
    """Return the first seven columns of a line; `frame` is from 0 here and from 1 in the text."""
    x1, y1, x2, y2 = (float(v) for v in xyxy)
    size = f"{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f}"
    return f"{frame + 1},{object_id},{size},{confidence:.4g}"


def read_numbers(
    path: Path, *, delimiter: str | None, columns: tuple[int, int], layout: str
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read a table of finite numbers, or say which line is not one.

    Args:
        path: Text file.
        delimiter: Between columns; None for blanks.
        columns: Least and greatest number of columns.
        layout: What a line should look like, for the message.

    Returns:
        `(N, C)` values and `(N,)` line numbers from 1; blank lines are skipped.

    Raises:
        InputError: It cannot be read or has a line that does not fit.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist", expected="a text file of tracks") from error
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder", expected="a text file of tracks") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text", expected=f"lines of {layout}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error
    # Not str.splitlines, which also splits at form feeds and other rare marks.
    split = text.split("\n")
    numbered = [(n, line) for n, line in enumerate(split, 1) if line.strip()]
    if not numbered:
        return np.zeros((0, columns[0])), np.zeros(0, np.int64)
    try:
        with warnings.catch_warnings(action="error"):
            values = np.loadtxt(
                [line for _, line in numbered], delimiter=delimiter, ndmin=2, comments=None
            )
        fits = columns[0] <= values.shape[1] <= columns[1] and bool(np.isfinite(values).all())
    except (ValueError, OverflowError, UserWarning):
        fits = False
    if not fits:
        raise _first_bad_line(path, numbered, delimiter, columns, layout)
    return values, np.array([n for n, _ in numbered], np.int64)


def check(
    path: Path,
    lines: NDArray[np.int64],
    bad: NDArray[np.bool_],
    found: str,
    values: NDArray[np.float64],
    expected: str,
) -> None:
    """Raise `InputError` naming the first line where `bad` holds."""
    if bad.any():
        i = int(np.argmax(bad))
        raise InputError(f"{path}:{lines[i]}: {found.format(f'{values[i]:g}')}", expected=expected)


def check_integers(
    path: Path,
    rows: NDArray[np.float64],
    lines: NDArray[np.int64],
    names: dict[int, str],
) -> None:
    """Raise `InputError` where one of the named columns is not a whole number."""
    for column, name in names.items():
        values = rows[:, column]
        bad = (values != np.floor(values)) | (np.abs(values) >= _EXACT)
        check(path, lines, bad, name + " {}", values, "a whole number")


def check_sizes(path: Path, sizes: NDArray[np.float64], lines: NDArray[np.int64]) -> None:
    """Raise `InputError` where a width or height is negative."""
    for column, name in enumerate(("width", "height")):
        values = sizes[:, column]
        check(path, lines, values < 0, f"a box of {name} {{}}", values, "a size of 0 or more")


def check_duplicates(
    path: Path,
    sequence: MotSequence,
    lines: NDArray[np.int64],
    counted: NDArray[np.bool_],
    *,
    first_frame: int,
) -> None:
    """Raise `InputError` when an id is twice in a frame, naming both lines."""
    rows = np.flatnonzero(counted)
    order = rows[np.lexsort((lines[rows], sequence.object_id[rows], sequence.frame[rows]))]
    same = (np.diff(sequence.frame[order]) == 0) & (np.diff(sequence.object_id[order]) == 0)
    if same.any():
        first, second = order[int(np.argmax(same)) :][:2]
        raise InputError(
            f"{path}:{lines[second]}: id {sequence.object_id[second]} is twice in frame "
            f"{sequence.frame[second] + first_frame} (first in line {lines[first]}; "
            f"{int(same.sum())} such lines in all)",
            expected="one box per id and frame",
            fix="give every person an id of their own; for plain detections run a tracker first",
        )


def with_ids(sequence: MotSequence, object_id: NDArray[np.int64]) -> MotSequence:
    """Return the same boxes under other ids (`track_id` follows)."""
    return replace(sequence, object_id=object_id, track_id=object_id)


def _first_bad_line(
    path: Path,
    numbered: list[tuple[int, str]],
    delimiter: str | None,
    columns: tuple[int, int],
    layout: str,
) -> InputError:
    usual = 0
    low, high = columns
    separator = "commas" if delimiter == "," else "blanks"
    span = str(low) if low == high else f"{low} to {high}"
    for number, line in numbered:
        cells = [cell.strip() for cell in line.split(delimiter)]
        shown = line.strip()[:80]
        if not low <= len(cells) <= high:
            return InputError(
                f"{path}:{number}: {len(cells)} columns in {shown!r}",
                expected=f"{span} columns between {separator}: {layout}",
            )
        for column, cell in enumerate(cells, 1):
            if not _is_number(cell):
                return InputError(
                    f"{path}:{number}: column {column} is {cell[:40]!r}",
                    expected=f"a finite number; a line is {layout}",
                )
        if usual and len(cells) != usual:
            return InputError(
                f"{path}:{number}: {len(cells)} columns", expected=f"{usual} as in the lines before"
            )
        usual = len(cells)
    return InputError(f"{path} is not a table of numbers", expected=f"lines of {layout}")


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell))) and "_" not in cell
    except ValueError:
        return False
