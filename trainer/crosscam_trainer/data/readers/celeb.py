"""Celeb-reID and Celeb-reID-light (Huang et al., IJCNN 2019; TCSVT 2020): street snapshots."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from crosscam_trainer.data.build import Row, Rows
from crosscam_trainer.data.readers.names import Match, folder_rows
from crosscam_trainer.data.scan import missing
from crosscam_trainer.data.types import EvaluationProtocol

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_trainer.data.findings import Findings

NAMES = ("Celeb-reID", "celeb-reid", "Celeb-ReID")
LIGHT_NAMES = ("Celeb-reID-light", "celeb-reid-light", "Celeb-ReID-light")
FOLDERS = {"train": "train", "query": "query", "gallery": "gallery"}
NO_CAMERA = "unknown"
NAME = re.compile(r"(?P<person>\d+)_(?P<index>\d+)_(?P<other>\d+)\..+")


def read(root: Path, findings: Findings) -> Rows:
    """Read ``<person>_<number>_<without meaning>.jpg``.

    There are no cameras and no outfit labels. People of train and test have the same numbers and
    are different, so their names tell the half.
    """
    return _read(root, findings, outfit_per_picture=False)


def read_light(root: Path, findings: Findings) -> Rows:
    """As `read`; in the light set no two pictures of a person show the same outfit."""
    return _read(root, findings, outfit_per_picture=True)


def _read(root: Path, findings: Findings, *, outfit_per_picture: bool) -> Rows:
    rows = Rows()
    if missing(root, tuple(FOLDERS.values()), findings):
        return rows
    expected = "1_2_0.jpg (person, number, a digit without meaning)"

    def row(path: Path, match: Match) -> Row:
        half = "train" if path.parent.name == FOLDERS["train"] else "test"
        # Query and gallery count their pictures separately.
        outfit = f"{path.parent.name}-{match['index']}" if outfit_per_picture else None
        return Row(path, f"{half}-{match['person']}", NO_CAMERA, outfit)

    for split, name in FOLDERS.items():
        rows.add(split, folder_rows(root / name, root, NAME, row, findings, expected))
    return rows


def protocols(_cameras: dict[str, int]) -> tuple[EvaluationProtocol, ...]:
    """Everything in the gallery counts: there is no camera to leave out."""
    return (EvaluationProtocol("standard", same_view="none"),)
