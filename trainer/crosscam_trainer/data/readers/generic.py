"""Any folder of pictures whose paths follow a pattern."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crosscam_kernels.errors import UsageError
from crosscam_trainer.data.build import STANDARD, Row, Rows
from crosscam_trainer.data.pattern import PathPattern
from crosscam_trainer.data.pattern import parse as parse_pattern
from crosscam_trainer.data.readers.celeb import NO_CAMERA
from crosscam_trainer.data.readers.ltcc import CLOTHES_CHANGING
from crosscam_trainer.data.scan import images_below, relative
from crosscam_trainer.data.splits import PersonSplit
from crosscam_trainer.data.types import EvaluationProtocol

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_trainer.data.findings import Findings

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "bounding_box_train": "train",
    "query": "query",
    "probe": "query",
    "gallery": "gallery",
    "test": "gallery",
    "bounding_box_test": "gallery",
}
"""What `{split}` may be, and which split it means."""


@dataclass(frozen=True, slots=True)
class GenericLayout:
    """How to read a folder.

    Attributes:
        pattern: See `pattern.parse`.
        split: How people are divided when the pattern has no ``{split}``.
        intra_camera: The same name in two cameras says nothing: labels hold inside a camera. Then
            nothing can be tested, and without ``{split}`` everybody is trained on.
    """

    pattern: str
    split: PersonSplit = field(default_factory=PersonSplit)
    intra_camera: bool = False

    def parsed(self) -> PathPattern:
        """Parse the pattern.

        Raises:
            UsageError: It is wrong, or does not fit the rest.
        """
        parsed = parse_pattern(self.pattern)
        if "camera" not in parsed.fields:
            for what, asked in (
                ("every picture as a query", self.split.query == "all"),
                ("queries by camera", self.split.query == "cameras"),
                ("labels inside cameras", self.intra_camera),
            ):
                if asked:
                    raise UsageError(
                        f"{what}, but pattern {self.pattern!r} has no camera",
                        expected="the field {camera}",
                    )
        return parsed


def read(layout: GenericLayout, root: Path, findings: Findings) -> Rows:
    """Read every picture below the root.

    Args:
        layout: How.
        root: Folder.
        findings: Gets what is wrong.
    """
    pattern = layout.parsed()
    wrong: list[str] = []
    strange: list[str] = []
    placed: list[tuple[str | None, Row]] = []
    for path in images_below(root):
        name = relative(path, root)
        fields = pattern.match(name)
        if fields is None:
            wrong.append(name)
            continue
        split = fields.get("split")
        if split is not None and split.lower() not in SPLIT_NAMES:
            strange.append(f"{name} ({split})")
            continue
        part = None if split is None else SPLIT_NAMES[split.lower()]
        placed.append((part, _row(path, fields)))
    findings.files(
        "error",
        "wrong-name",
        f"not fitting the pattern {layout.pattern}",
        wrong,
        expected=layout.pattern,
        fix="correct the pattern, or move pictures that do not belong to the set away",
    )
    findings.files(
        "error",
        "unknown-split",
        "with an unknown {split}",
        strange,
        expected=", ".join(SPLIT_NAMES),
    )
    if not placed:
        if not wrong:
            findings.add(
                "error",
                "empty-folder",
                f"{root} holds no pictures",
                expected=layout.pattern,
                fix="give the folder that the pattern begins in",
            )
        return Rows()
    rows = Rows()
    if "split" in pattern.fields:
        for part, row in placed:
            rows[part or "train"].append(row)
    elif layout.intra_camera:
        rows.add("train", (row for _, row in placed))
    else:
        rows = layout.split.split([row for _, row in placed], root)
    if layout.intra_camera:
        rows.truth = {}
    return rows


def protocols(layout: GenericLayout, _cameras: dict[str, int]) -> tuple[EvaluationProtocol, ...]:
    """Standard, and clothes-changing where outfits are known; without cameras everything counts."""
    fields = layout.parsed().fields
    if "camera" not in fields:
        return (EvaluationProtocol("standard", same_view="none"),)
    return (STANDARD, CLOTHES_CHANGING) if "clothes" in fields else (STANDARD,)


def _row(path: Path, fields: dict[str, str]) -> Row:
    frame = fields.get("frame", "")
    camera, tracklet = fields.get("camera", NO_CAMERA), fields.get("tracklet")
    return Row(
        path=path,
        person=fields["person"],
        camera=camera,
        clothes=fields.get("clothes"),
        tracklet=None if tracklet is None else f"{fields['person']}/{camera}/{tracklet}",
        frame=int(frame) if frame.isascii() and frame.isdigit() else None,
    )
