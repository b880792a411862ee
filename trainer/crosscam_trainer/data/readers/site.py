"""Crops of one's own cameras, as `crosscam harvest` writes them: a table and pictures.

`dataset.json` says what the labels mean, `crops.jsonl` has one object a line, pictures are
anywhere below the folder. The format is in docs/reference/datasets.md; other programs that make
labelled crops may write it as well.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from crosscam_trainer.data.build import STANDARD, Row, Rows
from crosscam_trainer.data.scan import missing
from crosscam_trainer.data.types import EvaluationProtocol

if TYPE_CHECKING:
    from crosscam_trainer.data.findings import Findings

INFO, TABLE = "dataset.json", "crops.jsonl"
NAMES = ("harvest",)


class SiteInfo(BaseModel):
    """`dataset.json`.

    Attributes:
        schema_version: 1.
        name: For logs and model cards.
        labels: Whether `person` holds inside its camera only ("intra-camera"), or everywhere.
        crosscam_version: That wrote it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1]
    name: Annotated[str, Field(min_length=1)]
    labels: Literal["intra-camera", "global"]
    crosscam_version: str = ""


class Crop(BaseModel):
    """One line of `crops.jsonl`.

    Attributes:
        file: Picture, relative to the folder, with forward slashes.
        camera: Name.
        person: Name, in the sense of `SiteInfo.labels`; None for a distractor of the gallery.
        split: Which split.
        clothes: Name of the outfit, unique with the person.
        tracklet: Name, unique in the camera.
        frame: Frame of the camera's video, from 0.
        time_ns: UTC nanoseconds of that frame.
        quality: How well the person is seen, in (0, 1].
        mask: PNG of class indices, relative to the folder.
        caption: The person in words.
        true_person: With intra-camera labels: who it really is, where somebody has looked.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Annotated[str, Field(min_length=1)]
    camera: Annotated[str, Field(min_length=1)]
    person: Annotated[str, Field(min_length=1)] | None
    split: Literal["train", "query", "gallery"] = "train"
    clothes: str | None = None
    tracklet: str | None = None
    frame: Annotated[int, Field(ge=0)] | None = None
    time_ns: int | None = None
    quality: Annotated[float, Field(gt=0, le=1)] | None = None
    mask: str | None = None
    caption: str | None = None
    true_person: str | None = None

    @field_validator("file", "mask")
    @classmethod
    def _inside(cls, value: str | None) -> str | None:
        if value is not None:
            path = PurePosixPath(value)
            if path.is_absolute() or ".." in path.parts or "\\" in value:
                raise ValueError("a path relative to the folder, with forward slashes")
        return value


def read(root: Path, findings: Findings) -> Rows:
    """Read the table."""
    rows = Rows()
    if missing(root, (INFO, TABLE), findings):
        return rows
    info = _info(root / INFO, findings)
    if info is None:
        return rows
    crops = _crops(root / TABLE, findings)
    if info.labels == "intra-camera":
        rows.truth = {}
    for crop in crops:
        rows[crop.split].append(_row(root, crop))
        if rows.truth is not None and crop.split == "train" and crop.true_person is not None:
            rows.truth[crop.camera, str(crop.person)] = crop.true_person
    _check_files(root, crops, findings)
    return rows


def protocols(_cameras: dict[str, int]) -> tuple[EvaluationProtocol, ...]:
    """Standard."""
    return (STANDARD,)


def _info(file: Path, findings: Findings) -> SiteInfo | None:
    try:
        return SiteInfo.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        what = _first(error) if isinstance(error, ValidationError) else str(error)
        findings.add(
            "error",
            "bad-file",
            f"{file.name}: {what}",
            expected='{"schema_version": 1, "name": …, "labels": "intra-camera" or "global"}',
            fix="see docs/reference/datasets.md",
        )
        return None


def _crops(file: Path, findings: Findings) -> list[Crop]:
    crops: list[Crop] = []
    bad: list[str] = []
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                crop = Crop.model_validate_json(line)
            except ValidationError as error:
                bad.append(f"{file.name}:{number} ({_first(error)})")
                continue
            if crop.person is None and crop.split != "gallery":
                bad.append(f"{file.name}:{number} (no person, but in {crop.split})")
                continue
            crops.append(crop)
    findings.files(
        "error",
        "bad-line",
        "cannot be read",
        bad,
        expected=json.dumps({"file": "crops/Hall/17/000123.jpg", "camera": "Hall", "person": "17"}),
        fix="see docs/reference/datasets.md",
        noun="line",
    )
    return crops


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]


def _row(root: Path, crop: Crop) -> Row:
    return Row(
        path=root / crop.file,
        person=crop.person,
        camera=crop.camera,
        clothes=crop.clothes,
        tracklet=None if crop.tracklet is None else f"{crop.camera}/{crop.tracklet}",
        frame=crop.frame,
        mask=None if crop.mask is None else root / crop.mask,
        quality=crop.quality,
        caption=crop.caption,
    )


def _check_files(root: Path, crops: list[Crop], findings: Findings) -> None:
    named = [name for crop in crops for name in (crop.file, crop.mask) if name is not None]
    findings.files(
        "error",
        "missing-image",
        f"listed in {TABLE} but not there",
        [name for name in named if not (root / name).is_file()],
        expected="every listed picture and mask",
        fix="copy the whole folder, or harvest again",
    )
