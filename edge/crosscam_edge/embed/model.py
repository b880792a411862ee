"""A re-identification network from a bundle."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from crosscam_deploy.embedding import embedder_inputs, embedding_dim
from crosscam_edge.embed.base import clip_boxes, unit_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        self.dim = embedding_dim(manifest)
        self.name = manifest.name
        self.model_id = manifest.model_id
        self.runtime = runtime
        self.inference_seconds = 0.0
        self.unusable = 0
        self._prep = manifest.preprocessing
        self._lock = threading.Lock()

    def embed(self, image: NDArray[np.uint8], boxes: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return one L2-normalised row `(N, D)` per box; zeros where none could be made."""
        return self.embed_many([(image, boxes)])[0]

    def embed_many(
        self, asked: Sequence[tuple[NDArray[np.uint8], NDArray[np.floating]]]
    ) -> list[NDArray[np.float32]]:
        """Embed the people of several pictures in one call of the network.

        Args:
            asked: Pictures `(H, W, 3)` uint8, BGR, each with its boxes `(N, 4)`.

        Returns:
            For each picture what `embed` returns.
        """
        clipped = [clip_boxes(boxes, *image.shape[:2]) for image, boxes in asked]
        out = [np.zeros((len(box), self.dim), np.float32) for box, _ in clipped]
        crops = [
            embedder_inputs(image, box[valid], self._prep, "bgr")
            for (image, _), (box, valid) in zip(asked, clipped, strict=True)
            if valid.any()
        ]
        spent = 0.0
        if crops:
            batch = crops[0] if len(crops) == 1 else np.concatenate(crops)
            started = time.perf_counter()
            rows = self.runtime.infer(batch)[0].reshape(len(batch), -1)
            spent = time.perf_counter() - started
            unit, good = unit_rows(rows)
            first = 0
            for found, (_, valid) in zip(out, clipped, strict=True):
                mine = slice(first, first + int(valid.sum()))
                found[valid], first = unit[mine], mine.stop
                valid[valid] = good[mine]
        with self._lock:
            self.inference_seconds += spent
            self.unusable += sum(int((~valid).sum()) for _, valid in clipped)
        return out

    def close(self) -> None:
        """Free the engine."""
        self.runtime.close()
