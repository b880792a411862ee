"""What everything that embeds pictures of people by a bundle does alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from crosscam_kernels.errors import InputError, RunError
from crosscam_kernels.ops import crop_resize_normalize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_deploy.manifest import Manifest, Preprocessing


def embedding_dim(manifest: Manifest) -> int:
    """Return the width of a model's embeddings.

    Raises:
        InputError: The model is not an embedder, or was trained on letterboxed crops.
    """
    if manifest.task != "embed" or manifest.embedding_dim is None:
        raise InputError(
            f"the model '{manifest.name}' does not embed (its task is {manifest.task})",
            expected="a re-identification model",
            fix="give it as --detector, or choose an embedder from `crosscam models list`",
        )
    if manifest.preprocessing.fit != "stretch":
        raise InputError(
            f"the manifest of '{manifest.name}' asks for {manifest.preprocessing.fit} crops",
            expected="preprocessing.fit: stretch, as re-identification models are trained",
            fix="correct the manifest, or import the model again",
        )
    return manifest.embedding_dim


def embedder_inputs(
    image: NDArray[np.uint8],
    boxes: NDArray[np.floating],
    prep: Preprocessing,
    color_in: Literal["bgr", "rgb"],
) -> NDArray[np.float32]:
    """Cut people out of a picture and make them what the model takes.

    Args:
        image: `(H, W, 3)` uint8.
        boxes: `(N, 4)` corners in pixels, not empty.
        prep: Of the model.
        color_in: Order of the channels of `image`.

    Returns:
        `(N, 3, height, width)` float32.
    """
    inputs: NDArray[np.float32] = crop_resize_normalize(
        image,
        boxes,
        size=(prep.height, prep.width),
        color_in=color_in,
        color_out=prep.color,
        scale=prep.scale,
        mean=prep.mean,
        std=prep.std,
        threads=1,
    )
    return inputs


def whole_picture(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The box `(1, 4)` of a picture of one person."""
    height, width = image.shape[:2]
    return np.array([[0, 0, width, height]], np.float32)


def unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """L2-normalise rows `(N, D)`.

    Raises:
        RunError: A row has no length, or is not finite.
    """
    lengths = np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1, keepdims=True))
    if not np.all(np.isfinite(lengths) & (lengths > 1e-12)):
        raise RunError(
            "the model answers with embeddings that are zero or not finite",
            expected="numbers with a direction",
            fix="train it again, or import it again: it cannot find anybody",
        )
    return np.asarray(rows / lengths, np.float32)
