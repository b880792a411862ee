"""A detection network from a bundle."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from crosscam_deploy.decode import decode
from crosscam_deploy.log import get_logger
from crosscam_deploy.preprocess import preprocess
from crosscam_edge.detect.scale import input_size
from crosscam_kernels.errors import InputError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from crosscam_deploy.runtime import Runtime
    from crosscam_edge.types import Detections

_log = get_logger("detect")
_MAX_ENGINES = 4  # pictures of more sizes than this share the published input


class ModelDetector:
    """Runs a detector bundle; safe to call from several threads.

    Every picture is looked at in the input size that suits it (`input_size`), where the network
    can; what is found in a picture does not depend on the others.

    Args:
        runtime: An opened bundle whose task is ``detect``.
        min_confidence: Boxes with a lower score are dropped, in [0, 1].
        reopen: Opens the bundle for an input of ``(height, width)`` pixels; None to use `runtime`
            for all pictures.
        longest: Longest side of the input in pixels; None to let the picture decide.

    Raises:
        InputError: The bundle is not a detector.
    """

    sequential = False

    def __init__(
        self,
        runtime: Runtime,
        min_confidence: float,
        *,
        reopen: Callable[[tuple[int, int]], Runtime] | None = None,
        longest: int | None = None,
    ) -> None:
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
        self._min_confidence = min_confidence
        self._reopen = reopen
        self._longest = longest
        self._engines = {runtime.input_size: runtime}
        self._lock = threading.Lock()
        self._opening = threading.Lock()

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Return the people of each image, best first."""
        out: list[Detections | None] = [None] * len(images)
        groups: dict[tuple[int, int], list[int]] = {}
        for index, image in enumerate(images):
            groups.setdefault(self._size_for(image), []).append(index)
        for size, members in groups.items():
            found = self._run(self._engines[size], [images[index] for index in members])
            for index, detections in zip(members, found, strict=True):
                out[index] = detections
        return [detections for detections in out if detections is not None]

    def for_camera(self) -> ModelDetector:
        """Return itself: a network keeps nothing between images."""
        return self

    @property
    def runtimes(self) -> list[Runtime]:
        """The engines of all picture sizes so far."""
        return list({id(engine): engine for engine in self._engines.values()}.values())

    def close(self) -> None:
        """Free the engines."""
        for engine in self.runtimes:
            engine.close()

    def _run(self, engine: Runtime, images: list[NDArray[np.uint8]]) -> list[Detections]:
        height, width = engine.input_size
        prep = engine.bundle.manifest.preprocessing.model_copy(
            update={"height": height, "width": width}
        )
        batch, transforms = preprocess(images, prep)
        started = time.perf_counter()
        outputs = engine.infer(batch)
        spent = time.perf_counter() - started
        with self._lock:
            self.inference_seconds += spent
        return decode(outputs, self._decoder, transforms, (height, width), self._min_confidence)

    def _size_for(self, image: NDArray[np.uint8]) -> tuple[int, int]:
        """Return the key of the engine for an image; opens it when it is the first of its size."""
        picture = (image.shape[1], image.shape[0])
        if self._reopen is None or 0 in picture:
            return self.runtime.input_size
        size = input_size(picture, self.runtime.bundle.manifest, self._longest)
        with self._opening:
            if size not in self._engines:
                self._engines[size] = self._open(size, self._reopen)
        return size

    def _open(self, size: tuple[int, int], reopen: Callable[[tuple[int, int]], Runtime]) -> Runtime:
        """Return an engine for `size`, or the published one where the graph does not take it."""
        if len({id(engine) for engine in self._engines.values()}) >= _MAX_ENGINES:
            _log.info("too many picture sizes, input as published", size=size)
            return self.runtime
        try:
            engine = reopen(size)
        except InputError as error:
            if self._longest is not None:
                raise
            _log.info("input as published", reason=str(error))
            return self.runtime
        try:  # a graph may take the size and answer for another one
            self._run(engine, [np.zeros((*size, 3), np.uint8)])
        except ShapeError as error:
            engine.close()
            if self._longest is not None:
                raise
            _log.info("input as published", reason=str(error))
            return self.runtime
        return engine
