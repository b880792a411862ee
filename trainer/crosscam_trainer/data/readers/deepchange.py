"""DeepChange (Xu and Zhu, ICCV 2023): 17 outdoor cameras over twelve months."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from crosscam_trainer.data.build import Row, Rows
from crosscam_trainer.data.readers.names import Match, named_rows
from crosscam_trainer.data.scan import missing
from crosscam_trainer.data.types import EvaluationProtocol

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_trainer.data.findings import Findings

NAMES = ("DeepChangeDataset", "DeepChange", "deepchange")
FOLDERS = {
    "train": "train-set",
    "val_query": "val-set-query",
    "val_gallery": "val-set-gallery",
    "query": "test-set-query",
    "gallery": "test-set-gallery",
}
_NAME = re.compile(r"P(?P<person>\d+)_C(?P<camera>\d+)_(?P<clothes>[^_]+)(?:_.*)?\.[^.]+")


def read(root: Path, findings: Findings) -> Rows:
    """Read the five lists ``<folder>-bbox.txt`` with lines ``<file>,<tracklet>``."""
    rows = Rows()
    lists = tuple(f"{name}-bbox.txt" for name in FOLDERS.values())
    if missing(root, (*FOLDERS.values(), *lists), findings):
        return rows
    expected = "P1_C1_T1_….jpg (person, camera, outfit)"
    for split, name in FOLDERS.items():
        tracklets = _listed(root / f"{name}-bbox.txt", root / name, findings)

        # Nothing says that people of the three parts are numbered together.
        half = name.split("-", 1)[0]

        def row(
            path: Path,
            match: Match,
            tracklets: dict[Path, str] = tracklets,
            half: str = half,
        ) -> Row:
            person, camera = f"{half}-P{match['person']}", f"C{int(match['camera'])}"
            return Row(path, person, camera, match["clothes"], tracklets[path])

        rows.add(split, named_rows(tracklets, root, _NAME, row, findings, expected))
    return rows


def protocols(_cameras: dict[str, int]) -> tuple[EvaluationProtocol, ...]:
    """The same camera counts when it is another tracklet (papers of the set)."""
    return (EvaluationProtocol("standard", same_view="tracklet"),)


def _listed(file: Path, folder: Path, findings: Findings) -> dict[Path, str]:
    found: dict[Path, str] = {}
    malformed: list[str] = []
    lost: list[str] = []
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        name, comma, tracklet = line.rpartition(",")
        if not comma or not name.strip() or not tracklet.strip():
            malformed.append(f"{file.name}:{number}")
            continue
        path = folder / name.strip()
        if path.is_file():
            found[path] = tracklet.strip()
        else:
            lost.append(f"{folder.name}/{name.strip()}")
    findings.files(
        "error",
        "bad-line",
        "cannot be read",
        malformed,
        expected="<file>.jpg,<tracklet>",
        noun="line",
    )
    findings.files(
        "error",
        "missing-image",
        f"listed in {file.name} but not there",
        lost,
        expected=f"every listed picture in {folder.name}/",
        fix="unpack the whole archive",
    )
    return found
