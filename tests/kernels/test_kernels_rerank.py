"""k_reciprocal_rerank against its dense specification."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscam_kernels import (
    CameraAware,
    k_reciprocal_encode,
    k_reciprocal_rerank,
    retrieval_metrics_from_distances,
    simd_levels,
)
from crosscam_kernels.errors import CrosscamError, ShapeError, UsageError
from crosscam_kernels.reference import rerank as reference

SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "euclidean": {"metric": "euclidean"},
    "no expansion": {"k1": 7, "k2": 1},
    "odd k1": {"k1": 5, "k2": 9},
    "k1 of half a neighbour": {"k1": 1, "k2": 2},
    "jaccard only": {"lambda_": 0.0},
    "original only": {"lambda_": 1.0},
    "not scaled": {"scale_by_farthest": False},
    "camera-aware": {"camera_aware": CameraAware()},
    "camera-aware, other sizes": {"camera_aware": CameraAware(2, 6, 4, 1), "metric": "euclidean"},
}


@pytest.fixture(params=simd_levels())
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CROSSCAM_SIMD", request.param)
    return str(request.param)


def people(queries: int, gallery: int, dim: int, seed: int) -> dict[str, Any]:
    """Features in clusters, so that neighbourhoods overlap by more and by less than two thirds."""
    return identified(queries, gallery, dim, seed, 0.7)[0]


def identified(
    queries: int, gallery: int, dim: int, seed: int, noise: float
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The same and the identities of both sides."""
    rng = np.random.default_rng(seed)
    centre = rng.standard_normal((max(1, (queries + gallery) // 15), dim))
    made: dict[str, Any] = {}
    identities = []
    for side, count in (("query", queries), ("gallery", gallery)):
        ids = rng.integers(0, len(centre), count)
        identities.append(ids)
        made[side] = (centre[ids] + noise * rng.standard_normal((count, dim))).astype(np.float32)
        made[f"{side}_cameras"] = rng.integers(0, 4, count)
    return made, identities


def grid(queries: int, gallery: int, dim: int, seed: int) -> dict[str, Any]:
    """Small integers: distances are exact, and ties are everywhere."""
    rng = np.random.default_rng(seed)
    return {
        "query": rng.integers(-2, 3, (queries, dim)).astype(np.float32),
        "gallery": rng.integers(-2, 3, (gallery, dim)).astype(np.float32),
        "query_cameras": rng.integers(0, 3, queries),
        "gallery_cameras": rng.integers(0, 3, gallery),
    }


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize(("queries", "gallery"), [(1, 1), (5, 9), (70, 230)])
def test_distances_of_the_paper(level: str, queries: int, gallery: int, name: str) -> None:
    problem = people(queries, gallery, 24, seed=queries)
    found = k_reciprocal_rerank(**problem, **SETTINGS[name])
    assert found.dtype == np.float32
    expected = reference.k_reciprocal_rerank(**problem, **SETTINGS[name])
    np.testing.assert_allclose(found, expected, rtol=5e-7, atol=2e-6)


@settings(max_examples=40)
@given(data=st.data())
def test_integer_data_has_the_neighbours_of_a_stable_sort(data: st.DataObject) -> None:
    queries, gallery = data.draw(st.integers(0, 20)), data.draw(st.integers(0, 60))
    problem = grid(queries, gallery, data.draw(st.integers(1, 6)), data.draw(st.integers(0, 2**32)))
    options: dict[str, Any] = {
        "metric": "euclidean",
        "k1": data.draw(st.integers(1, 30)),
        "k2": data.draw(st.integers(1, 12)),
        "lambda_": data.draw(st.sampled_from([0.0, 0.3])),
        "scale_by_farthest": data.draw(st.booleans()),
    }
    if data.draw(st.booleans()):
        options["camera_aware"] = CameraAware(*(data.draw(st.integers(1, 9)) for _ in range(4)))
    found = k_reciprocal_rerank(**problem, **options, threads=data.draw(st.integers(1, 3)))
    expected = reference.k_reciprocal_rerank(**problem, **options)
    np.testing.assert_allclose(found, expected, rtol=5e-7, atol=2e-6)


def authors_code(
    features: np.ndarray, queries: int, k1: int, k2: int, lambda_: float
) -> np.ndarray:
    """The procedure of the paper's released code, written from its description.

    Everything lives in dense matrices over all rows; distances are squared, divided by the largest
    of the row; the first of the ranking is the row itself.
    """
    x = features.astype(np.float64)
    squared = ((x[:, None] - x[None]) ** 2).sum(-1)
    scaled = squared / squared.max(axis=1, keepdims=True)
    rank = scaled.argsort(axis=1, kind="stable")
    n = len(x)

    def mutual(i: int, k: int) -> list[int]:
        return [int(j) for j in rank[i, : k + 1] if np.any(rank[j, : k + 1] == i)]

    v = np.zeros((n, n))
    for i in range(n):
        base = set(mutual(i, k1))
        grown = set(base)
        for j in base:
            candidate = set(mutual(j, round(k1 / 2)))
            if len(candidate & base) > 2 / 3 * len(candidate):
                grown |= candidate
        columns = sorted(grown)
        v[i, columns] = np.exp(-scaled[i, columns])
        v[i] /= v[i].sum()
    if k2 != 1:
        v = np.array([v[rank[i, :k2]].mean(axis=0) for i in range(n)])
    jaccard = np.zeros((queries, n))
    for i in range(queries):
        for j in range(n):
            jaccard[i, j] = 1 - np.minimum(v[i], v[j]).sum() / np.maximum(v[i], v[j]).sum()
    return ((1 - lambda_) * jaccard + lambda_ * scaled[:queries])[:, queries:]


@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (6, 1), (9, 3)])
def test_the_procedure_of_the_authors(k1: int, k2: int) -> None:
    problem = people(25, 110, 16, seed=k1)
    call = {"k1": k1, "k2": k2, "lambda_": 0.3, "metric": "euclidean"}
    found = k_reciprocal_rerank(problem["query"], problem["gallery"], **call)
    features = np.concatenate([problem["query"], problem["gallery"]])
    expected = authors_code(features, 25, k1, k2, 0.3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["default", "euclidean", "camera-aware"])
def test_same_bits_for_any_threads_level_and_run(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    problem = people(90, 400, 40, seed=3)
    first = k_reciprocal_rerank(**problem, **SETTINGS[name])
    for simd in simd_levels():
        monkeypatch.setenv("CROSSCAM_SIMD", simd)
        for threads in (1, 2, 5):
            again = k_reciprocal_rerank(**problem, **SETTINGS[name], threads=threads)
            np.testing.assert_array_equal(again, first)


def test_best_rows_and_parts_of_the_matrix(level: str) -> None:
    problem = people(75, 200, 12, seed=4)
    reranking = k_reciprocal_encode(**problem)
    assert reranking.shape == (75, 200)
    whole = reranking.distances()
    np.testing.assert_array_equal(reranking.distances(13, 71), whole[13:71])
    assert reranking.distances(9, 9).shape == (0, 200)
    for k in (0, 1, 10, 230):
        best = k_reciprocal_rerank(**problem, k=k)
        order = np.argsort(whole, axis=1, kind="stable")[:, :k]
        kept = order.shape[1]
        np.testing.assert_array_equal(best.index[:, :kept], order)
        np.testing.assert_array_equal(
            best.distance[:, :kept], np.take_along_axis(whole, order, axis=1)
        )
        assert (best.index[:, kept:] == -1).all()
        assert (best.distance[:, kept:] == np.inf).all()


def test_ties_go_to_the_smaller_index(level: str) -> None:
    rng = np.random.default_rng(5)
    gallery = np.repeat(rng.standard_normal((4, 8)).astype(np.float32), 30, axis=0)
    best = k_reciprocal_rerank(gallery[::30], gallery, k=12, k1=5, k2=2)
    falling = np.diff(best.distance, axis=1) == 0
    assert falling.any()
    assert (np.diff(best.index, axis=1)[falling] > 0).all()


def test_metrics_of_re_ranked_distances_need_no_matrix() -> None:
    rng = np.random.default_rng(6)
    problem = people(40, 150, 16, seed=6)
    labels = [rng.integers(0, 9, 40), rng.integers(0, 9, 150)]
    labels += [problem["query_cameras"], problem["gallery_cameras"]]
    reranking = k_reciprocal_encode(problem["query"], problem["gallery"])
    expected = retrieval_metrics_from_distances(reranking.distances(), *labels)
    found = retrieval_metrics_from_distances(reranking, *labels, block_rows=11)
    assert found.mean_ap == expected.mean_ap
    np.testing.assert_array_equal(found.cmc, expected.cmc)


def test_it_puts_hidden_members_of_a_cluster_first() -> None:
    problem, ids = identified(60, 500, 16, seed=7, noise=1.3)
    plain = k_reciprocal_rerank(problem["query"], problem["gallery"], lambda_=1.0)
    better = k_reciprocal_rerank(problem["query"], problem["gallery"])
    before, after = (
        retrieval_metrics_from_distances(d, *ids, protocol="any").mean_ap for d in (plain, better)
    )
    assert after > before + 0.03


def test_few_rows_empty_sides_and_rows_in_one_place(level: str) -> None:
    for queries, gallery in ((0, 5), (4, 0), (0, 0), (1, 2)):
        problem = people(queries, gallery, 3, seed=0)
        assert k_reciprocal_rerank(**problem).shape == (queries, gallery)
        assert k_reciprocal_rerank(**problem, k=2).index.shape == (queries, 2)
    same = np.ones((6, 4), np.float32)
    found = k_reciprocal_rerank(same[:2], same)
    assert np.isfinite(found).all()
    alone = people(3, 8, 4, seed=1)
    alone["query_cameras"] = np.array([9, 8, 7])  # nobody else there
    alone["gallery_cameras"] = np.full(8, 1)
    options = {"camera_aware": CameraAware()}
    np.testing.assert_allclose(
        k_reciprocal_rerank(**alone, **options),
        reference.k_reciprocal_rerank(**alone, **options),
        atol=2e-6,
    )


def test_layouts_give_the_same_answer_and_inputs_stay_as_they_are() -> None:
    problem = people(20, 90, 8, seed=8)
    copy = {name: value.copy() for name, value in problem.items()}
    expected = k_reciprocal_rerank(**problem, camera_aware=CameraAware())
    for name, value in copy.items():
        np.testing.assert_array_equal(problem[name], value)
    strided = {name: np.repeat(v, 2, axis=-1)[..., ::2] for name, v in problem.items()}
    again = k_reciprocal_rerank(**strided, camera_aware=CameraAware())
    np.testing.assert_array_equal(again, expected)


ONE = np.eye(4, dtype=np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"query": ONE.astype("f8")}, ShapeError, "query is float64"),
        ({"gallery": ONE[:, :3]}, ShapeError, "4 features and gallery 3"),
        ({"k": -1}, UsageError, "k=-1"),
        ({"k1": 0}, UsageError, "k1=0"),
        ({"k2": 0}, UsageError, "k2=0"),
        ({"lambda_": 1.5}, UsageError, "lambda_=1.5"),
        ({"metric": "inner_product"}, UsageError, "metric='inner_product'"),
        ({"threads": 0}, UsageError, "threads=0"),
        ({"camera_aware": CameraAware()}, UsageError, "without cameras"),
        ({"camera_aware": CameraAware(k2_inter=0)}, UsageError, "k2_inter=0"),
        (
            {"camera_aware": CameraAware(), "query_cameras": [0], "gallery_cameras": [0] * 4},
            ShapeError,
            "query_cameras is int64",
        ),
    ],
)
def test_wrong_calls_say_what_is_wrong(
    arguments: dict[str, Any], error: type[CrosscamError], message: str
) -> None:
    with pytest.raises(error, match=message):
        k_reciprocal_rerank(**{"query": ONE, "gallery": ONE, **arguments})


def test_a_range_beyond_the_queries_is_refused() -> None:
    with pytest.raises(UsageError, match="queries 2 to 9"):
        k_reciprocal_encode(ONE, ONE).distances(2, 9)
