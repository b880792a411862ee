"""Market-1501 and the sets that took over its layout: DukeMTMC-reID, CUHK03-NP.

``bounding_box_train``, ``query``, ``bounding_box_test`` with names ``<person>_c<camera>…``.
Market-1501: Zheng et al., ICCV 2015. DukeMTMC-reID was withdrawn by its authors in 2019: there is a
reader for those who have it lawfully, and nothing here fetches it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from crosscam_trainer.data.build import Row, Rows
from crosscam_trainer.data.readers.names import Match, folder_rows
from crosscam_trainer.data.scan import missing

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_trainer.data.findings import Findings

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
NAMES = ("Market-1501-v15.09.15", "Market-1501", "market1501", "Market1501")
DUKE_NAMES = ("DukeMTMC-reID", "dukemtmc-reid", "dukemtmcreid")
MARKET = re.compile(r"(?P<person>-1|\d+)_c(?P<camera>\d+)s(?P<sequence>\d+)_(?P<frame>\d+)_\d+\..+")
DUKE = re.compile(r"(?P<person>-1|\d+)_c(?P<camera>\d+)_f(?P<frame>\d+)\..+")
_SHORT = re.compile(r"(?P<person>-1|\d+)_c(?P<camera>\d+)_.+")
_JUNK, _NOBODY = -1, 0


def read_market(root: Path, findings: Findings) -> Rows:
    """Read Market-1501: person -1 is junk, 0 a distractor of the gallery."""
    return read_layout(
        root, MARKET, findings, "0002_c1s1_000451_03.jpg (person, camera, sequence, frame, box)"
    )


def read_duke(root: Path, findings: Findings) -> Rows:
    """Read DukeMTMC-reID; its distractors have numbers of their own."""
    return read_layout(root, DUKE, findings, "0002_c1_f0044158.jpg (person, camera, frame)")


def read_short(root: Path, findings: Findings) -> Rows:
    """Read sets in this layout with anything behind the camera, like CUHK03-NP."""
    return read_layout(root, _SHORT, findings, "0003_c1_21.png (person, camera, number)")


def read_layout(root: Path, pattern: re.Pattern[str], findings: Findings, expected: str) -> Rows:
    """Read the three folders with names of a form.

    Args:
        root: Folder that holds them.
        pattern: With the groups ``person``, ``camera`` and, if there are any, ``frame``.
        findings: Gets what is wrong.
        expected: An example of a right name.
    """
    rows = Rows()
    if missing(root, tuple(FOLDERS.values()), findings):
        return rows
    strange: list[str] = []

    def row(path: Path, match: Match) -> Row | None:
        person = int(match["person"])
        folder = path.parent.name
        if person == _JUNK:
            rows.junk += 1
            return None
        if person == _NOBODY and folder != FOLDERS["gallery"]:
            strange.append(f"{folder}/{path.name}")
            return None
        frame = match.groupdict().get("frame")
        return Row(
            path=path,
            person=None if person == _NOBODY else match["person"],
            camera=f"c{int(match['camera'])}",
            frame=None if frame is None else int(frame),
        )

    for split, name in FOLDERS.items():
        rows.add(split, folder_rows(root / name, root, pattern, row, findings, expected))
    findings.files(
        "error",
        "misplaced-distractor",
        "of person 0 outside the gallery",
        strange,
        expected=f"distractors only in {FOLDERS['gallery']}",
        fix="unpack the archive again",
    )
    return rows
