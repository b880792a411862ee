"""A detection network from a bundle."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from crosscam_deploy.decode import decode
from crosscam_deploy.preprocess import preprocess
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from crosscam_deploy.runtime import Runtime
    from crosscam_edge.types import Detections


class ModelDetector:
    """Runs a detector bundle; safe to call from several threads.

    Args:
        runtime: An opened bundle whose task is ``detect``.
        min_confidence: Boxes with a lower score are dropped, in [0, 1].

    Raises:
        InputError: The bundle is not a detector.
    """

    sequential = False

    def __init__(self, runtime: Runtime, min_confidence: float) -> None:
        manifest = runtime.bundle.manifest
        if manifest.task != "detect" or manifest.decoder is None:
            raise InputError(
                f"the model '{manifest.name}' does not detect (its task is {manifest.task})",
                expected="a detector",
                fix="give it as --embedder, or choose a detector from `crosscam models list`",
            )
        self.name = manifest.name
        self.model_id = manifest.model_id
        self.runtime = runtime
        self.inference_seconds = 0.0
        self._decoder = manifest.decoder
        self._prep = manifest.preprocessing
        self._min_confidence = min_confidence
        self._lock = threading.Lock()

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Return the people of each image, best first."""
        if not images:
            return []
        batch, transforms = preprocess(images, self._prep)
        started = time.perf_counter()
        outputs = self.runtime.infer(batch)
        spent = time.perf_counter() - started
        with self._lock:
            self.inference_seconds += spent
        size = (self._prep.height, self._prep.width)
        return decode(outputs, self._decoder, transforms, size, self._min_confidence)

    def for_camera(self) -> ModelDetector:
        """Return itself: a network keeps nothing between images."""
        return self

    def close(self) -> None:
        """Free the engine."""
        self.runtime.close()
