"""Any folder of pictures whose paths follow a pattern."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crosscam_deploy.pictures.files import images_below
from crosscam_deploy.pictures.pattern import FIELDS, PathPattern
from crosscam_deploy.pictures.pattern import parse as parse_pattern
from crosscam_kernels.errors import UsageError
from crosscam_trainer.data.build import STANDARD, Row, Rows
from crosscam_trainer.data.readers.celeb import NO_CAMERA
from crosscam_trainer.data.readers.ltcc import CLOTHES_CHANGING
from crosscam_trainer.data.scan import relative
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
    other: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
    placed: list[tuple[str | None, Row]] = []
    for path in images_below(root):
        name = relative(path, root)
        fields = pattern.match(name)
        if fields is None:
            wrong.append(name)
            continue
        if (otherwise := pattern.other(name)) is not None:
            other[name] = fields, otherwise
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
        fix=_fix(layout.pattern, wrong),
    )
    _note_ambiguous(other, findings)
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


def _fix(text: str, wrong: list[str]) -> str:
    """Say what to do about names that do not fit: often only their endings differ."""
    base, dot, _ = text.rpartition(".")
    any_ending = f"{base}.{{ext}}"
    if dot and "/" not in text[len(base) :] and all(map(parse_pattern(any_ending).match, wrong)):
        return f"the pattern {any_ending} takes all endings"
    return "correct the pattern, or move pictures that do not belong to the set away"


def _note_ambiguous(
    other: dict[str, tuple[dict[str, str], dict[str, str]]], findings: Findings
) -> None:
    """Warn where a label could as well be another, longer text that stands in several names.

    ``hall_2_07.png`` as ``{camera}_{view}.png`` is of the camera "hall", or of "hall_2". A longer
    text that is different in every picture (a frame) is no label, and nothing is said.
    """
    for name in FIELDS:
        longer = {path: (a[name], b[name]) for path, (a, b) in other.items() if a.get(name)}
        longer = {path: (a, b) for path, (a, b) in longer.items() if a != b}
        if not longer or 2 * len({b for _, b in longer.values()}) > len(longer):
            continue
        short, long = next(iter(longer.values()))
        findings.files(
            "warning",
            "ambiguous-name",
            f"read as {name} {short!r}, where it could be {name} {long!r}",
            list(longer),
            fix="nothing if that is right; else say more in the pattern, such as {view:digits}",
        )


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
