"""A seed for every picture of every batch, so that augmentation can be repeated exactly."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosscam_trainer.data.samplers.base import EpochSampler


class Draws:
    """Yields batches of ``(position, seed)`` from a sampler's batches of positions.

    The seed follows from the sampler's seed, the epoch, the batch, and the place in the global
    batch. So a picture is augmented in the same way after resuming, with any number of loader
    workers, and on any number of ranks; and differently when it comes again.

    Args:
        sampler: Keeps the state; `Draws` has none.
    """

    def __init__(self, sampler: EpochSampler) -> None:
        self.sampler = sampler

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        sampler = self.sampler
        first = sampler.rank * (sampler.batch_size // sampler.world_size)
        epoch, number = sampler.epoch, sampler.yielded
        for batch in sampler:
            yield [
                (position, _seed(sampler.seed, epoch, number, first + place))
                for place, position in enumerate(batch)
            ]
            number += 1


def _seed(*numbers: int) -> int:
    """Mix numbers into 63 bits."""
    text = ":".join(map(str, numbers)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1
