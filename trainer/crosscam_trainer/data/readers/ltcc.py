"""LTCC (Qian et al., ACCV 2020): indoor cameras, people in several outfits over months."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from crosscam_trainer.data.build import STANDARD, Row, Rows
from crosscam_trainer.data.readers.names import Match, folder_rows
from crosscam_trainer.data.scan import missing
from crosscam_trainer.data.types import EvaluationProtocol

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_trainer.data.findings import Findings

NAMES = ("LTCC_ReID", "LTCC", "ltcc")
FOLDERS = {"train": "train", "query": "query", "gallery": "test"}
CLOTHES_CHANGING = EvaluationProtocol("clothes-changing", clothes="changed")
NAME = re.compile(r"(?P<person>\d+)_(?P<clothes>\d+)_c(?P<camera>\d+)_(?P<frame>\d+)\..+")


def read(root: Path, findings: Findings) -> Rows:
    """Read ``<person>_<outfit>_c<camera>_<frame>.png``; outfits are numbered in each person."""
    rows = Rows()
    if missing(root, tuple(FOLDERS.values()), findings):
        return rows
    expected = "094_1_c9_015833.png (person, outfit, camera, frame)"

    def row(path: Path, match: Match) -> Row:
        return Row(
            path,
            match["person"],
            f"c{int(match['camera'])}",
            match["clothes"],
            frame=int(match["frame"]),
        )

    for split, name in FOLDERS.items():
        rows.add(split, folder_rows(root / name, root, NAME, row, findings, expected))
    return rows


def protocols(_cameras: dict[str, int]) -> tuple[EvaluationProtocol, ...]:
    """Clothes-changing, and general (standard)."""
    return (CLOTHES_CHANGING, STANDARD)
