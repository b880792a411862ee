"""LaST (Shu et al., TCSVT 2021): people in films, over long times."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from crosscam_trainer.data.build import Row, Rows
from crosscam_trainer.data.readers.celeb import NO_CAMERA
from crosscam_trainer.data.readers.names import Match, folder_rows
from crosscam_trainer.data.scan import missing
from crosscam_trainer.data.types import EvaluationProtocol

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_trainer.data.findings import Findings

NAMES = ("last", "LaST", "LAST")
FOLDERS = {
    "train": "train",
    "val_query": "val/query",
    "val_gallery": "val/gallery",
    "query": "test/query",
    "gallery": "test/gallery",
}
_NAME = re.compile(r"(?P<person>\d+)_(?:.*_)?(?P<clothes>[^_]+)\.[^.]+")


def read(root: Path, findings: Findings) -> Rows:
    """Read ``<person>_…_<outfit>.jpg`` in folders per person; only training has outfits."""
    rows = Rows()
    if missing(root, tuple(FOLDERS.values()), findings):
        return rows
    expected = "000000_000000_0.jpg (person first, outfit last)"
    for split, name in FOLDERS.items():
        half = name.split("/", 1)[0]

        def row(path: Path, match: Match, half: str = half) -> Row:
            outfit = match["clothes"] if half == "train" else None
            return Row(path, f"{half}-{match['person']}", NO_CAMERA, outfit)

        folder = root / name
        rows.add(split, folder_rows(folder, root, _NAME, row, findings, expected, below=True))
    return rows


def protocols(_cameras: dict[str, int]) -> tuple[EvaluationProtocol, ...]:
    """Everything in the gallery counts: there is no camera to leave out."""
    return (EvaluationProtocol("standard", same_view="none"),)
