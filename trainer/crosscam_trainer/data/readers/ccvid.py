"""CCVID (Gu et al., CVPR 2022): tracklets of people in changing clothes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from crosscam_trainer.data.build import Row, Rows
from crosscam_trainer.data.scan import images, missing
from crosscam_trainer.data.types import EvaluationProtocol

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_trainer.data.findings import Findings

NAMES = ("CCVID", "ccvid")
LISTS = {"train": "train.txt", "query": "query.txt", "gallery": "gallery.txt"}
_TRACKLET = re.compile(r"session(?P<session>[123])/(?P<person>[^/_]+)_(?P<view>\d+)")
# Session 3 was recorded elsewhere: its twelve views are other cameras.
_VIEWS = 12
_EXPECTED = "session1/001_01 001 u0_l0_s0_c0_a0 (folder, person, outfit)"


def read(root: Path, findings: Findings) -> Rows:
    """Read the three lists of tracklets; one row a picture."""
    rows = Rows()
    if missing(root, tuple(LISTS.values()), findings):
        return rows
    for split, name in LISTS.items():
        rows.add(split, _listed(root / name, root, findings))
    return rows


def protocols(_cameras: dict[str, int]) -> tuple[EvaluationProtocol, ...]:
    """Clothes-changing and general, over tracklets."""
    return (
        EvaluationProtocol("clothes-changing", clothes="changed", unit="tracklet"),
        EvaluationProtocol("standard", unit="tracklet"),
    )


def _listed(file: Path, root: Path, findings: Findings) -> list[Row]:
    rows: list[Row] = []
    malformed: list[str] = []
    lost: list[str] = []
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        match = _TRACKLET.fullmatch(fields[0].rstrip("/")) if len(fields) == 3 else None
        if match is None:
            malformed.append(f"{file.name}:{number}")
            continue
        folder = root / fields[0]
        pictures = list(images(folder)) if folder.is_dir() else []
        if not pictures:
            lost.append(fields[0])
        view = int(match["view"]) + (_VIEWS if match["session"] == "3" else 0)
        rows += [
            Row(path, fields[1], f"c{view}", fields[2], match.group(), frame=frame)
            for frame, path in enumerate(pictures)
        ]
    findings.files(
        "error", "bad-line", "cannot be read", malformed, expected=_EXPECTED, noun="line"
    )
    findings.files(
        "error",
        "missing-image",
        f"listed in {file.name} but not there, or empty",
        lost,
        expected="a folder of pictures for each tracklet",
        fix="unpack the whole archive",
    )
    return rows
