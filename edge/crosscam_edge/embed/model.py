"""A re-identification network from a bundle."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.embed.base import clip_boxes, unit_rows
from crosscam_kernels.errors import InputError
from crosscam_kernels.ops import crop_resize_normalize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_deploy.runtime import Runtime


class ModelEmbedder:
    """Runs an embedding bundle; safe to call from several threads.

    Args:
        runtime: An opened bundle whose task is ``embed``.

    Raises:
        InputError: The bundle is not an embedder, or was trained on letterboxed crops.
    """

    def __init__(self, runtime: Runtime) -> None:
        manifest = runtime.bundle.manifest
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
        self.name = manifest.name
        self.model_id = manifest.model_id
        self.dim = manifest.embedding_dim
        self.runtime = runtime
        self.inference_seconds = 0.0
        self.unusable = 0
        self._prep = manifest.preprocessing
        self._lock = threading.Lock()

    def embed(self, image: NDArray[np.uint8], boxes: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return one L2-normalised row `(N, D)` per box; zeros where none could be made."""
        box, valid = clip_boxes(boxes, *image.shape[:2])
        out = np.zeros((len(box), self.dim), np.float32)
        spent = 0.0
        if valid.any():
            prep = self._prep
            batch = crop_resize_normalize(
                image,
                box[valid],
                size=(prep.height, prep.width),
                color_in="bgr",
                color_out=prep.color,
                scale=prep.scale,
                mean=prep.mean,
                std=prep.std,
                threads=1,
            )
            started = time.perf_counter()
            rows = self.runtime.infer(batch)[0].reshape(len(batch), -1)
            spent = time.perf_counter() - started
            unit, good = unit_rows(rows)
            out[valid] = unit
            valid[valid] = good
        with self._lock:
            self.inference_seconds += spent
            self.unusable += int((~valid).sum())
        return out

    def close(self) -> None:
        """Free the engine."""
        self.runtime.close()
