"""What the pipeline needs of an embedder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Embedder(Protocol):
    """Turns pictures of people into vectors that are alike for one person.

    Attributes:
        name: Name for people.
        model_id: The embedding space; vectors of different ids are never compared.
        dim: Length D of a vector.
        inference_seconds: Time spent inside the network so far, all threads together.
        unusable: Crops so far for which no vector could be made.
    """

    name: str
    model_id: str
    dim: int
    inference_seconds: float
    unusable: int

    def embed(self, image: NDArray[np.uint8], boxes: NDArray[np.floating]) -> NDArray[np.float32]:
        """Embed the boxes of an image.

        Args:
            image: `(H, W, 3)` uint8, BGR.
            boxes: `(N, 4)` x1, y1, x2, y2 in pixels; may reach outside the image.

        Returns:
            `(N, D)` float32, L2-normalised; a row of zeros where no vector could be made.
        """
        ...

    def close(self) -> None:
        """Free the engine."""
        ...


def clip_boxes(
    boxes: NDArray[np.floating], height: int, width: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Cut boxes to an image.

    Returns:
        Boxes `(N, 4)` in whole pixels, and the mask `(N,)` of those with at least 2 x 2 pixels.
    """
    box = np.asarray(boxes, np.float64).reshape(-1, 4)
    valid: NDArray[np.bool_] = np.asarray(np.isfinite(box).all(axis=1))
    box = np.where(valid[:, None], box, 0.0)
    limit = np.array([width, height, width, height], np.float64)
    box = np.clip(np.rint(box), 0, limit)
    valid &= (box[:, 2] - box[:, 0] >= 2) & (box[:, 3] - box[:, 1] >= 2)
    return box, valid


def unit_rows(rows: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """L2-normalise rows.

    Returns:
        `(N, D)` float32 with zeros where a row is not finite or has no length, and the mask `(N,)`
        of the others.
    """
    values = np.asarray(rows, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        norm = np.sqrt(np.square(values, dtype=np.float64).sum(axis=1))
    good: NDArray[np.bool_] = np.asarray(np.isfinite(norm) & (norm > 1e-12))
    out = np.zeros_like(values)
    out[good] = values[good] / norm[good, None]
    return out, good
