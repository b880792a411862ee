"""A contact sheet: some people of a set, one a row, as different cameras show them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np

from crosscam_kernels.errors import InputError
from crosscam_trainer.people.writing import TABLE

if TYPE_CHECKING:
    from pathlib import Path

_GAP = 2


def contact_sheet(
    root: Path, out: Path, *, people: int = 12, columns: int = 12, height: int = 128
) -> None:
    """Write the first people of a set as a PNG or JPEG.

    Args:
        root: A finished set.
        out: File to write; its name says the format.
        people: How many rows.
        columns: Pictures in a row.
        height: Of a picture, pixels; two fifths as wide, as most crops are.

    Raises:
        InputError: The set or its pictures cannot be read.
    """
    try:
        lines = (root / TABLE).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{root} has no {TABLE}", expected="a finished set") from error
    by_person: dict[int, list[str]] = {}
    for line in lines:
        row = json.loads(line)
        by_person.setdefault(row["person"], []).append(row["file"])
    width = height * 2 // 5
    rows = min(people, len(by_person))
    shape = (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3)
    sheet = np.full(shape, 255, np.uint8)
    for i, person in enumerate(sorted(by_person)[:people]):
        for j, name in enumerate(by_person[person][:columns]):
            image = cv2.imread(str(root / name))
            if image is None:
                raise InputError(f"{root / name} cannot be read", expected="a picture")
            y, x = _GAP + i * (height + _GAP), _GAP + j * (width + _GAP)
            sheet[y : y + height, x : x + width] = cv2.resize(
                image, (width, height), interpolation=cv2.INTER_AREA
            )
    cv2.imwrite(str(out), sheet)
