"""Batches from one camera each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_kernels.errors import UsageError
from crosscam_trainer.data.samplers.base import EpochSampler, as_labels, check_parts
from crosscam_trainer.data.samplers.chunks import (
    arrange,
    batches_needed,
    chunks,
    fill,
    interleaved,
    level,
    positions_by_label,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class CameraSampler(EpochSampler):
    """Every batch comes from one camera: `P` of its labels, `K` pictures of each.

    For what compares a picture only with others of its camera (CCAFL's stage 1 and intra-camera
    learning, where candidates are the camera's labels). A pass holds every picture; the batches of
    all cameras come in random order, so a camera has as many as its pictures need.

    In a camera with fewer than `P` labels a label stands in a batch several times, as evenly as
    possible.

    Args:
        labels: `(N,)` integers; only pictures with the same label *and* camera are taken together.
        cameras: `(N,)` integers: `Sample.camera`.
        people: `P`, groups in a global batch; a multiple of `world_size`.
        pictures: `K`, pictures a group.
        seed: As in `EpochSampler`.
        rank: As in `EpochSampler`.
        world_size: As in `EpochSampler`.
        batches: As in `EpochSampler`.

    Raises:
        UsageError: `P` does not divide among the ranks; labels and cameras are not of one length.
    """

    def __init__(
        self,
        labels: ArrayLike,
        cameras: ArrayLike,
        people: int,
        pictures: int,
        *,
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
        self._cameras = as_labels(cameras, "cameras")
        if len(self._cameras) != len(self._labels):
            raise UsageError(
                f"{len(self._cameras)} cameras for {len(self._labels)} labels",
                expected="one of each a picture",
            )
        self.people, self.pictures = people, pictures
        self._by_camera = [
            [inside[k] for k in positions_by_label(self._labels[inside])]
            for inside in positions_by_label(self._cameras)
        ]
        self._pass_length = sum(self._batches_of(camera) for camera in self._by_camera)

    def pass_length(self) -> int:
        """Return the number of batches of one pass."""
        return self._pass_length

    def identity(self) -> tuple[Any, ...]:
        """Return what the plan depends on."""
        return (self._labels, self._cameras, self.people, self.pictures)

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Plan one pass, ``(pass_length(), P * K)``."""
        plans = [self._draw_camera(camera, rng) for camera in self._by_camera]
        return rng.permutation(np.concatenate(plans))

    def _counts(self, labels: list[NDArray[np.int64]]) -> NDArray[np.int64]:
        return np.array([-(-len(positions) // self.pictures) for positions in labels], np.int64)

    def _batches_of(self, labels: list[NDArray[np.int64]]) -> int:
        counts = self._counts(labels)
        if len(labels) >= self.people:
            return batches_needed(counts.tolist(), self.people)
        return -(-int(counts.sum()) // self.people)

    def _draw_camera(
        self, labels: list[NDArray[np.int64]], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        counts, length = self._counts(labels), self._batches_of(labels)
        if len(labels) >= self.people:
            numbers = fill(counts, self.people, length, rng)
        else:
            numbers = level(counts, self.people * length, rng)
        groups = [
            chunks(interleaved(positions, None, rng), self.pictures, number, rng)
            for positions, number in zip(labels, numbers.tolist(), strict=True)
        ]
        return arrange(groups, length, rng)
