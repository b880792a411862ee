"""Embeddings of pictures by a model on torch, on all processes of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from crosscam_trainer.data.dataset import PictureSet, make_loader
from crosscam_trainer.data.samplers import InOrder
from crosscam_trainer.data.transforms import for_test
from crosscam_trainer.loop.devices import World
from crosscam_trainer.loop.extract import evaluating

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from crosscam_trainer.data.transforms import Preparation
    from crosscam_trainer.data.types import Sample
    from crosscam_trainer.models.reid import ReIDModel


def embed(
    model: ReIDModel,
    samples: Sequence[Sample],
    preparation: Preparation,
    *,
    world: World | None = None,
    flip: bool = False,
    batch_size: int = 128,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Embed pictures; every process does a part, and all get the whole.

    Cameras are not told to the model: they are those of other places than it was trained at. One
    with camera embeddings uses their mean, as its bundle does.

    Args:
        model: On the device of the world; its modes are put back.
        samples: `N`.
        preparation: How pictures become inputs.
        world: Processes; this one on the CPU by default.
        flip: Average the unit embeddings of a picture and of its mirror image.
        batch_size: Pictures at a time.
        workers: Processes that read ahead.
        progress: Called with pictures done and to do, of this process.

    Returns:
        `(N, D)` float32, L2-normalised, in the order of `samples`.

    Raises:
        InputError: A picture cannot be read.
    """
    world = world or World(torch.device("cpu"))
    order = InOrder(len(samples), batch_size, rank=world.rank, world_size=world.size)
    loader: Any = make_loader(PictureSet(samples, for_test(preparation)), order, workers)
    found: list[Any] = [torch.empty(0, model.embedding_dim, device=world.device)]
    done, total = 0, len(samples) // world.size
    with evaluating(model):
        for batch in loader:
            images = batch["image"].to(world.device, non_blocking=True)
            with world.autocast():
                rows = model.embed(images).float()
                if flip:
                    rows = functional.normalize(rows + model.embed(images.flip(-1)).float(), dim=1)
            found.append(rows)
            done += len(rows)
            if progress is not None:
                progress(done, total)
        rows = world.gather(torch.cat(found))
    result: NDArray[np.float32] = rows.cpu().numpy()
    return result
