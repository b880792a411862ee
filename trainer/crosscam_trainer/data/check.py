"""Is a data set complete and sound? What was found against what it should hold."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_trainer.data.check_pictures import Pictures, check_pictures
from crosscam_trainer.data.figures import PUBLISHED, figures
from crosscam_trainer.data.protocol import answerable, sides
from crosscam_trainer.data.registry import read
from crosscam_trainer.data.types import DISTRACTOR

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from crosscam_trainer.data.findings import Findings
    from crosscam_trainer.data.readers.generic import GenericLayout
    from crosscam_trainer.data.types import ReIDData


@dataclass(frozen=True, slots=True)
class Expectation:
    """What one figure should be.

    Attributes:
        number: Published.
        sure: Whether another number is an error, or only worth a look.
    """

    number: int
    sure: bool


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a check.

    Attributes:
        kind: Of the data set.
        root: Its folder.
        figures: Counts by name (`figures.figures`).
        expected: What some of them should be.
        findings: Everything worth saying.
        pictures_read: How many files were decoded.
        sizes: Smallest, median and largest ``(width, height)`` among them; empty if none.
    """

    kind: str
    root: Path
    figures: dict[str, int]
    expected: dict[str, Expectation]
    findings: Findings
    pictures_read: int
    sizes: tuple[tuple[int, int], ...]

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not self.findings.errors

    def json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "kind": self.kind,
            "root": str(self.root),
            "ok": self.ok,
            "figures": self.figures,
            "expected": {name: asdict(wanted) for name, wanted in self.expected.items()},
            "pictures_read": self.pictures_read,
            "sizes": [list(size) for size in self.sizes],
            "findings": [asdict(finding) for finding in self.findings.items],
        }


def check(
    path: Path,
    kind: str | None = None,
    layout: GenericLayout | None = None,
    *,
    pictures: Pictures = "sample",
    published: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Check a data set.

    Args:
        path: As in `registry.read`.
        kind: As in `registry.read`.
        layout: As in `registry.read`.
        pictures: Decode none, `SAMPLE` of them, or all; duplicates are looked for only in all.
        published: Compare counts with those of the complete set.
        progress: Called with pictures read and pictures to read.

    Raises:
        InputError: It does not exist, or is not recognised.
        UsageError: As in `registry.read`.
    """
    reading = read(path, kind, layout)
    data, findings = reading.data, reading.findings
    expected = _expected(reading.kind) if published else {}
    counts = figures(data, reading.junk)
    if counts["pictures"]:
        _compare(counts, expected, findings)
        _check_labels(data, findings)
        _check_protocols(data, findings)
    read_files = check_pictures(data, findings, pictures, progress)
    good = sorted(
        ((p.width, p.height) for p in read_files if not p.problem),
        key=lambda size: size[0] * size[1],
    )
    sizes = (good[0], good[len(good) // 2], good[-1]) if good else ()
    return Report(reading.kind, data.root, counts, expected, findings, len(read_files), sizes)


def _expected(kind: str) -> dict[str, Expectation]:
    published = PUBLISHED.get(kind)
    if published is None:
        return {}
    sure = {name: Expectation(number, sure=True) for name, number in published.sure.items()}
    return sure | {n: Expectation(number, sure=False) for n, number in published.unsure.items()}


def _compare(counts: dict[str, int], expected: dict[str, Expectation], findings: Findings) -> None:
    for name, wanted in expected.items():
        found = counts.get(name, 0)
        if found != wanted.number:
            findings.add(
                "error" if wanted.sure else "warning",
                "count",
                f"{name}: {found}",
                expected=f"{wanted.number} in the complete set",
                fix="unpack the archive again, or check a part of a set with --part",
            )


def _check_labels(data: ReIDData, findings: Findings) -> None:
    tested = {
        sample.person
        for name, samples in data.splits().items()
        if name != "train"
        for sample in samples
    }
    both = sorted({sample.person for sample in data.train} & tested)
    if both:
        names = ", ".join(data.people[person] for person in both[:3])
        findings.add(
            "error",
            "person-in-both",
            f"{len(both)} people are trained on and tested: {names}",
            expected="nobody in both halves",
            fix="divide by people, not by pictures",
            count=len(both),
        )
    if len(data.cameras) > 1 and data.intra is None and data.train:
        cameras: dict[int, set[int]] = defaultdict(set)
        for sample in data.train:
            cameras[sample.person].add(sample.camera)
        lonely = sum(len(seen) == 1 for seen in cameras.values())
        if lonely:
            findings.add(
                "warning" if lonely == len(cameras) else "note",
                "one-camera",
                f"{lonely} of {len(cameras)} people to train on are seen by one camera only",
                expected="people in two cameras or more, to learn what cameras do",
                count=lonely,
            )
    single = sum(number == 1 for number in Counter(s.person for s in data.train).values())
    if single:
        findings.add(
            "note",
            "one-picture",
            f"{single} of {data.train_people} labels to train on have a single picture",
            count=single,
        )


def _check_protocols(data: ReIDData, findings: Findings) -> None:
    if not data.query or not data.gallery:
        findings.add("note", "nothing-to-evaluate", "there is no query or no gallery", count=0)
        return
    asked = {sample.person for sample in data.query}
    if DISTRACTOR in asked:
        findings.add("error", "misplaced-distractor", "distractors are among the queries")
    for protocol in data.protocols:
        query, gallery = sides(protocol, data.query, data.gallery)
        without = int(np.count_nonzero(~answerable(protocol, query, gallery)))
        if without:
            findings.add(
                "warning" if without == len(query) else "note",
                "no-answer",
                f"protocol {protocol.name!r}: {without} of {len(query)} queries have no right "
                "answer and are left out",
                count=without,
            )
