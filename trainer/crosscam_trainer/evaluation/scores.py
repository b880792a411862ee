"""From embeddings of query and gallery to mAP, CMC and mINP, by every protocol of a data set.

The gallery is never ranked as a matrix: the kernels count ranks by tiles, so memory is that of the
embeddings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_kernels.errors import InputError, ShapeError
from crosscam_kernels.rerank import k_reciprocal_encode
from crosscam_kernels.retrieval import (
    average_tracklets,
    retrieval_metrics,
    retrieval_metrics_from_distances,
    single_shot_galleries,
)
from crosscam_trainer.data.protocol import kernel_protocol, sides

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crosscam_kernels.retrieval import RetrievalMetrics
    from crosscam_trainer.data.protocol import Side
    from crosscam_trainer.data.types import EvaluationProtocol, ReIDData, Sample

    Rows = NDArray[np.float32]

RANKS = (1, 5, 10, 20)
FIGURES = ("mAP", *(f"R{k}" for k in RANKS), "mINP")
SPLITS = {"test": ("query", "gallery"), "val": ("val_query", "val_gallery")}


@dataclass(frozen=True, slots=True)
class ProtocolScores:
    """What one protocol gave.

    Attributes:
        protocol: Its name.
        figures: `FIGURES`, each in [0, 1]; NaN when no query has a right answer. Means over the
            trials where galleries are drawn.
        spread: Standard deviation of each over the trials (of these trials, not an estimate from
            them: divided by their number); empty without trials.
        queries: Queries that count.
        skipped: Queries without a right answer, which no figure counts.
        gallery: Rows that are ranked; in every trial, where galleries are drawn.
        unit: "picture" or "tracklet", what a row is.
        trials: Galleries that were drawn; 0 when all rows are ranked.
    """

    protocol: str
    figures: dict[str, float]
    spread: dict[str, float]
    queries: int
    skipped: int
    gallery: int
    unit: str
    trials: int

    def json(self) -> dict[str, Any]:
        """Return JSON values; None for figures that there are none of."""
        return {
            "protocol": self.protocol,
            "figures": {k: None if math.isnan(v) else v for k, v in self.figures.items()},
            "spread": self.spread,
            "queries": self.queries,
            "skipped": self.skipped,
            "gallery": self.gallery,
            "unit": self.unit,
            "trials": self.trials,
        }


def split_of(data: ReIDData, split: str) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Return query and gallery of "test" or "val".

    Raises:
        InputError: There are none.
    """
    query, gallery = (data.splits()[name] for name in SPLITS[split])
    if not query or not gallery:
        raise InputError(
            f"{data.root} has no {' and no '.join(n for n, s in _named(query, gallery) if not s)} "
            f"pictures to evaluate on in its {split} split",
            expected="pictures that are searched for, and pictures that are searched in",
            fix="see `crosscam data check`; a generic set is divided by its train share",
        )
    return query, gallery


def score(
    query: Rows,
    gallery: Rows,
    query_samples: Sequence[Sample],
    gallery_samples: Sequence[Sample],
    protocol: EvaluationProtocol,
    *,
    rerank: bool = False,
    seed: int = 0,
    threads: int | None = None,
) -> ProtocolScores:
    """Evaluate embeddings by one protocol.

    Rows of tracklets are the L2-normalised means of their pictures' embeddings. Galleries with one
    picture of each person (PRCC's single-shot) are drawn by `single_shot_galleries`.

    Args:
        query: `(Q, D)` float32, one row a picture; compared by cosine.
        gallery: `(G, D)` float32.
        query_samples: `Q`.
        gallery_samples: `G`.
        protocol: How.
        rerank: Rank by k-reciprocal re-ranked distances (Zhong et al., CVPR 2017; k1 = 20, k2 = 6,
            lambda = 0.3) of the rows that take part.
        seed: Of the drawn galleries.
        threads: At most this many; None for one per processor.

    Raises:
        ShapeError: Numbers of rows and samples differ.
        InputError: Labels that the protocol needs are missing.
    """
    for rows, samples, what in ((query, query_samples, "query"), (gallery, gallery_samples, "g")):
        if len(rows) != len(samples):
            name = "query" if what == "query" else "gallery"
            raise ShapeError(f"{len(rows)} embeddings of {len(samples)} {name} pictures")
    asked, searched = sides(protocol, query_samples, gallery_samples)
    left = ranked_rows(query, asked, protocol)
    right = ranked_rows(gallery, searched, protocol)
    if not len(left) or not len(right):
        found: list[RetrievalMetrics] = []
        drawn: list[NDArray[np.int64]] = []
    elif protocol.gallery_shots == "one":
        drawn = list(
            single_shot_galleries(searched.ids, trials=protocol.trials, seed=seed, junk_id=None)
        )
        found = [_one(left, right, asked, searched, protocol, rerank, threads, d) for d in drawn]
    else:
        drawn = []
        found = [_one(left, right, asked, searched, protocol, rerank, threads)]
    values = np.array([_figures(metrics) for metrics in found]).reshape(-1, len(FIGURES))
    means = values.mean(0) if found else np.full(len(FIGURES), np.nan)
    spread = dict(zip(FIGURES, values.std(0).tolist(), strict=True)) if drawn else {}
    counted = found[0].valid_queries if found else 0
    if not counted:
        spread = {}
    return ProtocolScores(
        protocol=protocol.name,
        figures=dict(zip(FIGURES, means.tolist(), strict=True)),
        spread=spread,
        queries=counted,
        skipped=len(asked) - counted,
        gallery=len(drawn[0]) if drawn else len(searched),
        unit=protocol.unit,
        trials=len(drawn),
    )


def ranked_rows(rows: Rows, side: Side, protocol: EvaluationProtocol) -> Rows:
    """Return what is ranked, `(N, D)`: the pictures that take part, or means of their tracklets."""
    chosen = rows[side.pictures]
    if protocol.unit == "picture":
        return chosen
    return average_tracklets(chosen, side.unit)[0]


def _one(
    query: Rows,
    gallery: Rows,
    asked: Side,
    searched: Side,
    protocol: EvaluationProtocol,
    rerank: bool,
    threads: int | None,
    drawn: NDArray[np.int64] | None = None,
) -> RetrievalMetrics:
    """Rank the gallery, or the rows of it that were drawn."""
    chosen: Any = slice(None) if drawn is None else drawn
    ids = asked.ids, searched.ids[chosen]
    labels: dict[str, Any] = {
        "query_cameras": asked.cameras,
        "gallery_cameras": searched.cameras[chosen],
        "query_clothes": asked.clothes,
        "gallery_clothes": searched.clothes[chosen],
        "query_tracklets": asked.tracklets,
        "gallery_tracklets": searched.tracklets[chosen],
        "protocol": kernel_protocol(protocol),
        # Readers leave junk out; distractors stay and are wrong.
        "junk_id": None,
        "max_rank": max(RANKS),
        "threads": threads,
    }
    if rerank:
        distances = k_reciprocal_encode(query, gallery[chosen], threads=threads)
        return retrieval_metrics_from_distances(distances, *ids, **labels)
    return retrieval_metrics(query, gallery[chosen], *ids, metric="cosine", **labels)


def _figures(metrics: RetrievalMetrics) -> list[float]:
    return [metrics.mean_ap, *(metrics.rank(k) for k in RANKS), metrics.mean_inp]


def _named(query: Any, gallery: Any) -> tuple[tuple[str, Any], ...]:
    return ("query", query), ("gallery", gallery)
