"""Many tracklets: the pairs that can matter, and memory that grows with their number only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.associate import calibrate
from crosscam_edge.associate.attempt import Attempt, fit_models
from crosscam_edge.associate.candidates import (
    Pairs,
    mutual_best_pairs,
    sample_at_once,
    sample_pairs,
    search,
)
from crosscam_edge.associate.constraints import Spans
from crosscam_edge.associate.evidence import Evidence
from crosscam_edge.associate.features import (
    EXEMPLARS,
    Looks,
    centred,
    halves,
    looks_of,
    paired_similarity,
)
from crosscam_edge.associate.judge import Judge, pair_scores
from crosscam_edge.associate.knowledge import Knowledge
from crosscam_edge.associate.neighbourhoods import reunite_sparse
from crosscam_edge.associate.simultaneous import count_pairs, learn_presence
from crosscam_edge.associate.sparse_lineage import explain_pairs
from crosscam_edge.associate.sparse_linkage import Links, sparse_linkage
from crosscam_edge.associate.travel import learn_travel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from crosscam_edge.associate.config import AssociationConfig
    from crosscam_edge.types import Tracklet

_SAMPLE = 200_000  # pairs from which the scores of a kind are learned
_ENDS = 4_096  # tracklets whose ends are compared
_CHUNK = 512  # tracklets whose looks are made at once


class SparseRun:
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
        size = next((t.embeddings.shape[1] for t in tracklets if len(t.embeddings)), 1)
        self._looks = _looks(((t.embeddings, t.qualities) for t in tracklets), len(tracklets), size)
        self.mean = self._looks.mean
        self.camera = self._spans.camera
        self._known = np.linalg.norm(self.mean, axis=1) > 0
        split = [i for i, t in enumerate(tracklets) if len(t.embeddings) >= 4]
        if len(split) > _ENDS:
            chosen = np.random.default_rng(0).choice(len(split), _ENDS, replace=False)
            split = [split[k] for k in np.sort(chosen).tolist()]
        self._split = np.array(split, np.int64)
        self._ends = [
            _looks((_end(tracklets[i], end) for i in split), len(split), size) for end in (0, 1)
        ]
        at_once = sample_at_once(self._spans, self._known, _SAMPLE)
        self._at_once = at_once
        seen = np.flatnonzero(self._known)
        some = sample_pairs(len(seen), _SAMPLE)
        self._across = self._some(Pairs(seen[some.left], seen[some.right]), within=False)
        parts = []
        for c in range(len(self._names)):
            of = seen[self.camera[seen] == c]
            some = sample_pairs(len(of), _SAMPLE // len(self._names))
            parts.append(Pairs(of[some.left], of[some.right]))
        whole = Pairs(*(np.concatenate(x) for x in zip(*parts, strict=True)))
        self._within = self._some(whole, within=True)

    def _some(self, pairs: Pairs, *, within: bool) -> Pairs:
        """Return the undecided pairs of one camera, or of two, in ascending order."""
        one = self.camera[pairs.left] == self.camera[pairs.right]
        keep = np.flatnonzero((one == within) & ~self._spans.at_once(*pairs))
        order = keep[np.lexsort((pairs.right[keep], pairs.left[keep]))]
        return Pairs(pairs.left[order], pairs.right[order])

    def attempt(
        self,
        model_id: str,
        shift: NDArray[np.float64],
        impostor_prior: float,
        rivals: int,
        transits: Mapping[tuple[str, str], Sequence[float]],
    ) -> Attempt:
        """Score, calibrate and solve once; see `crosscam_edge.associate.attempt.Run`."""
        by_item = shift.astype(np.float32)[self.camera]
        looks = centred(self._looks, by_item)
        pairs = search(looks.mean.astype(np.float32, copy=False), self.camera, self._known)
        scores = pair_scores(looks, *pairs)
        best = mutual_best_pairs(pairs, scores, self.camera)
        ends = paired_similarity(*(centred(end, by_item[self._split]) for end in self._ends))
        impostors = pair_scores(looks, *self._at_once)
        model, returning = fit_models(
            impostors,
            ends,
            across=pair_scores(looks, *self._across),
            within=pair_scores(looks, *self._within),
            best=scores[best],
            impostor_prior=impostor_prior,
            rivals=rivals,
            sights=len(self.camera) / max(rivals, 1),
            learned=self._config.learned,
        )
        believed = best[scores[best] > model.threshold]
        counts = count_pairs(
            pairs.left[believed], pairs.right[believed], self._spans, self._names, self._config
        )
        evidence = Evidence(
            self._spans,
            ~self._known,
            learn_presence(counts, self._names, self._config),
            learn_travel(self._spans, self._names, transits, self._config),
        )
        judge = Judge(looks, model, returning, evidence)
        links = Links.of(pairs, *judge.weigh(*pairs, scores))
        labels = sparse_linkage(judge, links, len(self._tracklets))
        labels = reunite_sparse(judge, links, labels, self._frames)
        return Attempt(
            labels,
            calibrate.report(model, model_id, impostors, ends),
            Knowledge(self._names, shift, model, returning, evidence.presence, evidence.travel),
            lambda: explain_pairs(self._tracklets, labels, judge, pairs, scores),
        )


def _end(tracklet: Tracklet, end: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    masks = halves(tracklet)
    mask = masks[end] if masks else np.zeros(len(tracklet.embeddings), np.bool_)
    return tracklet.embeddings[mask], tracklet.qualities[mask]


def _looks(
    samples: Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]], count: int, size: int
) -> Looks:
    """Return looks in half the memory: `(embeddings, qualities)` of `count` samples."""
    mean = np.zeros((count, size), np.float32)
    exemplars = np.zeros((count, EXEMPLARS, size), np.float32)
    rest = iter(samples)
    for first in range(0, count, _CHUNK):
        part = looks_of([sample for _, sample in zip(range(_CHUNK), rest, strict=False)], size)
        mean[first : first + _CHUNK] = part.mean
        exemplars[first : first + _CHUNK] = part.exemplars
    return Looks(mean, exemplars)
