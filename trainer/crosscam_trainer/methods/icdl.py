"""Intra-camera discriminative learning: stage 2 of CCAFL, Eq. 4-11.

Each camera has a *hybrid memory*: a centroid and a set of instances for each of its people. Labels
are accumulated ones, so the memories of all cameras are one, and a label's camera says which part
is whose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from crosscam_kernels import (
    instance_infonce,
    memory_infonce,
    triplet_loss,
    update_instances,
    update_memory,
)
from crosscam_trainer.methods.labels import camera_means, centroids, instances
from crosscam_trainer.recipe import Share, Strict

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor


class ICDLOptions(Strict):
    """Intra-camera learning; paper equations by default."""

    epochs: NonNegativeInt = Field(default=5, description="E_intra, the first ones of the schedule")
    lambda_: Share = Field(
        default=0.6, description="Eq. 10; 0.6 for Market-1501 and DukeMTMC, 0 for MSMT17"
    )
    temperature: PositiveFloat = Field(default=0.05, description="tau of Eq. 7 and 8")
    momentum: Share = Field(default=0.1, description="alpha of Eq. 6, the share that is kept")
    slots: PositiveInt = Field(default=32, description="stored instances of each label")
    text_weight: NonNegativeFloat = Field(default=1.0, description="of Eq. 9; the paper has 1")
    label_smoothing: Share = Field(default=0.1, description="of Eq. 9")
    triplet: bool = Field(
        default=False,
        description="official code only: batch-hard triplet inside the camera",
    )
    memory_triplet: bool = Field(
        default=False,
        description="official code only: triplet of a picture and the camera's centroids",
    )
    margin: NonNegativeFloat = Field(default=0.3, description="of both triplet losses")


@dataclass(slots=True)
class HybridMemory:
    """Centroids and instances of all labels; nothing of it has gradients.

    Attributes:
        centroids: `(G, D)`, mu of Eq. 4, unit length.
        instances: `(G, S, D)`, unit length.
        filled: `(G, S)` bool, which instances there are.
        camera_of: `(G,)` int64, camera of each label.
    """

    centroids: Tensor
    instances: Tensor
    filled: Tensor
    camera_of: Tensor

    @classmethod
    def of(
        cls,
        features: Tensor,
        person: Tensor,
        camera_of: Tensor,
        slots: int,
        rng: np.random.Generator,
    ) -> HybridMemory:
        """Fill both banks from the features of the training split (Eq. 4).

        Args:
            features: `(N, D)`.
            person: `(N,)` int64 accumulated labels.
            camera_of: `(G,)` int64.
            slots: Instances of each label, drawn with replacement as the official code does.
            rng: Where they are drawn from.
        """
        labels = len(camera_of)
        stored, filled = instances(features, person, labels, slots, rng)
        return cls(centroids(features, person, labels), stored, filled, camera_of)

    def update(self, f: Tensor, person: Tensor, momentum: float) -> None:
        """Take in a batch, after its backward pass, so that losses see the memory before it.

        Instances are replaced (Eq. 5), centroids move (Eq. 6) and are normalised again.

        Args:
            f: `(B, D)`, unit length.
            person: `(B,)` int64 accumulated labels.
            momentum: alpha.
        """
        update_instances(self.instances, self.filled, f.detach(), person)
        update_memory(self.centroids, f.detach(), person, momentum, "mean")

    def state_dict(self) -> dict[str, Tensor]:
        """Return the banks by name; labels' cameras are the data's."""
        return {
            "centroids": self.centroids,
            "instances": self.instances,
            "filled": self.filled,
        }

    @classmethod
    def load(cls, state: dict[str, Tensor], camera_of: Tensor) -> HybridMemory:
        """Take over `state_dict`."""
        device: torch.device = camera_of.device
        banks = {k: state[k].to(device) for k in ("centroids", "instances", "filled")}
        return cls(**banks, camera_of=camera_of)


def centroid_loss(
    f: Tensor, person: Tensor, camera: Tensor, memory: HybridMemory, temperature: float
) -> Tensor:
    """`L_intra1`: each picture against the centroids of its camera (Eq. 7), summed over cameras.

    Args:
        f: `(B, D)`, unit length.
        person: `(B,)` int64 accumulated labels.
        camera: `(B,)` int64.
        memory: Hybrid memory.
        temperature: tau.
    """
    losses = memory_infonce(
        f,
        memory.centroids,
        person,
        cameras=camera,
        bank_cameras=memory.camera_of,
        candidates="only_same",
        temperature=temperature,
        reduction="none",
    )
    return camera_means(losses, camera)


def instance_loss(
    f: Tensor, person: Tensor, camera: Tensor, memory: HybridMemory, temperature: float
) -> Tensor:
    """`L_intra2`: each picture against the hardest instances of its camera's people (Eq. 8).

    The own label's is the *least* similar instance, every other label's the *most* similar one.
    Arguments as `centroid_loss`.
    """
    losses = instance_infonce(
        f,
        memory.instances,
        memory.filled,
        person,
        class_cameras=memory.camera_of,
        cameras=camera,
        temperature=temperature,
        reduction="none",
    )
    return camera_means(losses, camera)


def text_loss(
    joint: Tensor,
    person: Tensor,
    camera: Tensor,
    texts: Tensor,
    camera_of: Tensor,
    label_smoothing: float,
) -> Tensor:
    """`L_i2tce^intra`: each picture against the texts of its camera's people (Eq. 9).

    Logits are inner products of features that are not normalised, as in CLIP-ReID.

    Args:
        joint: `(B, J)`.
        person: `(B,)` int64 accumulated labels.
        camera: `(B,)` int64.
        texts: `(G, J)`, fixed.
        camera_of: `(G,)` int64.
        label_smoothing: Share of the target that is spread over the camera's people.
    """
    losses = memory_infonce(
        joint,
        texts,
        person,
        cameras=camera,
        bank_cameras=camera_of,
        candidates="only_same",
        temperature=1.0,
        label_smoothing=label_smoothing,
        reduction="none",
    )
    return camera_means(losses, camera)


def icdl_losses(
    f: Tensor,
    joint: Tensor,
    person: Tensor,
    camera: Tensor,
    memory: HybridMemory,
    texts: Tensor,
    options: ICDLOptions,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return `L_intra` (Eq. 11) and its parts, unweighted.

    Args:
        f: `(B, D)`, unit length.
        joint: `(B, J)`.
        person: `(B,)` int64 accumulated labels.
        camera: `(B,)` int64.
        memory: Hybrid memory.
        texts: `(G, J)` of stage 1.
        options: Weights and switches.
    """
    parts: dict[str, Tensor] = {}
    total = f.new_zeros(())
    if options.lambda_ > 0:
        parts["intra1"] = centroid_loss(f, person, camera, memory, options.temperature)
        total = total + options.lambda_ * parts["intra1"]  # Eq. 10
    if options.lambda_ < 1:
        parts["intra2"] = instance_loss(f, person, camera, memory, options.temperature)
        total = total + (1 - options.lambda_) * parts["intra2"]  # Eq. 10
    if options.text_weight > 0:
        parts["i2tce_intra"] = text_loss(
            joint, person, camera, texts, memory.camera_of, options.label_smoothing
        )
        total = total + options.text_weight * parts["i2tce_intra"]  # Eq. 11
    for name, loss in _triplets(f, person, camera, memory, options).items():
        parts[name] = loss
        total = total + loss
    return total, parts


def _triplets(
    f: Tensor, person: Tensor, camera: Tensor, memory: HybridMemory, options: ICDLOptions
) -> dict[str, Tensor]:
    """Return the official code's extra losses that are switched on."""
    found = {}
    if options.triplet:
        losses = triplet_loss(
            f,
            person,
            margin=options.margin,
            cameras=camera,
            positives="same_camera",
            negatives="same_camera",
            reduction="none",
        )
        found["triplet"] = camera_means(losses, camera)
    if options.memory_triplet:
        labels = person.new_tensor(range(len(memory.camera_of)))
        losses = triplet_loss(
            f,
            person,
            margin=options.margin,
            cameras=camera,
            positives="same_camera",
            negatives="same_camera",
            candidates=memory.centroids,
            candidate_labels=labels,
            candidate_cameras=memory.camera_of,
            reduction="none",
        )
        found["memory_triplet"] = camera_means(losses, camera)
    return found
