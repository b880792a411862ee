"""Embeddings of pictures by a bundle, as the edge computes them. Needs no torch."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from crosscam_deploy.embedding import embedder_inputs, embedding_dim, unit_rows, whole_picture
from crosscam_deploy.pictures.files import read_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from crosscam_deploy.manifest import Preprocessing
    from crosscam_deploy.runtime import Runtime
    from crosscam_trainer.data.types import Sample

_READERS = 2


class BundleEmbedder:
    """Embeds pictures of people by a bundle: the edge's own steps from pixels to unit vectors.

    Args:
        runtime: An opened bundle whose task is ``embed``.
        flip: Average the embeddings of a picture and of its mirror image.
        batch_size: Pictures at a time.

    Raises:
        InputError: The bundle does not embed whole crops.
    """

    def __init__(self, runtime: Runtime, *, flip: bool = False, batch_size: int = 128) -> None:
        manifest = runtime.bundle.manifest
        self.dim = embedding_dim(manifest)
        self._runtime, self._prep = runtime, manifest.preprocessing
        self._flip, self._batch = flip, batch_size

    def __call__(
        self, samples: Sequence[Sample], progress: Callable[[int, int], None] | None = None
    ) -> NDArray[np.float32]:
        """Embed pictures.

        Args:
            samples: `N`.
            progress: Called with how many are done, and how many there are.

        Returns:
            `(N, D)` float32, L2-normalised.

        Raises:
            InputError: A picture cannot be read.
            RunError: The network answers with something that is no direction.
        """
        out = np.empty((len(samples), self.dim), np.float32)
        done = 0
        parts = [samples[k : k + self._batch] for k in range(0, len(samples), self._batch)]
        with ThreadPoolExecutor(_READERS, "pictures") as pool:
            tasks = (pool.submit(inputs_of, part, self._prep) for part in parts)
            for batch in _ahead(tasks, _READERS):
                rows = self._infer(batch)
                if self._flip:
                    rows = rows + self._infer(np.ascontiguousarray(batch[..., ::-1]))
                out[done : done + len(rows)] = unit_rows(rows)
                done += len(rows)
                if progress is not None:
                    progress(done, len(samples))
        return out

    def _infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return unit_rows(self._runtime.infer(batch)[0].reshape(len(batch), -1))


def inputs_of(samples: Sequence[Sample], prep: Preprocessing) -> NDArray[np.float32]:
    """Return the inputs `(B, 3, H, W)` of pictures: whole pictures, resized as on the edge."""
    images = (read_image(sample.path) for sample in samples)
    return np.concatenate(
        [embedder_inputs(image, whole_picture(image), prep, "rgb") for image in images]
    )


def _ahead(
    tasks: Iterable[Future[NDArray[np.float32]]], waiting: int
) -> Iterator[NDArray[np.float32]]:
    """Yield results in order while the next few are at work, and no more."""
    queue: deque[Future[NDArray[np.float32]]] = deque()
    for task in tasks:
        queue.append(task)
        if len(queue) > waiting:
            yield queue.popleft().result()
    while queue:
        yield queue.popleft().result()
