"""Batches of `P` people with `K` pictures each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from crosscam_kernels.errors import UsageError
from crosscam_trainer.data.samplers.base import EpochSampler, as_labels, check_parts
from crosscam_trainer.data.samplers.chunks import (
    arrange,
    batches_needed,
    chunks,
    fill,
    interleaved,
    positions_by_label,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class PersonSampler(EpochSampler):
    """`P` different labels a batch, `K` pictures of each beside each other.

    A pass is one of two:

    * "pictures": every picture at least once (as CLIP-ReID and torchreid mean it; theirs drop what
      does not fill a group, this one fills it with other pictures of the label);
    * "people": every label once, with `K` of its pictures (as cluster-contrast and CCAFL).

    Labels that are needed to fill the last batches come again. With accumulated intra-camera labels
    (`relabel.as_intra_camera`) this is the sampler of CCAFL: a label is of one camera, and a batch
    mixes cameras by chance.

    Args:
        labels: `(N,)` integers: `Sample.person` of the training pictures.
        people: `P`, labels in a global batch; a multiple of `world_size`.
        pictures: `K`, pictures of each. Labels with fewer come with some of them again.
        across: `(N,)` integers: of each label take pictures from as many of these groups as
            possible, cameras (`Sample.camera`) or outfits (`Sample.clothes`). None for any. When
            every picture is to come, the last ones of a large group come among themselves.
        covers: What a pass is.
        seed: As in `EpochSampler`.
        rank: As in `EpochSampler`.
        world_size: As in `EpochSampler`.
        batches: As in `EpochSampler`.

    Raises:
        UsageError: `P` does not divide among the ranks, or there are fewer labels.
        InputError: Labels are not integers, or `across` is of another length.
    """

    def __init__(
        self,
        labels: ArrayLike,
        people: int,
        pictures: int,
        *,
        across: ArrayLike | None = None,
        covers: Literal["pictures", "people"] = "pictures",
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        batches: int | None = None,
    ) -> None:
        check_parts(people, world_size, "people")
        if pictures < 1:
            raise UsageError(f"{pictures} pictures of each person", expected="1 or more")
        super().__init__(
            people * pictures, seed=seed, rank=rank, world_size=world_size, batches=batches
        )
        self._labels = as_labels(labels, "labels")
        self._across = None if across is None else as_labels(across, "across")
        if self._across is not None and len(self._across) != len(self._labels):
            raise UsageError(
                f"{len(self._across)} groups for {len(self._labels)} labels",
                expected="one of each a picture",
            )
        self._positions = positions_by_label(self._labels)
        if len(self._positions) < people:
            raise UsageError(
                f"{people} people a batch, but {len(self._positions)} in the data",
                fix="make batches of fewer people with more pictures each",
            )
        self.people, self.pictures, self.covers = people, pictures, covers
        self._counts = np.array(
            [1 if covers == "people" else -(-len(p) // pictures) for p in self._positions],
            np.int64,
        )
        self._pass_length = batches_needed(self._counts.tolist(), people)

    def pass_length(self) -> int:
        """Return the number of batches of one pass."""
        return self._pass_length

    def identity(self) -> tuple[Any, ...]:
        """Return what the plan depends on."""
        across = b"" if self._across is None else self._across
        return (self._labels, across, self.people, self.pictures, self.covers)

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Plan one pass, ``(pass_length(), P * K)``."""
        counts = fill(self._counts, self.people, self._pass_length, rng)
        groups = []
        for positions, number in zip(self._positions, counts.tolist(), strict=True):
            across = None if self._across is None else self._across[positions]
            # To cover pictures, groups follow each other through them; else each is a new draw.
            draws, each = (1, number) if self.covers == "pictures" else (number, 1)
            drawn = [
                chunks(interleaved(positions, across, rng), self.pictures, each, rng)
                for _ in range(draws)
            ]
            groups.append(np.concatenate(drawn))
        return arrange(groups, self._pass_length, rng)
