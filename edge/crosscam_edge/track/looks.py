"""The embeddings of one frame: fetched when first needed, and never twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.track.appearance import usable

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Embed = Callable[[NDArray[np.intp]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class FrameDetails:
    """What an update of the tracker did beside the tracks.

    Attributes:
        quality: `(N,)` float32 crop quality of the detections; 0 = not worth embedding.
        embedded: `(K,)` indices of the detections whose embedding was asked for, ascending.
        embeddings: `(K, D)` float32 what came back; rows may be zero.
        doubted: `(K,)` bool; True where the crop does not look like the person of its track.
    """

    quality: NDArray[np.float32]
    embedded: NDArray[np.intp]
    embeddings: NDArray[np.float32]
    doubted: NDArray[np.bool_]


class LazyEmbeddings:
    """Embeddings of the detections of one frame.

    Args:
        quality: `(N,)` crop quality; 0 = never embed.
        embed: Where embeddings come from; None when there are none.

    Attributes:
        quality: As given.
        known: `(N,)` bool; which rows are usable.
        rows: `(N, D)` float32; zeros where not known.
        doubted: `(N,)` bool; set by whoever doubts that a crop shows the person of its track.
    """

    def __init__(self, quality: NDArray[np.float32], embed: Embed | None) -> None:
        self._embed = embed
        self._asked: NDArray[np.bool_] = np.zeros(len(quality), np.bool_)
        self.quality = quality
        self.known: NDArray[np.bool_] = np.zeros(len(quality), np.bool_)
        self.doubted: NDArray[np.bool_] = np.zeros(len(quality), np.bool_)
        self.rows: NDArray[np.float32] = np.zeros((len(quality), 0), np.float32)

    def fetch(self, wanted: NDArray[np.bool_]) -> None:
        """Make the rows of the mask `wanted` `(N,)` available where the gate allows it."""
        if self._embed is None:
            return
        index = np.flatnonzero(wanted & ~self._asked & (self.quality > 0))
        if not len(index):
            return
        rows = np.asarray(self._embed(index), np.float32)
        if self.rows.shape[1] != rows.shape[1]:
            self.rows = np.zeros((len(self.quality), rows.shape[1]), np.float32)
        self._asked[index] = True
        good = usable(rows)
        self.known[index[good]] = True
        self.rows[index] = np.where(good[:, None], rows, np.float32(0))

    def details(self) -> FrameDetails:
        """Return what was asked for."""
        index = np.flatnonzero(self._asked)
        return FrameDetails(self.quality, index, self.rows[index], self.doubted[index])
