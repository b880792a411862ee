"""VC-Clothes (Wan et al., CVPR workshops 2020): rendered in a game, four cameras."""

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

NAMES = ("VC-Clothes", "vc-clothes", "VC_Clothes", "VCClothes", "vcclothes")
FOLDERS = {"train": "train", "query": "query", "gallery": "gallery"}
NAME = re.compile(r"(?P<person>\d+)-(?P<camera>\d+)-(?P<clothes>\d+)-(?P<index>\d+)\..+")


def read(root: Path, findings: Findings) -> Rows:
    """Read ``<person>-<camera>-<outfit>-<number>.jpg``."""
    rows = Rows()
    if missing(root, tuple(FOLDERS.values()), findings):
        return rows
    expected = "0001-01-02-05.jpg (person, camera, outfit, number)"

    def row(path: Path, match: Match) -> Row:
        return Row(path, match["person"], f"c{int(match['camera'])}", match["clothes"])

    for split, name in FOLDERS.items():
        rows.add(split, folder_rows(root / name, root, NAME, row, findings, expected))
    return rows


def protocols(cameras: dict[str, int]) -> tuple[EvaluationProtocol, ...]:
    """All cameras; the same clothes (cameras 2 and 3); other clothes (cameras 3 and 4)."""
    found = [STANDARD]
    for name, wanted in (("clothes-changing", ("c3", "c4")), ("same-clothes", ("c2", "c3"))):
        if all(camera in cameras for camera in wanted):
            pair = tuple(cameras[camera] for camera in wanted)
            found.append(EvaluationProtocol(name, query_cameras=pair, gallery_cameras=pair))
    return tuple(found)
