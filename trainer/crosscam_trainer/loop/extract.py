"""Features of the whole training split, in evaluation mode."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from crosscam_kernels.errors import InputError, UsageError
from crosscam_trainer.data.dataset import PictureSet, make_loader
from crosscam_trainer.data.samplers import InOrder
from crosscam_trainer.data.transforms import cover, for_test
from crosscam_trainer.methods.base import Extracted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from crosscam_trainer.data.masks import LabelSet
    from crosscam_trainer.data.transforms import Preparation
    from crosscam_trainer.data.types import Sample
    from crosscam_trainer.loop.devices import World
    from crosscam_trainer.models.reid import ReIDModel

IMAGES = ("image", "shielded", "clothes")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put all modules in evaluation mode without gradients, and each back as it was."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def extract(
    model: ReIDModel,
    samples: tuple[Sample, ...],
    preparation: Preparation,
    world: World,
    *,
    images: str = "image",
    mask_labels: LabelSet | None = None,
    batch_size: int = 128,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
    loaders: dict[str, Any] | None = None,
) -> Extracted:
    """Compute features; every process does a part, and all get the whole.

    Args:
        model: Its modes are put back.
        samples: `N` pictures.
        preparation: How pictures become inputs.
        world: Processes.
        images: One of `IMAGES`, see `Run.extract`.
        mask_labels: Meaning of the masks; needed for all but "image".
        batch_size: Pictures at a time.
        workers: Processes that read ahead.
        progress: Called with pictures done and to do, of this process.
        loaders: Keeps loaders with their processes for the next call with the same samples.

    Returns:
        Features in the order of `samples`, on the device.

    Raises:
        UsageError: There are no such images.
        InputError: A sample without mask, where masks are needed.
    """
    if images not in IMAGES:
        raise UsageError(f"images {images!r}", expected=" or ".join(IMAGES))
    masked = images != "image"
    if masked and (mask_labels is None or any(s.mask is None for s in samples)):
        raise InputError(
            f"features of {images!r} images need a clothes mask for every training picture",
            fix="name the folder of the masks: data.masks=FOLDER",
        )
    pictures = PictureSet(samples, for_test(preparation), mask_labels if masked else None)
    loaders = {} if loaders is None else loaders
    order = InOrder(len(samples), batch_size, rank=world.rank, world_size=world.size)
    if images not in loaders:
        loaders[images] = make_loader(pictures, order, workers)
    final: list[Any] = [torch.empty(0, model.final_dim, device=world.device)]
    joint: list[Any] = [torch.empty(0, model.joint_dim, device=world.device)]
    done, total = 0, len(samples) // world.size
    with evaluating(model):
        for batch in loaders[images]:
            inputs = batch["image"].to(world.device, non_blocking=True)
            if masked:
                clothes = batch["clothes_mask"].to(world.device, non_blocking=True)
                inputs = cover(inputs, clothes if images == "shielded" else ~clothes, preparation)
            with world.autocast():
                features = model(inputs, batch["camera"].to(world.device))
            final.append(features.final_bn.float())
            joint.append(features.joint.float())
            done += len(inputs)
            if progress is not None:
                progress(done, total)
        return Extracted(world.gather(torch.cat(final)), world.gather(torch.cat(joint)))
