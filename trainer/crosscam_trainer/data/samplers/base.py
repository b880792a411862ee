"""What all samplers share: epochs from seeds, one part a rank, exact resumption.

A sampler plans *global* batches, the same on every rank and for every number of ranks; rank `r` of
`W` takes the `r`-th of `W` equal parts of each. So a run on two devices sees the batches of a run
on one, and may be resumed on another number.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_kernels.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


class EpochSampler(ABC):
    """Yields batches of positions; give it to `torch.utils.data.DataLoader` as ``batch_sampler``.

    Iterating runs over what is left of the current epoch and then moves on to the next. Everything
    follows from the seed and the number of the epoch, so state is two numbers.

    Args:
        batch_size: Pictures in a global batch, over all ranks.
        seed: Other seeds give other batches. The same on every rank.
        rank: Of this process, 0 to ``world_size - 1``.
        world_size: Number of processes; divides the batch into equal parts.
        batches: Length of an epoch. By default one pass (see the classes); a longer epoch starts
            further passes, a shorter one breaks its pass off.

    Attributes:
        epoch: Current epoch, from 0.
        yielded: Batches of it that were yielded.

    Raises:
        UsageError: The batch cannot be divided, or a number is out of range.
    """

    def __init__(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        batches: int | None = None,
    ) -> None:
        if world_size < 1 or not 0 <= rank < world_size:
            raise UsageError(f"rank {rank} of {world_size}", expected="0 <= rank < world size")
        if seed < 0:
            raise UsageError(f"seed {seed}", expected="0 or more")
        if batches is not None and batches < 1:
            raise UsageError(f"an epoch of {batches} batches", expected="1 or more")
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self._batches = batches
        self.yielded = 0

    @abstractmethod
    def pass_length(self) -> int:
        """Return the number of batches of one pass; the same for every pass."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Plan one pass.

        Args:
            rng: The only source of randomness.

        Returns:
            ``(pass_length(), batch_size)`` positions.
        """

    @abstractmethod
    def identity(self) -> tuple[Any, ...]:
        """Return what the plan depends on beside the seed: to know a foreign state."""

    def __len__(self) -> int:
        return self._batches or self.pass_length()

    def plan(self, epoch: int) -> NDArray[np.int64]:
        """Return the global batches of an epoch, ``(len(self), batch_size)``."""
        rng = np.random.default_rng([self.seed, epoch])
        passes = -(-len(self) // self.pass_length())
        return np.concatenate([self.draw(rng) for _ in range(passes)])[: len(self)]

    def __iter__(self) -> Iterator[list[int]]:
        part = self.batch_size // self.world_size
        mine = slice(self.rank * part, (self.rank + 1) * part)
        plan = self.plan(self.epoch)
        while self.yielded < len(plan):
            batch = plan[self.yielded, mine].tolist()
            self.yielded += 1
            yield batch
        self.set_epoch(self.epoch + 1)

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch."""
        self.epoch = epoch
        self.yielded = 0

    def state_dict(self, done: int | None = None) -> dict[str, Any]:
        """Return where the sampler is.

        Args:
            done: Batches of this epoch that were trained on. Needed with a loader that reads ahead
                (``num_workers > 0``), where more batches were yielded than used.
        """
        return {
            "epoch": self.epoch,
            "batches": self.yielded if done is None else done,
            "seed": self.seed,
            "plan": self._fingerprint(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where another sampler was; the number of ranks may differ.

        Raises:
            InputError: That was over other data or with other settings.
        """
        for key, ours in (("seed", self.seed), ("plan", self._fingerprint())):
            if state[key] != ours:
                raise InputError(
                    f"the sampler's state has {key} {state[key]}",
                    expected=f"{ours}, as data set and settings give it",
                    fix="resume with the data and the settings of the run, or start a new one",
                )
        if not 0 <= state["batches"] <= len(self):
            raise InputError(
                f"the sampler's state is at batch {state['batches']}",
                expected=f"0 to {len(self)}",
            )
        self.epoch = int(state["epoch"])
        self.yielded = int(state["batches"])

    def _fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=8)
        for item in (type(self).__name__, self.batch_size, len(self), *self.identity()):
            data = item.tobytes() if isinstance(item, np.ndarray) else repr(item).encode()
            digest.update(len(data).to_bytes(8, "little") + data)
        return digest.hexdigest()


def check_parts(parts: int, world_size: int, what: str) -> None:
    """Check that a batch can be divided.

    Args:
        parts: How many indivisible parts a global batch has.
        world_size: Number of ranks.
        what: Name of the parts, in the plural.

    Raises:
        UsageError: Not into equal shares.
    """
    if parts < 1 or parts % max(world_size, 1):
        raise UsageError(
            f"{parts} {what} a batch for {world_size} processes",
            expected=f"a positive multiple of {world_size}; it is the batch of all together",
        )


def as_labels(labels: Any, name: str) -> NDArray[np.int64]:
    """Return labels as an array `(N,)`.

    Raises:
        InputError: They are not a list of integers, or there are none.
    """
    array = np.asarray(labels)
    if array.ndim != 1 or array.dtype.kind not in "iu" or not len(array):
        raise InputError(
            f"{name}: {array.dtype} of shape {array.shape}",
            expected="one integer a picture, and at least one",
        )
    return array.astype(np.int64)
