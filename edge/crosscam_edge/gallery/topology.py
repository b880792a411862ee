"""Where cameras are and how long the ways between them take: as somebody gave it, and as learned.

What was given is kept in a file beside the gallery, and counts in the association as a few transits
that took so long would. What is learned is counted from the people that the gallery keeps.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from crosscam_edge.config.strict import CAMERA_ID
from crosscam_edge.sinks.atomic import write_text
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from crosscam_edge.associate.config import AssociationConfig

FILE = "topology.json"
_WEEK_S = 604_800.0
_MOST_CAMERAS = 1000
_MOST_BYTES = 1 << 20
Name = Annotated[str, Field(pattern=CAMERA_ID, description="name of a camera")]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=_WEEK_S, allow_inf_nan=False)]


class GivenPlace(BaseModel):
    """Where a camera is on the map."""

    model_config = ConfigDict(extra="forbid")

    id: Name
    x: Share | None = Field(description="from the left, in [0, 1]; null where nobody put it")
    y: Share | None = Field(description="from above, in [0, 1]; null where nobody put it")

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.x is None) != (self.y is None):
            raise ValueError("x and y are both given, or neither")
        return self


class GivenLink(BaseModel):
    """A way from one camera to another, as somebody knows it."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    start: Name = Field(alias="from")
    end: Name = Field(alias="to")
    count: int = Field(default=0, ge=0, description="of no account")
    p05_s: Seconds = Field(description="seconds that nearly everybody needs at least")
    median_s: Seconds = Field(description="seconds that half of them need at most")
    p95_s: Seconds = Field(description="seconds that nearly everybody needs at most")
    given: bool = Field(default=True, description="true; learned ways cannot be put")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.p05_s <= self.median_s <= self.p95_s:
            raise ValueError("p05_s, median_s and p95_s do not rise")
        if self.start == self.end:
            raise ValueError("a way leads from one camera to another")
        if not self.given:
            raise ValueError("only given ways can be put")
        return self


class Given(BaseModel):
    """Positions and ways that somebody gave."""

    model_config = ConfigDict(extra="forbid")

    cameras: list[GivenPlace] = Field(default_factory=list, max_length=_MOST_CAMERAS)
    links: list[GivenLink] = Field(default_factory=list, max_length=_MOST_CAMERAS)

    @model_validator(mode="after")
    def _once(self) -> Self:
        names = [each.id for each in self.cameras]
        ways = [(each.start, each.end) for each in self.links]
        if len(set(names)) < len(names) or len(set(ways)) < len(ways):
            raise ValueError("a camera or a way is there twice")
        return self

    def names(self) -> set[str]:
        """Return the cameras that it is about."""
        ways = {name for each in self.links for name in (each.start, each.end)}
        return ways | {each.id for each in self.cameras}

    def and_of_others(self, before: Given, watched: Collection[str]) -> Given:
        """Return this, and what was given before of cameras that are not watched at present.

        They may come back. What was given last comes first, and what is beyond the bounds of the
        lists is forgotten.

        Args:
            before: What was given before.
            watched: Names of the cameras of now; what is theirs stays only if it is given again.
        """
        there = frozenset(watched)
        placed = {each.id for each in self.cameras}
        ways = {(each.start, each.end) for each in self.links}
        cameras = [
            each for each in before.cameras if each.x is not None and each.id not in there | placed
        ]
        links = [
            each
            for each in before.links
            if not there.issuperset({each.start, each.end}) and (each.start, each.end) not in ways
        ]
        return Given(
            cameras=[*self.cameras, *cameras][:_MOST_CAMERAS],
            links=[*self.links, *links][:_MOST_CAMERAS],
        )

    def applied(self, site: AssociationConfig) -> AssociationConfig:
        """Return what is known of a site, with these ways and no others that were given so."""
        usual = {(each.start, each.end): each.p05_s for each in self.links}
        return replace(site, usual_transit_s=usual)


class GivenFile:
    """The file that holds what was given; any thread may read and write.

    Args:
        folder: That of the run.

    Raises:
        InputError: It is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._path, self._lock = folder / FILE, threading.Lock()
        self._given = self._read()

    @property
    def given(self) -> Given:
        """What stands in it."""
        return self._given

    def write(self, given: Given, watched: Collection[str]) -> Given:
        """Keep this instead, beside what stands there of cameras that are not watched.

        Args:
            given: Of the cameras that are.
            watched: Their names.

        Returns:
            What stands in it now.

        Raises:
            RunError: It cannot be written; what was there still is.
        """
        with self._lock:
            given = given.and_of_others(self._given, watched)
            write_text(self._path, given.model_dump_json(by_alias=True, indent=2) + "\n")
            self._given = given
            return given

    def _read(self) -> Given:
        try:
            with self._path.open("rb") as file:
                return Given.model_validate_json(file.read(_MOST_BYTES))
        except FileNotFoundError:
            return Given()
        except (OSError, ValidationError) as error:
            raise InputError(
                f"{self._path} cannot be read ({type(error).__name__})",
                expected="the positions and ways of PUT /api/v1/topology",
                fix="mend it, or remove it: then nothing is given",
            ) from error


def learned_links(
    transits: Mapping[tuple[str, str], Sequence[float]],
) -> list[dict[str, Any]]:
    """Return the ways that people took.

    Args:
        transits: Seconds of each transit from one camera to the next, by ordered pair.
    """
    out = []
    for (start, end), seconds in sorted(transits.items()):
        low, middle, high = (_quantile(sorted(seconds), share) for share in (0.05, 0.5, 0.95))
        out.append(
            {
                "from": start, "to": end, "count": len(seconds),
                "p05_s": low, "median_s": middle, "p95_s": high, "given": False,
            }
        )  # fmt: skip
    return out


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile between the two nearest values (type 7 of Hyndman and Fan)."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return round(ordered[low] + (place - low) * (ordered[high] - ordered[low]), 3)
