"""Scores by protocol: tracklets, drawn galleries, re-ranking, what is skipped, and bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crosscam_kernels.errors import InputError, ShapeError, UsageError
from crosscam_kernels.reference.rerank import k_reciprocal_rerank
from crosscam_kernels.retrieval import retrieval_metrics, retrieval_metrics_from_distances
from crosscam_trainer.data.types import EvaluationProtocol, ReIDData, Sample
from crosscam_trainer.evaluation.report import evaluate
from crosscam_trainer.evaluation.scores import FIGURES, score

STANDARD = EvaluationProtocol("standard")


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def split(seed: int, number: int, people: int = 6) -> tuple[np.ndarray, list[Sample]]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(people, 8))
    person, camera = rng.integers(0, people, number), rng.integers(0, 3, number)
    rows = unit(centres[person] + 1.2 * rng.normal(size=(number, 8)))
    samples = [
        Sample(Path(f"{seed}-{k}.png"), int(p), int(c), tracklet=int(10 * p + c))
        for k, (p, c) in enumerate(zip(person, camera, strict=True))
    ]
    return rows, samples


def data_of(query: list[Sample], gallery: list[Sample], *protocols: EvaluationProtocol) -> ReIDData:
    return ReIDData(
        name="made",
        root=Path("made"),
        train=(),
        query=tuple(query),
        gallery=tuple(gallery),
        people=tuple("abcdef"),
        cameras=("0", "1", "2"),
        protocols=protocols or (STANDARD,),
        train_people=0,
    )


def test_tracklets_are_ranked_by_their_mean() -> None:
    (q, qs), (g, gs) = split(0, 40), split(1, 90)
    found = score(q, g, qs, gs, EvaluationProtocol("video", unit="tracklet"))

    def means(rows, samples):
        names = sorted({s.tracklet for s in samples})
        picked = [[k for k, s in enumerate(samples) if s.tracklet == n] for n in names]
        stacked = unit(np.stack([rows[p].astype(np.float64).mean(0) for p in picked]))
        return stacked, np.array(names) // 10, np.array(names) % 10

    (mq, qi, qc), (mg, gi, gc) = means(q, qs), means(g, gs)
    expected = retrieval_metrics(mq, mg, qi, gi, qc, gc)
    assert found.unit == "tracklet"
    assert found.queries + found.skipped == len(mq)
    assert found.gallery == len(mg)
    assert found.figures["mAP"] == pytest.approx(expected.mean_ap, abs=1e-9)
    assert found.figures["mINP"] == pytest.approx(expected.mean_inp, abs=1e-9)


def test_single_shot_is_the_mean_of_its_trials_and_tells_their_spread() -> None:
    (q, qs), (g, gs) = split(0, 40), split(1, 90)
    one = EvaluationProtocol("single-shot", gallery_shots="one", trials=8, same_view="none")
    found = score(q, g, qs, gs, one)
    qp, gp = (np.array([s.person for s in side]) for side in (qs, gs))
    rng = np.random.default_rng(0)
    values = []
    for _ in range(8):  # one row of everybody, drawn by the specification
        rows = rng.permutation(len(gp))
        drawn = np.sort([rows[np.flatnonzero(gp[rows] == p)[0]] for p in np.unique(gp)])
        right = gp[drawn][np.argsort(-(q @ g[drawn].T), axis=1)] == qp[:, None]
        values.append([right[:, 0].mean(), (1 / (right.argmax(1) + 1)).mean()])
    r1, mean_ap = np.mean(values, axis=0)
    assert found.trials == 8
    assert found.gallery == 6
    assert found.figures["R1"] == pytest.approx(r1)
    assert found.figures["mAP"] == pytest.approx(mean_ap)
    assert found.spread["R1"] == pytest.approx(np.std(values, axis=0)[0])
    assert found.spread["R1"] > 0
    assert score(q, g, qs, gs, one, seed=1).figures != found.figures
    assert score(q, g, qs, gs, STANDARD).spread == {}


def test_re_ranking_is_that_of_the_reference() -> None:
    (q, qs), (g, gs) = split(0, 30), split(1, 60)
    found = score(q, g, qs, gs, STANDARD, rerank=True)
    distances = k_reciprocal_rerank(q, g, k1=20, k2=6, lambda_=0.3)
    ids = [
        np.array([getattr(s, n) for s in side]) for n in ("person", "camera") for side in (qs, gs)
    ]
    expected = retrieval_metrics_from_distances(np.asarray(distances, np.float32), *ids)
    assert found.figures["mAP"] == pytest.approx(expected.mean_ap, abs=1e-6)
    assert found.figures["mAP"] != score(q, g, qs, gs, STANDARD).figures["mAP"]


def test_queries_without_an_answer_are_counted_and_left_out() -> None:
    (q, qs), (g, gs) = split(0, 40), split(1, 90)
    without = [k for k, s in enumerate(gs) if s.person != 2]
    asked = sum(s.person == 2 for s in qs)
    found = score(q, g[without], qs, [gs[k] for k in without], STANDARD)
    assert asked > 0
    assert found.skipped == asked
    assert found.queries == 40 - asked
    kept = [k for k, s in enumerate(qs) if s.person != 2]
    same = score(q[kept], g[without], [qs[k] for k in kept], [gs[k] for k in without], STANDARD)
    assert same.figures == found.figures
    nobody = score(q, g[:0], qs, [], STANDARD)
    assert nobody.skipped == 40
    assert nobody.json()["figures"] == dict.fromkeys(FIGURES)


def test_a_picture_is_embedded_once_and_every_protocol_is_scored() -> None:
    (rows, samples), seen = split(0, 60), []
    row = {s.path: r for s, r in zip(samples, rows, strict=True)}

    def embed(pictures, progress=None):
        seen.extend(s.path for s in pictures)
        return np.stack([row[s.path] for s in pictures])

    protocols = STANDARD, EvaluationProtocol("any", same_view="none", query_cameras=(0,))
    data = data_of(samples[:40], samples[20:], *protocols)
    report = evaluate(embed, data, model="m")
    assert sorted(seen) == sorted(row)
    assert [s.protocol for s in report.scores] == ["standard", "any"]
    expected = score(rows[:40], rows[20:], samples[:40], samples[20:], STANDARD)
    assert report.scores[0] == expected
    assert report.scores[1].queries == sum(s.camera == 0 for s in samples[:40])
    assert [p["protocol"] for p in report.json()["protocols"]] == ["standard", "any"]
    only = evaluate(embed, data, model="m", protocols=("any",))
    assert only.scores == report.scores[1:]
    with pytest.raises(UsageError, match="no protocol 'other'"):
        evaluate(embed, data, model="m", protocols=("other",))


def test_what_cannot_be_evaluated_is_told() -> None:
    (q, qs), (g, gs) = split(0, 40), split(1, 90)
    with pytest.raises(ShapeError, match="39 embeddings of 40 query"):
        score(q[1:], g, qs, gs, STANDARD)
    with pytest.raises(InputError, match="no query and no gallery pictures"):
        evaluate(lambda *_: q, data_of([], []), model="m")
    with pytest.raises(InputError, match="val split"):
        evaluate(lambda *_: q, data_of(qs, gs), model="m", split="val")
    one_camera = [Sample(s.path, s.person, 0) for s in qs]
    with pytest.raises(InputError, match="none of the 40 queries has a right answer"):
        evaluate(lambda *_: q, data_of(one_camera, one_camera), model="m")
    with pytest.raises(InputError, match="needs clothes"):
        score(q, g, qs, gs, EvaluationProtocol("cc", clothes="changed"))
