"""The figures of fixed features equal those of torchreid and of Simple-CCReID's protocol."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscam_trainer.data.types import DISTRACTOR, EvaluationProtocol, Sample
from crosscam_trainer.evaluation.scores import score

RANKS = 20
STANDARD = EvaluationProtocol("general")
CHANGED = EvaluationProtocol("cc", clothes="changed")
SAME = EvaluationProtocol("sc", clothes="same")


@dataclass
class Arrays:
    query: np.ndarray
    gallery: np.ndarray
    labels: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]

    @property
    def samples(self) -> list[list[Sample]]:
        return [
            [
                Sample(Path(f"{k}.png"), int(p), int(c), None if p == DISTRACTOR else int(o))
                for k, (p, c, o) in enumerate(zip(*side, strict=True))
            ]
            for side in self.labels
        ]

    @property
    def distances(self) -> np.ndarray:
        return 1 - self.query @ self.gallery.T


def arrays(seed: int, queries: int = 60, gallery: int = 300, people: int = 12) -> Arrays:
    """Features that know people, cameras and clothes a little; distractors in the gallery."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(people, 16))
    outfits, rooms = rng.normal(size=(3 * people, 16)), rng.normal(size=(4, 16))
    sides, rows = [], []
    for number in (queries, gallery):
        person, camera = rng.integers(0, people, number), rng.integers(0, 4, number)
        clothes = 3 * person + rng.integers(0, 3, number)
        x = centres[person] + 0.8 * outfits[clothes] + 0.8 * rooms[camera]
        x = x + 2.0 * rng.normal(size=x.shape)
        if number == gallery:
            lost = rng.random(number) < 0.1
            person[lost] = DISTRACTOR
            clothes[lost] = -1
        rows.append((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32))
        sides.append((person, camera, clothes))
    return Arrays(*rows, tuple(sides))


def reference(found: Arrays, mode: str) -> tuple[float, np.ndarray, int]:
    """Evaluate as Simple-CCReID is described: CC, SC and general, by sorting every row."""
    (qp, qc, qo), (gp, gc, go) = found.labels
    aps, cmcs = [], []
    for k, row in enumerate(found.distances):
        order = np.argsort(row, kind="stable")
        same = gp[order] == qp[k]
        junk = same & (gc[order] == qc[k])
        if mode == "cc":
            junk |= same & (go[order] == qo[k])
        elif mode == "sc":
            junk |= same & (go[order] != qo[k])
        hits = same[~junk]
        if not hits.any():
            continue
        places = np.flatnonzero(hits) + 1
        aps.append(np.mean(np.arange(1, len(places) + 1) / places))
        cmcs.append(np.arange(1, RANKS + 1) >= places[0])
    return float(np.mean(aps)), np.mean(cmcs, axis=0), len(aps)


def ours(found: Arrays, protocol: EvaluationProtocol):
    return score(found.query, found.gallery, *found.samples, protocol)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    people=st.integers(3, 20),
    mode=st.sampled_from([("general", STANDARD), ("cc", CHANGED), ("sc", SAME)]),
)
def test_equals_simple_ccreid(seed: int, people: int, mode: tuple[str, EvaluationProtocol]) -> None:
    found = arrays(seed, 25, 80, people)
    if not _counts(found, mode[0]):
        return
    mean_ap, cmc, counted = reference(found, mode[0])
    scores = ours(found, mode[1])
    assert scores.queries == counted
    assert scores.skipped == 25 - counted
    assert scores.figures["mAP"] == pytest.approx(mean_ap, abs=1e-12)
    for k in (1, 5, 10, 20):
        assert scores.figures[f"R{k}"] == pytest.approx(cmc[k - 1], abs=1e-12)


def _counts(found: Arrays, mode: str) -> bool:
    (qp, qc, qo), (gp, gc, go) = found.labels
    for p, c, o in zip(qp, qc, qo, strict=True):
        good = (gp == p) & (gc != c)
        if mode != "general":
            good &= (go == o) if mode == "sc" else (go != o)
        if good.any():
            return True
    return False


def test_the_modes_differ_on_these_arrays() -> None:
    found = arrays(0)
    figures = [reference(found, mode)[0] for mode in ("general", "cc", "sc")]
    assert len({round(f, 6) for f in figures}) == 3
    assert figures[2] > figures[1]  # clothes help to find


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_torchreid(seed: int) -> None:
    metrics = pytest.importorskip("torchreid.reid.metrics")
    found = arrays(seed)
    (qp, qc, _), (gp, gc, _) = found.labels
    cmc, mean_ap = metrics.evaluate_rank(
        found.distances, qp, gp, qc, gc, max_rank=RANKS, use_cython=False
    )
    scores = ours(found, STANDARD)
    assert scores.figures["mAP"] == pytest.approx(float(mean_ap), abs=1e-6)
    for k in (1, 5, 10, 20):
        assert scores.figures[f"R{k}"] == pytest.approx(float(cmc[k - 1]), abs=1e-6)
