"""Batches of any pictures: shuffled for training, in order for evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_kernels.errors import UsageError
from crosscam_trainer.data.samplers.base import EpochSampler, check_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


class Shuffled(EpochSampler):
    """Pictures in random order; a pass holds each once, and a few again to fill the last batch.

    Args:
        number: Of pictures.
        batch_size: Of the global batch; a multiple of `world_size`.
        seed: As in `EpochSampler`.
        rank: As in `EpochSampler`.
        world_size: As in `EpochSampler`.
        batches: As in `EpochSampler`.

    Raises:
        UsageError: There are no pictures, or the batch does not divide among the ranks.
    """

    def __init__(
        self,
        number: int,
        batch_size: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        batches: int | None = None,
    ) -> None:
        check_parts(batch_size, world_size, "pictures")
        if number < 1:
            raise UsageError(f"{number} pictures", expected="at least one")
        super().__init__(batch_size, seed=seed, rank=rank, world_size=world_size, batches=batches)
        self._number = number

    def pass_length(self) -> int:
        """Return the number of batches of one pass."""
        return -(-self._number // self.batch_size)

    def identity(self) -> tuple[Any, ...]:
        """Return what the plan depends on."""
        return (self._number,)

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Plan one pass, ``(pass_length(), batch_size)``."""
        needed = self.pass_length() * self.batch_size
        rounds = [rng.permutation(self._number) for _ in range(-(-needed // self._number))]
        return np.concatenate(rounds)[:needed].reshape(-1, self.batch_size).astype(np.int64)


class InOrder:
    """Every picture once, in order, divided among the ranks: for extracting features.

    Rank `r` has one run of neighbouring pictures; put together in the order of the ranks they are
    all pictures in order. Ranks may differ by one picture, and the last batch of each is smaller.

    Args:
        number: Of pictures.
        batch_size: Of each rank.
        rank: Of this process.
        world_size: Number of processes.
    """

    def __init__(self, number: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> None:
        if batch_size < 1 or number < 0 or not 0 <= rank < world_size:
            raise UsageError(
                f"{number} pictures in batches of {batch_size} on rank {rank} of {world_size}",
                expected="batches of one or more, and a rank below the number of processes",
            )
        self._start, self._stop = (number * k // world_size for k in (rank, rank + 1))
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-(self._stop - self._start) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(self._start, self._stop, self.batch_size):
            yield list(range(start, min(start + self.batch_size, self._stop)))
