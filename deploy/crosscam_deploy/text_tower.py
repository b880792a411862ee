"""The text tower of a bundle whose embeddings live where texts do: CLIP models.

It is two more files of the bundle: a graph from token numbers to an embedding, and CLIP's merges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosscam_deploy.graph import inspect
from crosscam_deploy.words import Words
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_deploy.bundle import Bundle

GRAPH, MERGES = "text.onnx", "text-merges.txt.gz"


def has_text(bundle: Bundle) -> bool:
    """Return whether a bundle has a text tower."""
    return {GRAPH, MERGES} <= set(bundle.manifest.files)


class TextTower:
    """Embeds texts; one thread at a time.

    Args:
        bundle: One that has a text tower.
        threads: Of the engine.

    Raises:
        InputError: It has none, or its files do not fit.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        from crosscam_deploy.runtime.onnxruntime_engine import session

        if not has_text(bundle):
            raise InputError(
                f"{bundle.manifest.name} has no text tower",
                expected="a bundle of a CLIP model",
                fix="export one: crosscam models pull clip:ARCHITECTURE/WEIGHTS",
            )
        graph = inspect(bundle.path / GRAPH)
        shapes = [*graph.inputs.values(), *graph.outputs.values()]
        dim = bundle.manifest.embedding_dim
        if len(shapes) != 2 or len(shapes[0]) != 2 or not shapes[0][1] or shapes[1] != (1, dim):
            raise InputError(
                f"the text tower of {bundle.manifest.name} has shapes {shapes}",
                expected=f"tokens (1, L) and one embedding (1, {dim})",
                fix="export the model again",
            )
        self._words = Words(bundle.path / MERGES, shapes[0][1])
        self._input = next(iter(graph.inputs))
        self._session = session(bundle.path / GRAPH, threads=threads)

    def embed(self, text: str) -> NDArray[np.float32]:
        """Return `(D,)` float32 of length 1, of the space of the bundle's embeddings.

        Raises:
            InputError: The text is too long, or the network answers with no numbers.
        """
        tokens = np.array([self._words.numbers(text)], np.int64)
        (row,) = np.asarray(self._session.run(None, {self._input: tokens})[0], np.float32)
        length = float(np.linalg.norm(row))
        if not np.isfinite(length) or length < 1e-6:
            raise InputError("the text tower answers with no numbers", fix="export it again")
        out: NDArray[np.float32] = row / np.float32(length)
        return out
