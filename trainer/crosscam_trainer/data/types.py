"""The contract between data sets and everything that uses them: samples, labels, protocols.

Labels are small integers that index name tables, so losses and samplers can use them as they are:

* `Sample.person` indexes `ReIDData.people`. The people of the training split come first and are
  numbered without gaps, so it is a class label there: ``0 <= person < data.train_people``.
* `Sample.camera` indexes `ReIDData.cameras`, over all splits.
* `Sample.clothes` indexes `ReIDData.clothes`. Labels belong to one person each (two people never
  share one) and those of the training split come first: ``0 <= clothes < data.train_clothes``.

Junk pictures (no person, or one to be ignored) are left out when a data set is read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DISTRACTOR = -2
"""`Sample.person` of gallery pictures that show nobody who is asked for; always a wrong answer."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture of one person.

    Attributes:
        path: Image file.
        person: Index into `ReIDData.people`, or `DISTRACTOR`.
        camera: Index into `ReIDData.cameras`.
        clothes: Index into `ReIDData.clothes`; None where outfits are not labelled.
        tracklet: Number of the tracklet, unique in the data set; None where there are none.
        frame: Position in time inside the tracklet, or in the camera's video; None if unknown.
        mask: PNG of the picture's size with a class index a pixel (`masks`); None without.
        quality: How well the person is seen, in (0, 1]; None if unknown.
        caption: The person in words; None without.
    """

    path: Path
    person: int
    camera: int
    clothes: int | None = None
    tracklet: int | None = None
    frame: int | None = None
    mask: Path | None = None
    quality: float | None = None
    caption: str | None = None


@dataclass(frozen=True, slots=True)
class EvaluationProtocol:
    """Which gallery pictures count for a query, and in what way.

    A gallery item is *good* for a query when it shows the same person under other circumstances,
    and *ignored* when it shows the same person otherwise. Everything else is wrong. Queries without
    a good item are skipped. `protocol.sides` chooses and labels what is ranked.

    Attributes:
        name: For tables: "standard", "clothes-changing", …
        same_view: What makes a picture of the same person too easy, so that it is ignored: the same
            camera, the same tracklet (DeepChange), or nothing (sets without camera labels).
        clothes: "any"; "changed": good items also wear something else, those in the same clothes
            are ignored; "same": the reverse.
        query_cameras: Only queries from these cameras; None for all.
        gallery_cameras: Only gallery items from these cameras; None for all.
        gallery_shots: "all" pictures, or "one" drawn at random per person (PRCC single-shot).
        trials: How many such draws are averaged; 1 with all pictures.
        unit: Whether rows are pictures, or tracklets with the mean feature of their pictures.
    """

    name: str
    same_view: Literal["camera", "tracklet", "none"] = "camera"
    clothes: Literal["any", "changed", "same"] = "any"
    query_cameras: tuple[int, ...] | None = None
    gallery_cameras: tuple[int, ...] | None = None
    gallery_shots: Literal["all", "one"] = "all"
    trials: int = 1
    unit: Literal["picture", "tracklet"] = "picture"


@dataclass(frozen=True, slots=True)
class IntraCameraLabels:
    """What is known of labels that were made inside each camera only.

    The accumulated label of CCAFL (Tan et al., TCSVT 2025) is ``g = y + sum of N_c' for c' < c``:
    `y` numbers the people of camera `c` from 0, in the order of their names.

    Attributes:
        offsets: First label of each camera, and the number of labels at the end; `C + 1` numbers.
        person_of: The person behind each label, where that is known, else -1. Only to measure how
            well labels are associated, never to train. Equal numbers are the same person.
    """

    offsets: tuple[int, ...]
    person_of: tuple[int, ...]

    @property
    def labels(self) -> int:
        """Number of accumulated labels, over all cameras."""
        return self.offsets[-1]

    def camera_of(self, label: int) -> int:
        """Return the camera that an accumulated label belongs to."""
        for camera, end in enumerate(self.offsets[1:]):
            if 0 <= label < end:
                return camera
        raise IndexError(f"label {label} is not in 0..{self.labels - 1}")


@dataclass(frozen=True, slots=True)
class ReIDData:
    """A data set that was read.

    Attributes:
        name: Kind and variant, for logs and model cards: "market1501", "cuhk03-detected", …
        root: Folder it was read from.
        train: Training pictures.
        query: Test pictures that are searched for; empty when nothing can be evaluated.
        gallery: Test pictures that are searched in.
        val_query: As `query`, of the validation split; empty where there is none.
        val_gallery: As `gallery`, of the validation split.
        people: Names; those of the training split first.
        cameras: Names.
        clothes: Names of outfits, each of one person; those of the training split first. Empty
            where outfits are not labelled.
        train_people: How many of `people` are in the training split.
        train_clothes: How many of `clothes` are in the training split.
        protocols: How it is evaluated; the first is the one that single figures are given in.
        intra: Set when the labels of the training split hold inside their camera only.
    """

    name: str
    root: Path
    train: tuple[Sample, ...]
    query: tuple[Sample, ...]
    gallery: tuple[Sample, ...]
    people: tuple[str, ...]
    cameras: tuple[str, ...]
    protocols: tuple[EvaluationProtocol, ...]
    train_people: int
    clothes: tuple[str, ...] = ()
    train_clothes: int = 0
    val_query: tuple[Sample, ...] = ()
    val_gallery: tuple[Sample, ...] = ()
    intra: IntraCameraLabels | None = None

    @property
    def has_clothes(self) -> bool:
        """Whether the training pictures say who wears what."""
        return self.train_clothes > 0

    def splits(self) -> dict[str, tuple[Sample, ...]]:
        """Return all splits by name, empty ones included."""
        return {
            "train": self.train,
            "query": self.query,
            "gallery": self.gallery,
            "val_query": self.val_query,
            "val_gallery": self.val_gallery,
        }

    def mapped(self, change: Callable[[str, Sample], Sample]) -> ReIDData:
        """Return the data with every sample changed by ``change(split, sample)``."""
        changed = {
            name: tuple(change(name, sample) for sample in samples)
            for name, samples in self.splits().items()
        }
        return replace(
            self,
            train=changed["train"],
            query=changed["query"],
            gallery=changed["gallery"],
            val_query=changed["val_query"],
            val_gallery=changed["val_gallery"],
        )
