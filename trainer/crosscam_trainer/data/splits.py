"""Training and test halves for sets that come without."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from crosscam_kernels.errors import UsageError
from crosscam_trainer.data.build import Row, Rows
from crosscam_trainer.data.scan import natural_key, relative

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class PersonSplit:
    """People are either trained on or tested, never both.

    Who is in which half follows from a hash of the seed and the name: it is the same on every
    machine, and hardly changes when people are added.

    Attributes:
        train_share: Share of the people to train on, in [0, 1].
        seed: Other seeds give other halves.
        query: Which test pictures are queries. "one": one of each person and camera, the others are
            the gallery (a picture that is alone with its camera is in both). "all": every picture
            is a query and in the gallery; the protocol ignores those of the same camera, so no
            picture finds itself. "cameras": those of `query_cameras`; the gallery is the rest.
        query_cameras: Names, for "cameras".
    """

    train_share: float = 0.5
    seed: int = 0
    query: Literal["one", "all", "cameras"] = "one"
    query_cameras: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.train_share <= 1:
            raise UsageError(
                f"a share of {self.train_share} of the people to train on", expected="0 to 1"
            )
        if (self.query == "cameras") != bool(self.query_cameras):
            raise UsageError(
                "queries by camera and the names of these cameras go together",
                expected="query='cameras' with query_cameras, or neither",
            )

    def train_people(self, people: Sequence[str]) -> set[str]:
        """Choose whom to train on: the first ``round(train_share * n)`` by hash."""
        order = sorted(set(people), key=lambda name: (_hash(self.seed, name), name))
        return set(order[: math.floor(self.train_share * len(order) + 0.5)])

    def split(self, rows: Sequence[Row], root: Path) -> Rows:
        """Divide the pictures.

        Args:
            rows: All with a person.
            root: Of the set; only paths relative to it matter.

        Raises:
            UsageError: A camera of `query_cameras` does not exist.
        """
        cameras = {row.camera for row in rows}
        unknown = [name for name in self.query_cameras if name not in cameras]
        if unknown:
            raise UsageError(
                f"no picture is of the camera {unknown[0]!r}",
                expected=", ".join(sorted(cameras, key=natural_key)),
            )
        chosen = self.train_people([str(row.person) for row in rows])
        parts = Rows()
        parts.add("train", (row for row in rows if row.person in chosen))
        tested = [row for row in rows if row.person not in chosen]
        if self.query == "all":
            parts.add("query", tested)
            parts.add("gallery", tested)
        elif self.query == "cameras":
            parts.add("query", (row for row in tested if row.camera in self.query_cameras))
            parts.add("gallery", (row for row in tested if row.camera not in self.query_cameras))
        else:
            self._one(tested, root, parts)
        return parts

    def _one(self, tested: Sequence[Row], root: Path, parts: Rows) -> None:
        groups: dict[tuple[str | None, str], list[Row]] = defaultdict(list)
        for row in tested:
            groups[row.person, row.camera].append(row)
        queries = {
            min(group, key=lambda row: _hash(self.seed, relative(row.path, root))).path
            for group in groups.values()
        }
        alone = {group[0].path for group in groups.values() if len(group) == 1}
        parts.add("query", (row for row in tested if row.path in queries))
        parts.add("gallery", (r for r in tested if r.path not in queries or r.path in alone))


def _hash(seed: int, text: str) -> bytes:
    data = f"{seed}:{text}".encode("utf-8", "surrogateescape")
    return hashlib.blake2b(data, digest_size=8).digest()
