"""Labels of the training split as tensors, and what is computed from features by label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from crosscam_trainer.data.dataset import Batch
    from crosscam_trainer.data.types import ReIDData


@dataclass(frozen=True, slots=True)
class TrainLabels:
    """Labels of the pictures of the training split, and of the labels themselves.

    Attributes:
        person: `(N,)` int64, label of each picture; CCAFL's accumulated label `g` where labels are
            those of each camera.
        camera: `(N,)` int64.
        clothes: `(N,)` int64, -1 where not labelled.
        tracklet: `(N,)` int64, -1 where there is none.
        people: Number of labels, the paper's `G`.
        clothes_count: Number of outfits.
    """

    person: Tensor
    camera: Tensor
    clothes: Tensor
    tracklet: Tensor
    people: int
    clothes_count: int

    @property
    def camera_of(self) -> Tensor:
        """Return the camera of each label, `(G,)`; of labels in several, that of some picture."""
        found = self.person.new_zeros(self.people)
        found[self.person] = self.camera
        return found

    @property
    def person_of_clothes(self) -> Tensor:
        """Return the person of each outfit, `(O,)`."""
        found = self.person.new_zeros(self.clothes_count)
        worn = self.clothes >= 0
        found[self.clothes[worn]] = self.person[worn]
        return found


def train_labels(data: ReIDData, device: Any) -> TrainLabels:
    """Return the labels of the training split, in the order of its samples."""

    def column(values: list[int | None]) -> Tensor:
        return torch.tensor([-1 if v is None else v for v in values], dtype=torch.int64).to(device)

    return TrainLabels(
        person=column([s.person for s in data.train]),
        camera=column([s.camera for s in data.train]),
        clothes=column([s.clothes for s in data.train]),
        tracklet=column([s.tracklet for s in data.train]),
        people=data.train_people,
        clothes_count=data.train_clothes,
    )


def mean_by_label(features: Tensor, labels: Tensor, count: int) -> Tensor:
    """Return the mean feature of each label, `(count, D)`; zero for labels without any.

    Computed on the CPU, where the order of sums, and so the result, is always the same.

    Args:
        features: `(N, D)`.
        labels: `(N,)` int64; negative: left out.
        count: Number of labels.
    """
    rows, at = features.detach().cpu(), labels.cpu()
    rows, at = rows[at >= 0], at[at >= 0]
    total = torch.zeros(count, features.shape[1], dtype=rows.dtype).index_add_(0, at, rows)
    number = torch.bincount(at, minlength=count).clamp(min=1)
    return (total / number[:, None]).to(features.device)


def unit(features: Tensor) -> Tensor:
    """Return rows of unit length; zero rows stay zero."""
    return functional.normalize(features, dim=1)


def centroids(features: Tensor, labels: Tensor, count: int) -> Tensor:
    """Return the unit-length mean of the unit-length features of each label, `(count, D)`."""
    return unit(mean_by_label(unit(features), labels, count))


def without_camera_means(features: Tensor, cameras: Tensor) -> Tensor:
    """Return unit-length features less the mean of their camera's, `(N, D)`.

    What a camera does to all its pictures is gone; what is left of two cameras can be compared.

    Args:
        features: `(N, D)`.
        cameras: `(N,)` int64.
    """
    rows = unit(features)
    _, inverse = torch.unique(cameras, return_inverse=True)
    means = mean_by_label(rows, inverse, int(inverse.max()) + 1)
    return rows - means[inverse]


def instances(
    features: Tensor, labels: Tensor, count: int, slots: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Draw stored instances of each label, with replacement.

    Args:
        features: `(N, D)`.
        labels: `(N,)` int64.
        count: Number of labels.
        slots: Instances of each.
        rng: Where they are drawn from.

    Returns:
        `(count, slots, D)` unit-length rows, and `(count, slots)` bool: which hold anything; labels
        without pictures hold nothing.
    """
    label: NDArray[np.int64] = labels.cpu().numpy()
    order = np.argsort(label, kind="stable")
    number = np.bincount(label, minlength=count)
    start = np.cumsum(number) - number
    drawn = (rng.random((count, slots)) * number[:, None]).astype(np.int64) + start[:, None]
    chosen = order[np.minimum(drawn, len(order) - 1)]
    filled = np.repeat(number[:, None] > 0, slots, axis=1)
    rows = unit(features.detach())[torch.from_numpy(chosen).to(features.device)]
    held = torch.from_numpy(filled).to(features.device)
    return rows * held[:, :, None], held


def camera_means(losses: Tensor, cameras: Tensor) -> Tensor:
    """Return the sum over cameras of the mean loss of a camera's samples.

    CCAFL writes its intra-camera losses as sums over cameras; each is computed as in a data set of
    that camera alone.

    Args:
        losses: `(B,)`.
        cameras: `(B,)` int64.
    """
    _, inverse, number = torch.unique(cameras, return_inverse=True, return_counts=True)
    return (losses / number[inverse]).sum()


def cameras_of_pictures(batch: Batch) -> Tensor:
    """Return the cameras of a batch's pictures, which are this rank's, `(b,)`.

    The labels of a batch are those of all ranks, one part after the other.
    """
    pictures, cameras = len(batch["image"]), batch["camera"]
    if len(cameras) == pictures:
        return cameras
    start = torch.distributed.get_rank() * pictures
    return cameras[start : start + pictures]
