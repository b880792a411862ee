"""From what readers find, rows with names, to a `ReIDData` with labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crosscam_trainer.data.relabel import as_intra_camera
from crosscam_trainer.data.scan import natural_key
from crosscam_trainer.data.types import (
    DISTRACTOR,
    EvaluationProtocol,
    ReIDData,
    Sample,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

STANDARD = EvaluationProtocol("standard")
SPLITS = ("train", "query", "gallery", "val_query", "val_gallery")


@dataclass(frozen=True, slots=True)
class Row:
    """One picture as a reader finds it, with names in place of labels.

    Attributes:
        path: Image file.
        person: Name; None for a distractor.
        camera: Name.
        clothes: Name of the outfit, unique with the person; None where not labelled.
        tracklet: Name, unique in the data set; None where there is none.
        frame: As in `Sample`.
        mask: As in `Sample`.
        quality: As in `Sample`.
        caption: As in `Sample`.
    """

    path: Path
    person: str | None
    camera: str
    clothes: str | None = None
    tracklet: str | None = None
    frame: int | None = None
    mask: Path | None = None
    quality: float | None = None
    caption: str | None = None


@dataclass(slots=True)
class Rows:
    """The rows of each split, and the number of junk pictures that were left out.

    Attributes:
        splits: By the names of `SPLITS`.
        junk: Pictures that the protocol ignores, not among the rows.
        truth: None where names of people hold everywhere. Else those of the training split hold
            inside their camera only, and this has the person behind each ``(camera, name)``, as far
            as that is known.
    """

    splits: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in SPLITS})
    junk: int = 0
    truth: dict[tuple[str, str], str] | None = None

    def __getitem__(self, split: str) -> list[Row]:
        return self.splits[split]

    def add(self, split: str, rows: Iterable[Row]) -> None:
        """Append rows to a split."""
        self.splits[split].extend(rows)


def build(
    name: str,
    root: Path,
    rows: Rows,
    protocols: Callable[[dict[str, int]], Sequence[EvaluationProtocol]] | None = None,
) -> ReIDData:
    """Number people, cameras, clothes and tracklets.

    Args:
        name: Of the data set.
        root: Its folder.
        rows: What was found.
        protocols: Makes the protocols from the numbers of the cameras; the standard one if None.

    Returns:
        The data set with the numbering of `types`.
    """
    numbers = _Numbers.of(rows)

    def samples(split: str) -> tuple[Sample, ...]:
        return tuple(numbers.sample(row) for row in rows[split])

    data = ReIDData(
        name=name,
        root=root,
        train=samples("train"),
        query=samples("query"),
        gallery=samples("gallery"),
        val_query=samples("val_query"),
        val_gallery=samples("val_gallery"),
        people=tuple(numbers.people),
        cameras=tuple(numbers.cameras),
        clothes=tuple(f"{person}/{outfit}" for person, outfit in numbers.clothes),
        protocols=tuple(protocols(numbers.cameras) if protocols else (STANDARD,)),
        train_people=len({row.person for row in rows["train"]}),
        train_clothes=len({(r.person, r.clothes) for r in rows["train"] if r.clothes is not None}),
    )
    if rows.truth is None:
        return data
    person_behind = _numbered([rows.truth.values()])
    truth = {
        (numbers.cameras[camera], numbers.people[person]): person_behind[behind]
        for (camera, person), behind in rows.truth.items()
    }
    return as_intra_camera(data, truth)


@dataclass(slots=True)
class _Numbers:
    """Names in their order, each with its number."""

    people: dict[str, int]
    cameras: dict[str, int]
    clothes: dict[tuple[str, str], int]
    tracklets: dict[str, int]

    @classmethod
    def of(cls, rows: Rows) -> _Numbers:
        everything = [row for split in SPLITS for row in rows[split]]
        first = rows["train"]
        return cls(
            people=_numbered(
                (row.person for row in part if row.person is not None)
                for part in (first, everything)
            ),
            cameras=_numbered([(row.camera for row in everything)]),
            clothes=_numbered_pairs(
                (
                    (row.person, row.clothes)
                    for row in part
                    if row.person is not None and row.clothes is not None
                )
                for part in (first, everything)
            ),
            tracklets=_numbered([(r.tracklet for r in everything if r.tracklet is not None)]),
        )

    def sample(self, row: Row) -> Sample:
        return Sample(
            path=row.path,
            person=DISTRACTOR if row.person is None else self.people[row.person],
            camera=self.cameras[row.camera],
            clothes=None
            if row.person is None or row.clothes is None
            else self.clothes[row.person, row.clothes],
            tracklet=None if row.tracklet is None else self.tracklets[row.tracklet],
            frame=row.frame,
            mask=row.mask,
            quality=row.quality,
            caption=row.caption,
        )


def _numbered(parts: Iterable[Iterable[str]]) -> dict[str, int]:
    """Number names from 0: those of the first part in natural order, then new ones of the next."""
    numbers: dict[str, int] = {}
    for part in parts:
        for name in sorted(set(part) - numbers.keys(), key=natural_key):
            numbers[name] = len(numbers)
    return numbers


def _numbered_pairs(parts: Iterable[Iterable[tuple[str, str]]]) -> dict[tuple[str, str], int]:
    numbers: dict[tuple[str, str], int] = {}
    for part in parts:
        new = set(part) - numbers.keys()
        for pair in sorted(new, key=lambda p: (natural_key(p[0]), natural_key(p[1]))):
            numbers[pair] = len(numbers)
    return numbers
