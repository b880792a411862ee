"""All pairs of tracklets at once: exact, for runs whose pairs fit in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.associate import calibrate
from crosscam_edge.associate.attempt import Attempt, fit_models
from crosscam_edge.associate.constraints import Spans, every_pair
from crosscam_edge.associate.evidence import Evidence
from crosscam_edge.associate.features import (
    Looks,
    blocks,
    centred,
    diverse,
    halves,
    looks_of,
    mean_embedding,
    paired_similarity,
    similarity,
)
from crosscam_edge.associate.knowledge import Knowledge
from crosscam_edge.associate.lineage import explain
from crosscam_edge.associate.reunite import reunite
from crosscam_edge.associate.simultaneous import count_all, learn_presence, mutual_best
from crosscam_edge.associate.solve import average_linkage, refine
from crosscam_edge.associate.travel import learn_travel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from crosscam_edge.associate.config import AssociationConfig
    from crosscam_edge.types import Tracklet


class DenseRun:
    """The tracklets of a run in order of time, and all that does not change between attempts.

    Attributes:
        mean: `(N, D)` mean embeddings.
        camera: `(N,)` camera numbers.
    """

    def __init__(self, tracklets: Sequence[Tracklet], config: AssociationConfig) -> None:
        self._tracklets = tracklets
        self._config = config
        self._frames = np.array([t.observations for t in tracklets], np.int64)
        self._spans = Spans.of(tracklets)
        self._names = tuple(sorted({t.camera_id for t in tracklets}))
        self._pairs = every_pair(len(tracklets))
        self._hard = self._spans.at_once(*self._pairs)
        size = next((t.embeddings.shape[1] for t in tracklets if len(t.embeddings)), 1)
        self._looks = looks_of([(t.embeddings, t.qualities) for t in tracklets], size)
        self.mean = self._looks.mean
        self.camera = self._spans.camera
        self._blind = np.linalg.norm(self.mean, axis=1) == 0
        split = [(i, masks) for i, t in enumerate(tracklets) if (masks := halves(t)) is not None]
        self._split = np.array([i for i, _ in split], np.int64)
        self._ends = [[_End.of(tracklets[i], masks[end]) for i, masks in split] for end in (0, 1)]

    def attempt(
        self,
        model_id: str,
        shift: NDArray[np.float64],
        impostor_prior: float,
        rivals: int,
        transits: Mapping[tuple[str, str], Sequence[float]],
    ) -> Attempt:
        """Score, calibrate and solve once; see `crosscam_edge.associate.attempt.Run`."""
        by_item = shift[self.camera]
        looks = centred(self._looks, by_item)
        scores = similarity(looks, looks)
        del looks
        seen = ~(self._blind[:, None] | self._blind[None, :])
        upper = np.triu(np.ones(scores.shape, np.bool_), 1) & seen
        within = self.camera[:, None] == self.camera[None, :]
        impostors, ends = scores[upper & self._hard], self._ends_alike(by_item[self._split])
        model, returning = fit_models(
            impostors,
            ends,
            across=scores[upper & ~within],
            within=scores[upper & within & ~self._hard],
            best=scores[upper & mutual_best(scores, self.camera, -1.0)],
            impostor_prior=impostor_prior,
            rivals=rivals,
            sights=len(self.camera) / max(rivals, 1),
            learned=self._config.learned,
        )
        config, names = self._config, self._names
        del upper, seen
        counts = count_all(scores, self.camera, names, self._shared(), model.threshold, config)
        evidence = Evidence(
            self._spans,
            self._blind,
            learn_presence(counts, names, config),
            learn_travel(self._spans, names, transits, config),
        )
        weights, forbidden = np.empty_like(scores), np.empty(scores.shape, np.bool_)
        i, j = self._pairs
        for rows in blocks(len(scores)):
            looks_odds = np.where(
                within[rows], returning.log_odds(scores[rows]), model.log_odds(scores[rows])
            )
            odds, forbidden[rows] = evidence.judge(i[rows], j)
            weights[rows] = looks_odds + odds
        labels = refine(weights, forbidden, average_linkage(weights, forbidden))
        labels, out = reunite(weights, forbidden, labels, self._frames)
        labels = refine(weights, forbidden, labels, movable=out)
        tracklets = self._tracklets  # whoever holds the answer shall not hold the run
        return Attempt(
            labels,
            calibrate.report(model, model_id, impostors, ends),
            Knowledge(names, shift, model, returning, evidence.presence, evidence.travel),
            lambda: explain(tracklets, labels, scores, forbidden),
        )

    def _ends_alike(self, shift: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return `(S,)`: similarities of the two ends of S tracklets, less `shift` `(S, D)`."""
        out = np.empty(len(self._split), np.float32)
        for rows in blocks(len(out)):
            of = [self._tracklets[i] for i in self._split[rows].tolist()]
            looks = [_looks(end[rows], of) for end in self._ends]
            out[rows] = paired_similarity(*(centred(each, shift[rows]) for each in looks))
        return out

    def _shared(self) -> NDArray[np.float32]:
        """Return `(N, N)`: seconds during which both are seen; see `Spans.shared`."""
        i, j = self._pairs
        out = np.empty((len(i), len(i)), np.float32)
        for rows in blocks(len(out)):
            out[rows] = self._spans.shared(i[rows], j)
        return out


@dataclass(frozen=True, slots=True)
class _End:
    """Looks of one end of a tracklet: their mean `(D,)`, and which embeddings are exemplars."""

    mean: NDArray[np.float64]
    exemplars: NDArray[np.intp]

    @classmethod
    def of(cls, tracklet: Tracklet, mask: NDArray[np.bool_]) -> _End:
        mean = mean_embedding(tracklet.embeddings[mask], tracklet.qualities[mask])
        return cls(mean, np.flatnonzero(mask)[diverse(tracklet.embeddings[mask], mean)])


def _looks(ends: Sequence[_End], tracklets: Sequence[Tracklet]) -> Looks:
    rows = [t.embeddings[end.exemplars] for t, end in zip(tracklets, ends, strict=True)]
    return Looks(np.stack([end.mean for end in ends]), np.stack(rows).astype(np.float32))
