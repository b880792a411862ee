"""`evaluate`: a model on a data set, by all its protocols, as a report for people and programs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from rich.console import Group
from rich.table import Table

from crosscam_kernels.errors import InputError, UsageError
from crosscam_trainer.evaluation.probes import probe_figures
from crosscam_trainer.evaluation.scores import FIGURES, ProtocolScores, score, split_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from rich.console import RenderableType

    from crosscam_trainer.data.types import ReIDData, Sample


class Embed(Protocol):
    """Embeds pictures: `BundleEmbedder`, or `embed_torch.embed` with a model."""

    def __call__(
        self, samples: Sequence[Sample], progress: Callable[[int, int], None] | None = None
    ) -> NDArray[np.float32]:
        """Return `(N, D)` float32, L2-normalised."""
        ...


@dataclass(frozen=True, slots=True)
class ReIDReport:
    """A model's figures on a data set.

    Attributes:
        model: Name or path.
        data: Name of the set.
        root: Its folder.
        split: "test" or "val".
        people: Who are searched for.
        queries: Query pictures.
        gallery: Gallery pictures.
        scores: Of each protocol; the first is the main one.
        flip: Whether mirrored pictures were averaged.
        rerank: Whether distances were re-ranked.
        probes: Of `probe_figures`, where asked for.
    """

    model: str
    data: str
    root: str
    split: str
    people: int
    queries: int
    gallery: int
    scores: tuple[ProtocolScores, ...]
    flip: bool
    rerank: bool
    probes: dict[str, float]

    def json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "model": self.model,
            "data": {"name": self.data, "path": self.root, "split": self.split},
            "people": self.people,
            "query_pictures": self.queries,
            "gallery_pictures": self.gallery,
            "flip": self.flip,
            "rerank": self.rerank,
            "protocols": [scores.json() for scores in self.scores],
            "probes": self.probes,
        }

    def table(self) -> RenderableType:
        """Return a table of shares in percent, and what must be said with them."""
        table = Table(title=f"{self.model} on {self.data}, {self.split} split", box=None)
        table.add_column("protocol")
        for name in (*FIGURES, "queries", "skipped", "gallery"):
            table.add_column(name, justify="right")
        for s in self.scores:
            cells = [_cell(s.figures[name], s.spread.get(name)) for name in FIGURES]
            counts = (str(s.queries), str(s.skipped), str(s.gallery))
            table.add_row(s.protocol, *cells, *counts)
        parts: list[RenderableType] = [table]
        notes = [f"{self.people} people; {self.queries} query and {self.gallery} gallery pictures"]
        if self.flip:
            notes.append("embeddings averaged with those of mirrored pictures")
        if self.rerank:
            notes.append("k-reciprocal re-ranking (k1 20, k2 6, lambda 0.3)")
        for s in self.scores:
            if s.skipped:
                notes.append(f"{s.protocol}: {s.skipped} queries have no right answer")
            if s.trials:
                notes.append(f"{s.protocol}: mean ± standard deviation of {s.trials} galleries")
        notes += [f"{name}: {value:.1%}" for name, value in self.probes.items()]
        return Group(*parts, *notes)


def evaluate(
    embed: Embed,
    data: ReIDData,
    *,
    model: str,
    split: str = "test",
    protocols: Sequence[str] = (),
    flip: bool = False,
    rerank: bool = False,
    probes: bool = False,
    seed: int = 0,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ReIDReport:
    """Embed query and gallery once, and score them by every protocol.

    Args:
        embed: The model.
        data: The set.
        model: Its name, for the report.
        split: "test" or "val".
        protocols: Names of those to use; all when empty.
        flip: Whether `embed` averages mirrored pictures, for the report.
        rerank: Re-rank, see `score`.
        probes: Also probe for cameras and clothes.
        seed: Of drawn galleries and probes.
        threads: Of the ranking; None for one per processor.
        progress: Called with pictures done, and how many there are.

    Raises:
        InputError: There is nothing to evaluate, no query has a right answer by any protocol, or
            a picture cannot be read.
        UsageError: There is no such protocol.
    """
    query, gallery = split_of(data, split)
    known = [p.name for p in data.protocols]
    unknown = [name for name in protocols if name not in known]
    if unknown:
        raise UsageError(f"no protocol {unknown[0]!r} for {data.name}", expected=", ".join(known))
    chosen = [p for p in data.protocols if not protocols or p.name in protocols]
    pictures = list({sample.path: sample for sample in (*query, *gallery)}.values())
    row = {sample.path: k for k, sample in enumerate(pictures)}
    rows = embed(pictures, progress)
    left = rows[[row[s.path] for s in query]]
    right = rows[[row[s.path] for s in gallery]]
    scores = tuple(
        score(left, right, query, gallery, p, rerank=rerank, seed=seed, threads=threads)
        for p in chosen
    )
    if not any(s.queries for s in scores):
        raise InputError(
            f"none of the {len(query)} queries has a right answer in the gallery",
            expected="people who are seen by several cameras",
            fix="look at `crosscam data check`: cameras, people and how they are divided",
        )
    return ReIDReport(
        model=model,
        data=data.name,
        root=str(data.root),
        split=split,
        people=len({s.person for s in query}),
        queries=len(query),
        gallery=len(gallery),
        scores=scores,
        flip=flip,
        rerank=rerank,
        probes=probe_figures(rows, pictures, seed=seed) if probes else {},
    )


def _cell(value: float, spread: float | None) -> str:
    if math.isnan(value):
        return "-"
    return f"{100 * value:.2f}" if spread is None else f"{100 * value:.2f} ± {100 * spread:.2f}"
