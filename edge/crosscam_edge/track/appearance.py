"""What a track remembers of a person's looks, and what a similarity is worth here.

A cosine of 0.6 means "same person" for one ReID network and "two strangers" for another. The
tracker therefore learns both distributions while it runs: two people in one frame are certainly
different, two sights of a steadily matched track are certainly the same. A similarity then
becomes a log-likelihood ratio, which adds to the evidence of motion without a weight to tune.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.embed.translation import Translation

_MAX_EVIDENCE = 6.0  # nats: looks alone never outweigh a physically impossible move


@dataclass(slots=True)
class _Moments:
    """Running mean and variance with a bounded memory; starts from a prior worth `weight`."""

    mean: float
    variance: float
    weight: float
    limit: float = 2000.0

    def add(self, values: NDArray[np.floating]) -> None:
        for value in values.tolist():
            self.weight = min(self.weight + 1.0, self.limit)
            step = value - self.mean
            self.mean += step / self.weight
            self.variance += (step * (value - self.mean) - self.variance) / self.weight


@dataclass(slots=True)
class AppearanceScale:
    """Similarity distributions of the same and of different people, learned while running.

    Attributes:
        genuine: Two sights of one person.
        impostor: Sights of two people.
    """

    genuine: _Moments = field(default_factory=lambda: _Moments(0.75, 0.12**2, 15.0))
    impostor: _Moments = field(default_factory=lambda: _Moments(0.35, 0.15**2, 15.0))

    def learn_genuine(self, similarity: NDArray[np.floating]) -> None:
        """Add similarities `(K,)` of certain matches."""
        self.genuine.add(similarity)

    def learn_impostor(self, similarity: NDArray[np.floating]) -> None:
        """Add similarities `(K,)` of people seen at the same time."""
        self.impostor.add(similarity)

    def evidence(self, similarity: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the log-likelihood ratio same / different, in nats.

        Two normal distributions of different width cross twice; the ratio is made monotone by
        evaluating it between the two means only and continuing it linearly with the pooled width.

        Args:
            similarity: Any shape; NaN = unknown.

        Returns:
            Same shape, within ±6; 0 where unknown.
        """
        g, i = self.genuine, self.impostor
        sd_g, sd_i = max(math.sqrt(g.variance), 0.05), max(math.sqrt(i.variance), 0.05)
        gap = max(g.mean - i.mean, 0.05)
        # Equal-variance (linear) discriminant: the crossing lies where both tails are equal.
        crossing = i.mean + gap * sd_i / (sd_i + sd_g)
        slope = gap / (sd_g * sd_i)
        out: NDArray[np.float64] = np.clip(
            np.nan_to_num((similarity - crossing) * slope, nan=0.0), -_MAX_EVIDENCE, _MAX_EVIDENCE
        )
        return out


class Memory:
    """Bounded sample of the embeddings of one track.

    Args:
        size: Exemplars kept.

    Attributes:
        embeddings: `(E, D)` float32, L2-normalised, oldest first.
        qualities: `(E,)` float32.
    """

    __slots__ = ("_size", "embeddings", "mean", "qualities")

    def __init__(self, size: int) -> None:
        self._size = size
        self.embeddings: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self.qualities: NDArray[np.float32] = np.zeros(0, np.float32)
        self.mean: NDArray[np.float32] = np.zeros(0, np.float32)

    def __len__(self) -> int:
        return len(self.embeddings)

    def add(self, embedding: NDArray[np.float32], quality: float) -> None:
        """Remember one embedding `(D,)`; when full, the more redundant of the oldest two goes."""
        if not len(self):
            self.embeddings, self.qualities = (
                embedding[None].copy(),
                np.array([quality], np.float32),
            )
        else:
            self.embeddings = np.concatenate([self.embeddings, embedding[None]])
            self.qualities = np.append(self.qualities, np.float32(quality))
        if len(self.embeddings) > self._size:
            # The worst-quality member of the closest pair carries the least new information.
            likeness = self.embeddings @ self.embeddings.T
            np.fill_diagonal(likeness, -np.inf)
            a, b = np.unravel_index(int(likeness.argmax()), likeness.shape)
            drop = int(a if self.qualities[a] < self.qualities[b] else b)
            keep = np.arange(len(self.embeddings)) != drop
            self.embeddings, self.qualities = self.embeddings[keep], self.qualities[keep]
        self._average()

    def translate(self, translation: Translation) -> None:
        """Go over to another model: what it has not seen is forgotten."""
        self.embeddings, known = translation.of(self.embeddings)
        self.qualities = self.qualities[known]
        self._average()

    def _average(self) -> None:
        mean = self.qualities @ self.embeddings
        self.mean = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)

    def similarity(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the `(K,)` similarity to `embeddings` `(K, D)`; NaN when nothing is remembered."""
        if not len(self):
            return np.full(len(embeddings), np.nan)
        to_mean = embeddings @ self.mean
        to_best = (embeddings @ self.embeddings.T).max(axis=1)
        out: NDArray[np.float64] = ((to_mean + to_best) / 2).astype(np.float64)
        return out


def usable(embeddings: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which rows of `(K, D)` are real embeddings: finite and not zero."""
    finite = np.isfinite(embeddings).all(axis=1)
    out: NDArray[np.bool_] = finite & (np.abs(embeddings).sum(axis=1) > 0)
    return out
