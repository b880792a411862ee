"""What `crosscam simulate --crops` and `crosscam simulate people` write: all labels are the truth.

Sets of the people generator also have a mask beside each picture, in the classes of `masks.LIP`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from crosscam_trainer.data.build import STANDARD, Row, Rows
from crosscam_trainer.data.readers.ltcc import CLOTHES_CHANGING
from crosscam_trainer.data.readers.market import FOLDERS, MARKET
from crosscam_trainer.data.readers.names import Match, named_rows
from crosscam_trainer.data.scan import images, missing

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_trainer.data.findings import Findings
    from crosscam_trainer.data.types import EvaluationProtocol

PEOPLE, CROPS, MASKS = "people.json", "crops", "masks"
_EXPECTED = "0002_c1s1_000451_00.jpg (person, camera, day, frame)"


def read(root: Path, findings: Findings) -> Rows:
    """Read ``crops/`` (names of Market-1501, the sequence is the day) with ``people.json``.

    Days on which a person wears the same things are one outfit.
    """
    needed = (PEOPLE, *(f"{CROPS}/{name}" for name in FOLDERS.values()))
    if missing(root, needed, findings):
        return Rows()
    try:
        wardrobe = _wardrobe(json.loads((root / PEOPLE).read_text(encoding="utf-8")))
        cameras = _cameras(root)
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        findings.add(
            "error",
            "bad-file",
            f"{PEOPLE} or site.yaml cannot be read ({type(error).__name__}: {str(error)[:120]})",
            expected="the files that `crosscam simulate` writes",
            fix="render the site again",
        )
        return Rows()
    rows = Rows()
    unknown: list[str] = []
    masked = (root / MASKS).is_dir()

    def row(path: Path, match: Match) -> Row | None:
        camera = cameras.get(f"c{match['camera']}")
        outfit = wardrobe.get((int(match["person"]), int(match["sequence"])))
        if camera is None or outfit is None:
            unknown.append(path.name)
            return None
        frame = int(match["frame"]) - 1  # names count from 1
        mask = root / MASKS / path.relative_to(root).with_suffix(".png") if masked else None
        return Row(
            path, match["person"], camera, outfit[0], frame=frame, mask=mask, caption=outfit[1]
        )

    for split, name in FOLDERS.items():
        # A site of a few people can leave a split empty.
        pictures = images(root / CROPS / name)
        rows.add(split, named_rows(pictures, root, MARKET, row, findings, _EXPECTED))
    findings.files(
        "error",
        "unknown-label",
        f"of people, days or cameras that {PEOPLE} and site.yaml do not have",
        unknown,
        fix="render the site again",
    )
    return rows


def protocols(_cameras: dict[str, int]) -> tuple[EvaluationProtocol, ...]:
    """Standard, and clothes-changing (without queries when there is only one day)."""
    return (STANDARD, CLOTHES_CHANGING)


def _wardrobe(people: dict[str, Any]) -> dict[tuple[int, int], tuple[str, str]]:
    """Return the name of the outfit and the caption of each ``(person, day)``, days from 1."""
    worn: dict[tuple[int, int], tuple[str, str]] = {}
    for person in people["people"]:
        outfits: dict[str, str] = {}
        for day in person["days"]:
            key = json.dumps(day["clothes"], sort_keys=True)
            name = outfits.setdefault(key, str(len(outfits) + 1))
            worn[int(person["id"]), int(day["day"])] = (name, str(day["caption"]))
    return worn


def _cameras(root: Path) -> dict[str, str]:
    """Names of the cameras by the code in crop names: ``c1`` is the first of ``site.yaml``."""
    file = root / "site.yaml"
    if not file.is_file():
        file = root / "day1" / "site.yaml"
    site = yaml.safe_load(file.read_text(encoding="utf-8"))
    return {f"c{number}": str(camera["id"]) for number, camera in enumerate(site["cameras"], 1)}
