"""The pictures that a verification looks at, and what is known about them.

Everything is a picture file: what a model answers is asked in processes of their own, which read
the files themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Literal

import numpy as np

from crosscam_deploy.verify.types import DataSummary
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Crop:
    """A picture of one person.

    Attributes:
        path: Image file.
        person: Who it is; None where that is not known.
        camera: Who took it; None where that is not known.
        role: Whether it is searched for, searched in, or both.
    """

    path: Path
    person: str | None = None
    camera: str | None = None
    role: Literal["query", "gallery", "both"] = "both"


@dataclass(frozen=True, slots=True)
class CropSet:
    """Crops that are compared with each other; people of two sets are never compared.

    Attributes:
        name: For the report.
        crops: `N` of them.
    """

    name: str
    crops: tuple[Crop, ...]

    @property
    def labelled(self) -> bool:
        """Whether it is known who everybody is, of several people."""
        people = {crop.person for crop in self.crops}
        return None not in people and 1 < len(people) < len(self.crops)

    def side(self, name: Literal["query", "gallery"]) -> NDArray[np.intp]:
        """Return the indices of the crops that are searched for or searched in."""
        return np.flatnonzero([crop.role in (name, "both") for crop in self.crops])


@dataclass(frozen=True, slots=True)
class FrameSet:
    """Frames of cameras.

    Attributes:
        name: For the report.
        frames: Image files.
        truth: `(P, 4)` corners in pixels of the people of each frame; None where not known.
        ignored: `(P,)` bool for each frame: people who are not asked for; None: all are.
    """

    name: str
    frames: tuple[Path, ...]
    truth: tuple[NDArray[np.floating], ...] | None = None
    ignored: tuple[NDArray[np.bool_], ...] | None = None


@dataclass(frozen=True, slots=True)
class VerifyData:
    """What to look at: crops for embedders, or frames for detectors.

    Attributes:
        crops: Sets of crops.
        frames: Sets of frames.
    """

    crops: tuple[CropSet, ...] = ()
    frames: tuple[FrameSet, ...] = ()

    def files(self) -> list[Path]:
        """Return all pictures, set after set."""
        if self.crops:
            return [crop.path for each in self.crops for crop in each.crops]
        return [path for each in self.frames for path in each.frames]

    def summary(self) -> DataSummary:
        """Return what it holds, in figures.

        Raises:
            InputError: It holds nothing, or crops and frames.
        """
        if bool(self.crops) == bool(self.frames) or not self.files():
            raise InputError(
                "there are no pictures to verify with"
                if not self.files()
                else "there are crops and frames",
                expected="crops for an embedder, or frames for a detector",
                fix="give --crops or --frames",
            )
        if self.crops:
            labelled = all(each.labelled for each in self.crops)
            seen = {(k, crop.person) for k, each in enumerate(self.crops) for crop in each.crops}
            return DataSummary(
                kind="crops",
                sets=_sizes((each.name, len(each.crops)) for each in self.crops),
                people=len(seen) if labelled else None,
                labelled=labelled,
            )
        labelled = all(each.truth is not None for each in self.frames)
        boxes = sum(len(rows) for each in self.frames for rows in each.truth or ())
        return DataSummary(
            kind="frames",
            sets=_sizes((each.name, len(each.frames)) for each in self.frames),
            people=boxes if labelled else None,
            labelled=labelled,
        )


def _sizes(sets: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return the sizes by name; a name that stands twice gets a number."""
    sizes: dict[str, int] = {}
    for name, size in sets:
        free = (f"{name} ({k})" for k in count(2))
        sizes[name if name not in sizes else next(n for n in free if n not in sizes)] = size
    return sizes
