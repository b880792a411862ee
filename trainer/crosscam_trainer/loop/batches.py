"""Batches for a stage: pictures of this process, labels of all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch

from crosscam_trainer.data.dataset import NONE, PictureSet, make_loader
from crosscam_trainer.data.samplers import Draws

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosscam_trainer.data.dataset import Batch
    from crosscam_trainer.data.masks import LabelSet
    from crosscam_trainer.data.samplers import EpochSampler
    from crosscam_trainer.data.transforms import Transform
    from crosscam_trainer.data.types import Sample


class Batches:
    """Yields the batches of epochs, on the device.

    Labels follow from the sampler's plan on every process, so nothing is sent between them.

    Args:
        samples: The training split.
        sampler: Of this process.
        device: Gets the tensors.
        transform: Augmentation; None for batches of labels and indices only.
        mask_labels: Meaning of the masks; None to leave them unread.
        workers: Processes that read ahead.
        keep: Keep decoded pictures in memory.
    """

    def __init__(
        self,
        samples: tuple[Sample, ...],
        sampler: EpochSampler,
        device: Any,
        *,
        transform: Transform | None = None,
        mask_labels: LabelSet | None = None,
        workers: int = 0,
        keep: bool = False,
    ) -> None:
        self.sampler = sampler
        self._device = device
        self._labels = labels_of(samples)
        self._loader: Any = None
        self._reading: tuple[int, int, Any] | None = None
        if transform is not None:
            pictures = PictureSet(samples, transform, mask_labels, keep=keep)
            self._loader = make_loader(pictures, Draws(sampler), workers)

    def __len__(self) -> int:
        return len(self.sampler)

    def read_ahead(self, epoch: int, first: int = 0) -> None:
        """Let workers read the first batches of an epoch while something else is done before it."""
        if self._loader is None or not self._loader.num_workers:
            return
        if self._reading is None or self._reading[:2] != (epoch, first):
            self._reading = epoch, first, self._read(epoch, first)

    def epoch(self, epoch: int, first: int = 0, *, further: bool = False) -> Iterator[Batch]:
        """Yield the batches of an epoch.

        Args:
            epoch: Which, from 0.
            first: Batch to begin with.
            further: The next epoch follows: workers read for it when they are done with this one.
        """
        self.read_ahead(epoch, first)
        begun, self._reading = self._reading, None
        own = self._read(epoch, first) if begun is None else begun[2]
        plan = torch.from_numpy(self.sampler.plan(epoch))
        for number, positions in enumerate(plan[first:], first + 1):
            batch: dict[str, Any] = {name: row[positions] for name, row in self._labels.items()}
            batch["index"] = positions
            if own is not None:
                read = next(own)
                batch |= {k: read[k] for k in ("image", "clothes_mask") if k in read}
            moved = {k: v.to(self._device, non_blocking=True) for k, v in batch.items()}
            if further and number == len(plan):
                self.read_ahead(epoch + 1)
            yield cast("Batch", moved)

    def _read(self, epoch: int, first: int) -> Any:
        """Begin to read; None where batches have no pictures."""
        self.sampler.set_epoch(epoch)
        self.sampler.yielded = first
        return None if self._loader is None else iter(self._loader)


def labels_of(samples: tuple[Sample, ...]) -> dict[str, torch.Tensor]:
    """Return the labels of all samples by the names of `Batch`, each `(N,)` int64."""
    rows = {
        "person": [s.person for s in samples],
        "camera": [s.camera for s in samples],
        "clothes": [NONE if s.clothes is None else s.clothes for s in samples],
        "tracklet": [NONE if s.tracklet is None else s.tracklet for s in samples],
    }
    return {name: torch.tensor(values, dtype=torch.int64) for name, values in rows.items()}
