"""PRCC (Yang et al., TPAMI 2021): cameras A and B in the same clothes, C in others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from crosscam_trainer.data.build import Row, Rows
from crosscam_trainer.data.readers.names import Match, folder_rows
from crosscam_trainer.data.scan import missing, relative, subfolders
from crosscam_trainer.data.types import EvaluationProtocol

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_trainer.data.findings import Findings

NAMES = ("prcc", "PRCC", "prcc/rgb", "PRCC/rgb", "rgb")
_TRAIN = re.compile(r"(?P<camera>[ABC]).*\..+")
_ANY = re.compile(r"(?P<name>.+)\..+")
_TRIALS = 10


def read(root: Path, findings: Findings) -> Rows:
    """Read ``train/<person>/<camera>….jpg`` and ``test/<camera>/<person>/….jpg``.

    Training is ``rgb/train`` only, as in Simple-CCReID and the results that compare with it;
    ``rgb/val`` holds more pictures of the same people and is left alone.
    """
    rows = Rows()
    if missing(root, ("train", "test/A", "test/B", "test/C"), findings):
        return rows
    for folder in subfolders(root / "train"):
        expected = "A_cropped_rgb001.jpg (the first letter is the camera: A, B or C)"

        def row(path: Path, match: Match) -> Row:
            camera = match["camera"]
            return Row(path, path.parent.name, camera, _outfit(camera))

        rows.add("train", folder_rows(folder, root, _TRAIN, row, findings, expected))
    for camera in "ABC":
        split = "gallery" if camera == "A" else "query"
        people = subfolders(root / "test" / camera)
        if not people:
            findings.add(
                "error",
                "empty-folder",
                f"{relative(root / 'test' / camera, root)} holds no folders of people",
                fix="unpack the archive again",
            )
        for folder in people:

            def seen(path: Path, _match: Match, camera: str = camera) -> Row:
                return Row(path, path.parent.name, camera, _outfit(camera))

            expected = "any picture"
            rows.add(split, folder_rows(folder, root, _ANY, seen, findings, expected))
    return rows


def protocols(cameras: dict[str, int]) -> tuple[EvaluationProtocol, ...]:
    """Query C (other clothes) and B (same clothes) against A, multi-shot and single-shot.

    The paper draws one picture of each person of camera A, ten times ("single-shot"); Simple-CCReID
    ranks against all of them. Published figures mix both, so both are given under their own names.
    """
    found = []
    for suffix, shots, trials in (("", "all", 1), (", single-shot", "one", _TRIALS)):
        for name, camera in (("clothes-changing", "C"), ("same-clothes", "B")):
            if camera in cameras and "A" in cameras:
                found.append(
                    EvaluationProtocol(
                        name + suffix,
                        query_cameras=(cameras[camera],),
                        gallery_cameras=(cameras["A"],),
                        gallery_shots="all" if shots == "all" else "one",
                        trials=trials,
                    )
                )
    return tuple(found)


def _outfit(camera: str) -> str:
    return "C" if camera == "C" else "AB"
