"""Samples as tensors, and a loader that repeats itself exactly. Needs torch."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any, TypedDict

import cv2
import torch
from torch.utils.data import DataLoader, default_collate

from crosscam_deploy.pictures.files import read_image
from crosscam_kernels.errors import CrosscamError, RunError
from crosscam_trainer.data.masks import LabelSet
from crosscam_trainer.data.silhouette import read_clothes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from crosscam_trainer.data.transforms import Transform
    from crosscam_trainer.data.types import Sample

    Decoded = tuple[NDArray[np.uint8], NDArray[np.uint8] | None]

NONE = -1
"""Label of what is not labelled."""


class Batch(TypedDict, total=False):
    """Pictures and labels of a batch of `B`.

    Attributes:
        image: `(B, 3, H, W)` float32.
        person: `(B,)` int64.
        camera: `(B,)` int64.
        clothes: `(B,)` int64; `NONE` where not labelled.
        tracklet: `(B,)` int64; `NONE` where there is none.
        index: `(B,)` int64, positions in the split.
        clothes_mask: `(B, H, W)` bool, where clothes are; only with `PictureSet.mask_labels`.
    """

    image: torch.Tensor
    person: torch.Tensor
    camera: torch.Tensor
    clothes: torch.Tensor
    tracklet: torch.Tensor
    index: torch.Tensor
    clothes_mask: torch.Tensor


class PictureSet:
    """A map-style data set for `DataLoader`: pictures of a split, transformed.

    Args:
        samples: The split.
        transform: What becomes of a picture.
        mask_labels: Meaning of the masks; None to leave them unread.
        keep: Keep decoded pictures and masks: 3 bytes a pixel and 1.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        transform: Transform,
        mask_labels: LabelSet | None = None,
        *,
        keep: bool = False,
    ) -> None:
        self._samples = samples
        self._transform = transform
        self._mask_labels = mask_labels
        self._kept: dict[int, Decoded] | None = {} if keep else None

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, item: int | tuple[int, int]) -> dict[str, Any]:
        """Read and transform one picture.

        Args:
            item: Position, or ``(position, seed)`` from `samplers.Draws`: the seed decides all that
                is random, and leaves torch's generator as it was.

        Raises:
            InputError: Picture or mask cannot be read.
        """
        if not isinstance(item, tuple):
            return self._read(item)
        position, seed = item
        # `torch.manual_seed` and `fork_rng` also ask every kind of accelerator, for half a
        # millisecond a picture; only the CPU's generator is drawn from here.
        before = torch.get_rng_state()
        torch.default_generator.manual_seed(seed)
        try:
            return self._read(position)
        finally:
            torch.set_rng_state(before)

    def _read(self, position: int) -> dict[str, Any]:
        sample, labels = self._samples[position], self._mask_labels
        image, mask = self._decoded(position)
        picture, moved = self._transform(image, mask)
        fields = {
            "image": picture,
            "person": sample.person,
            "camera": sample.camera,
            "clothes": NONE if sample.clothes is None else sample.clothes,
            "tracklet": NONE if sample.tracklet is None else sample.tracklet,
            "index": position,
        }
        if labels is not None:
            fields["clothes_mask"] = (
                torch.zeros(picture.shape[1:], dtype=torch.bool) if moved is None else moved.bool()
            )
        return fields

    def _decoded(self, position: int) -> Decoded:
        """Return picture and clothes mask, from memory where they are kept."""
        kept = self._kept
        if kept is not None and position in kept:
            return kept[position]
        sample, labels = self._samples[position], self._mask_labels
        image, mask = read_image(sample.path), None
        if labels is not None and sample.mask is not None:
            mask = read_clothes(sample.mask, labels, image).astype("uint8")
        if kept is not None:
            kept[position] = image, mask
        return image, mask


def make_loader(pictures: PictureSet, batches: Iterable[Any], workers: int = 0) -> Any:
    """Make a loader of `Batch`.

    Args:
        pictures: What to read.
        batches: `samplers.Draws` for training, `samplers.InOrder` for evaluation.
        workers: Processes that read ahead; 0 reads in this one. The batches are the same.

    Returns:
        A `DataLoader`. Iterating raises what reading a picture raised, also in a worker, and
        `RunError` when a worker was killed.
    """
    return _Loader(
        _Careful(pictures),
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_one_thread,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        multiprocessing_context=_processes() if workers else None,
    )


class _Careful:
    """Returns errors in place of pictures, to be raised where they can be told to the user.

    What a worker raises, `DataLoader` wraps into a new error with a traceback for a message.
    """

    def __init__(self, pictures: PictureSet) -> None:
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, item: int | tuple[int, int]) -> dict[str, Any] | CrosscamError:
        try:
            return self._pictures[item]
        except CrosscamError as error:
            return error


def _collate(items: list[Any]) -> Any:
    """Put pictures together, or return the first error among them."""
    return next((x for x in items if isinstance(x, CrosscamError)), None) or default_collate(items)


class _Loader(DataLoader):
    """Raises the errors that `_Careful` has returned."""

    def __iter__(self) -> Iterator[Any]:
        return _raising(super().__iter__())


def _raising(batches: Iterator[Any]) -> Iterator[Any]:
    try:
        for batch in batches:
            if isinstance(batch, CrosscamError):
                raise batch
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise RunError(
            f"a process that reads pictures was killed ({error})",
            expected="memory for all of them",
            fix="fewer loop.workers, or loop.keep=false; then --resume",
        ) from error


def _processes() -> Any:
    """How workers start: from a clean process that has imported torch already.

    Forking this one would copy the locks of OpenCV's threads and a CUDA context that is in use.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _one_thread(_worker: int) -> None:
    """Workers are many already: one thread each."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
