"""retrieval_metrics against its specification and against the common way of computing it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscam_kernels import (
    RetrievalMetrics,
    average_tracklets,
    retrieval_metrics,
    retrieval_metrics_from_distances,
    simd_levels,
    similarity_topk,
    single_shot_galleries,
)
from crosscam_kernels.errors import CrosscamError, ShapeError, UsageError
from crosscam_kernels.reference import retrieval as reference
from crosscam_kernels.retrieval import METRICS, PROTOCOLS

EXACT_METRICS = ("inner_product", "euclidean")  # exact on small integers


@pytest.fixture(params=simd_levels())
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CROSSCAM_SIMD", request.param)
    return str(request.param)


def labels(rng: np.random.Generator, queries: int, gallery: int, ids: int) -> dict[str, Any]:
    def both(name: str, low: int, high: int) -> dict[str, Any]:
        return {
            f"query_{name}": rng.integers(max(low, 0), high, queries),
            f"gallery_{name}": rng.integers(low, high, gallery),
        }

    return {
        **both("ids", -1, ids),
        **both("cameras", 0, 4),
        **both("clothes", 0, 3),
        **both("tracklets", 0, 9),
    }


def case(
    rng: np.random.Generator, queries: int, gallery: int, dim: int, ids: int = 12
) -> dict[str, Any]:
    """Small integers: every score is exact, and ties are everywhere."""
    return {
        "query": rng.integers(-2, 3, (queries, dim)).astype(np.float32),
        "gallery": rng.integers(-2, 3, (gallery, dim)).astype(np.float32),
        **labels(rng, queries, gallery, ids),
    }


def without_features(problem: dict[str, Any]) -> dict[str, Any]:
    return {name: v for name, v in problem.items() if name not in ("query", "gallery")}


def assert_identical(found: RetrievalMetrics, expected: RetrievalMetrics) -> None:
    assert found.ranks is not None
    assert expected.ranks is not None
    for name, a, b in zip(found.ranks._fields, found.ranks, expected.ranks, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)
    np.testing.assert_array_equal(found.cmc, expected.cmc)
    np.testing.assert_array_equal(
        [found.mean_ap, found.mean_inp], [expected.mean_ap, expected.mean_inp]
    )
    assert (found.valid_queries, found.total_queries) == (
        expected.valid_queries,
        expected.total_queries,
    )


def eval_market1501(
    distance: np.ndarray,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_cameras: np.ndarray,
    max_rank: int,
) -> tuple[np.ndarray, float, float]:
    """The evaluation that person ReID code shares: argsort, drop junk, cumulate matches."""
    order = np.argsort(distance, axis=1, kind="stable")
    matches = (gallery_ids[order] == query_ids[:, None]).astype(np.int32)
    all_cmc, all_ap, all_inp = [], [], []
    for q in range(len(distance)):
        remove = (gallery_ids[order[q]] == query_ids[q]) & (
            gallery_cameras[order[q]] == query_cameras[q]
        )
        raw = matches[q][~remove]
        if not raw.any():
            continue
        cmc = raw.cumsum()
        last = np.flatnonzero(raw)[-1]
        all_inp.append(cmc[last] / (last + 1.0))
        cmc[cmc > 1] = 1
        all_cmc.append(cmc[:max_rank])
        precision = raw.cumsum() / (np.arange(len(raw)) + 1.0)
        all_ap.append((precision * raw).sum() / raw.sum())
    return np.mean(all_cmc, axis=0), float(np.mean(all_ap)), float(np.mean(all_inp))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("metric", EXACT_METRICS)
@pytest.mark.parametrize(
    ("queries", "gallery", "dim"), [(1, 1, 1), (3, 50, 7), (67, 501, 17), (130, 29, 48)]
)
def test_integer_data_gives_the_ranks_of_a_stable_sort(
    level: str, queries: int, gallery: int, dim: int, metric: Any, protocol: Any
) -> None:
    problem = case(np.random.default_rng(queries), queries, gallery, dim)
    options: dict[str, Any] = {"metric": metric, "protocol": protocol}
    expected = reference.retrieval_metrics(**problem, **options)
    assert_identical(retrieval_metrics(**problem, **options), expected)
    distances = -reference.score_matrix(problem["query"], problem["gallery"], metric, np.float32)
    assert_identical(
        retrieval_metrics_from_distances(
            distances, **without_features(problem), protocol=protocol, threads=3
        ),
        expected,
    )


@settings(max_examples=60)
@given(data=st.data())
def test_any_shape_and_protocol(data: st.DataObject) -> None:
    queries, gallery = data.draw(st.integers(0, 90)), data.draw(st.integers(0, 300))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    ids = data.draw(st.sampled_from([1, 2, 30, 1000]))
    problem = case(rng, queries, gallery, data.draw(st.integers(1, 9)), ids)
    options: dict[str, Any] = {
        "protocol": data.draw(st.sampled_from(PROTOCOLS)),
        "metric": data.draw(st.sampled_from(EXACT_METRICS)),
        "junk_id": data.draw(st.sampled_from([None, -1, 0])),
        "max_rank": data.draw(st.integers(1, 40)),
    }
    found = retrieval_metrics(**problem, **options, threads=data.draw(st.integers(1, 3)))
    assert_identical(found, reference.retrieval_metrics(**problem, **options))


@pytest.mark.parametrize("metric", METRICS)
def test_the_evaluation_that_public_code_shares(metric: Any) -> None:
    rng = np.random.default_rng(3)
    centre = rng.standard_normal((40, 64))
    problem = labels(rng, 90, 700, 40)
    problem["gallery_ids"] = np.abs(problem["gallery_ids"])
    query = (centre[problem["query_ids"]] + rng.standard_normal((90, 64))).astype(np.float32)
    gallery = (centre[problem["gallery_ids"]] + rng.standard_normal((700, 64))).astype(np.float32)
    label = [
        problem[f"{side}_{name}"] for name in ("ids", "cameras") for side in ("query", "gallery")
    ]
    distance = -reference.score_matrix(query, gallery, metric, np.float64)
    cmc, mean_ap, mean_inp = eval_market1501(distance, *label, max_rank=20)
    found = retrieval_metrics(query, gallery, *label, metric=metric, max_rank=20)
    np.testing.assert_allclose(found.cmc, cmc, rtol=0, atol=1e-12)
    np.testing.assert_allclose([found.mean_ap, found.mean_inp], [mean_ap, mean_inp], atol=1e-12)
    assert found.rank(1) == found.cmc[0]


def test_float_data_to_the_last_bit_and_the_same_on_every_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(4)
    problem = case(rng, 150, 2600, 4)
    problem["query"] = rng.standard_normal((150, 96)).astype(np.float32)
    problem["gallery"] = rng.standard_normal((2600, 96)).astype(np.float32)
    problem["gallery"][5:2600:9] = problem["gallery"][4]  # exact duplicates of several identities
    best = similarity_topk(problem["query"], problem["gallery"], 2600)
    scores = np.empty((150, 2600), np.float32)
    np.put_along_axis(scores, best.index, best.similarity, axis=1)
    expected = reference.metrics_from_scores(scores, **without_features(problem))
    for name in simd_levels():
        monkeypatch.setenv("CROSSCAM_SIMD", name)
        for threads in (1, 2, 5):
            found = retrieval_metrics(**problem, metric="inner_product", threads=threads)
            assert_identical(found, expected)


@pytest.mark.parametrize("metric", METRICS)
def test_float_data_agrees_with_float64(level: str, metric: Any) -> None:
    rng = np.random.default_rng(5)
    problem = case(rng, 40, 600, 1)
    problem["query"] = rng.standard_normal((40, 200)).astype(np.float32)
    problem["gallery"] = (3 * rng.standard_normal((600, 200))).astype(np.float32)
    found = retrieval_metrics(**problem, metric=metric)
    expected = reference.retrieval_metrics(**problem, metric=metric)
    np.testing.assert_allclose(found.mean_ap, expected.mean_ap, rtol=1e-4)
    assert found.valid_queries == expected.valid_queries


def test_worked_example() -> None:
    # Ranking of the one query: right, wrong, (junk), right, wrong.
    query = np.ones((1, 1), np.float32)
    gallery = np.array([[5], [4], [9], [3], [2]], np.float32)
    found = retrieval_metrics(
        query, gallery, [7], [7, 0, 7, 7, 1], [1], [2, 2, 1, 3, 1], metric="inner_product"
    )
    assert found.mean_ap == (1 / 1 + 2 / 3) / 2
    assert found.mean_inp == 2 / 3
    assert found.cmc[:3].tolist() == [1, 1, 1]
    assert found.ranks is not None
    assert found.ranks.first_rank[0] == 1
    assert found.ranks.last_rank[0] == 3


def test_equal_scores_go_to_the_smaller_index(level: str) -> None:
    same = np.ones((7, 3), np.float32)
    ids = np.array([0, 5, 0, 5, 0, 0, 5])
    options: dict[str, Any] = {"protocol": "any", "metric": "inner_product"}
    found = retrieval_metrics(same[:1], same, [5], ids, **options)
    assert found.mean_ap == (1 / 2 + 2 / 4 + 3 / 7) / 3
    signed = np.array([[0.0], [-0.0], [0.0]], np.float32)  # -0 and +0 are one score
    found = retrieval_metrics(same[:1, :1], signed, [5], [0, 5, 0], **options)
    assert found.mean_ap == 1 / 2


def test_not_a_number_comes_last_and_infinity_is_a_score(level: str) -> None:
    values = [np.nan, 1.0, -np.inf, np.inf, np.nan, -np.inf, 2.0]
    query = np.ones((70, 1), np.float32)
    gallery = np.array(values, np.float32)[:, None]
    for right in range(7):
        ids = np.where(np.arange(7) == right, 5, 1)
        ranks = [6, 3, 4, 1, 7, 5, 2]  # written by hand from `values`
        call: dict[str, Any] = {"protocol": "any"}
        expected = 1 / ranks[right]
        found = retrieval_metrics(query, gallery, [5] * 70, ids, metric="inner_product", **call)
        assert found.mean_ap == pytest.approx(expected, rel=1e-15)
        distance = np.repeat(-gallery.T, 70, axis=0)
        assert retrieval_metrics_from_distances(distance, [5] * 70, ids, **call).cmc[6] == 1
        again = retrieval_metrics_from_distances(distance, [5] * 70, ids, **call)
        assert again.mean_ap == found.mean_ap


def test_one_identity_everywhere_and_more_rows_than_a_list_holds(level: str) -> None:
    rng = np.random.default_rng(6)
    problem = case(rng, 70, 2500, 3, ids=1)
    assert_identical(
        retrieval_metrics(**problem, metric="inner_product"),
        reference.retrieval_metrics(**problem, metric="inner_product"),
    )


@pytest.mark.parametrize(("queries", "gallery"), [(0, 5), (4, 0), (0, 0)])
def test_empty_sides(queries: int, gallery: int) -> None:
    problem = case(np.random.default_rng(0), queries, gallery, 3)
    found = retrieval_metrics(**problem)
    assert (found.valid_queries, found.total_queries) == (0, queries)
    assert np.isnan([found.mean_ap, found.mean_inp, *found.cmc]).all()
    distances = np.empty((queries, gallery), np.float32)
    again = retrieval_metrics_from_distances(distances, **without_features(problem))
    assert_identical(again, found)


def test_queries_without_a_right_answer_are_counted_but_not_averaged() -> None:
    query = np.eye(3, dtype=np.float32)
    found = retrieval_metrics(query, query, [0, 1, 2], [0, 1, 9], [0, 0, 0], [1, 0, 1])
    assert (found.valid_queries, found.total_queries) == (1, 3)
    assert found.ranks is not None
    assert np.isnan(found.ranks.average_precision).tolist() == [False, True, True]
    assert found.ranks.first_rank.tolist() == [1, 0, 0]


def test_layouts_give_the_same_answer() -> None:
    rng = np.random.default_rng(7)
    problem = case(rng, 30, 200, 24)
    expected = retrieval_metrics(**problem)
    wide = {name: np.repeat(problem[name], 2, axis=1)[:, ::2] for name in ("query", "gallery")}
    assert_identical(retrieval_metrics(**{**problem, **wide}), expected)
    strided = {name: np.repeat(problem[name], 2, axis=0)[::2] for name in ("query", "gallery")}
    assert_identical(retrieval_metrics(**{**problem, **strided}), expected)
    narrow = {name: v.astype(np.int32) for name, v in without_features(problem).items()}
    assert_identical(retrieval_metrics(**{**problem, **narrow}), expected)


def test_blocks_of_distances_are_the_same_as_the_whole_matrix() -> None:
    rng = np.random.default_rng(8)
    problem = case(rng, 45, 120, 5)
    matrix = rng.random((45, 120), np.float32)

    class Blocks:
        shape = (45, 120)
        largest = 0

        def distances(self, begin: int, end: int) -> np.ndarray:
            self.largest = max(self.largest, end - begin)
            return matrix[begin:end]

    blocks = Blocks()
    call = without_features(problem)
    found = retrieval_metrics_from_distances(blocks, **call, block_rows=7)
    assert_identical(found, retrieval_metrics_from_distances(matrix, **call))
    assert blocks.largest == 7


def test_single_shot_is_the_mean_over_galleries_with_one_row_per_identity() -> None:
    rng = np.random.default_rng(9)
    problem = case(rng, 40, 200, 16)
    drawn = list(single_shot_galleries(problem["gallery_ids"], trials=4, seed=11))
    assert len({tuple(rows) for rows in drawn}) == 4
    parts = []
    for rows in drawn:
        ids = problem["gallery_ids"][rows]
        assert sorted(ids) == sorted(set(problem["gallery_ids"]) - {-1})
        some = {k: v[rows] if k.startswith("gallery") else v for k, v in problem.items()}
        parts.append(reference.retrieval_metrics(**some, protocol="any", metric="inner_product"))
    found = retrieval_metrics(
        **problem, protocol="any", metric="inner_product", single_shot_trials=4, seed=11
    )
    assert found.mean_ap == np.mean([p.mean_ap for p in parts])
    np.testing.assert_array_equal(found.cmc, np.mean([p.cmc for p in parts], axis=0))
    assert found.mean_ap == pytest.approx(found.mean_inp)  # one right answer: both are 1 / rank


def test_average_tracklets() -> None:
    features = np.array([[1, 0], [0, 2], [3, 0], [0, -2], [5, 5]], np.float32)
    mean, names = average_tracklets(features, [4, 1, 4, 1, 9])
    assert names.tolist() == [1, 4, 9]
    np.testing.assert_allclose(mean, [[0, 0], [1, 0], [0.5**0.5, 0.5**0.5]], rtol=1e-6)
    mean, names = average_tracklets(np.empty((0, 3), np.float32), np.empty(0, int))
    assert mean.shape == (0, 3)
    assert names.shape == (0,)


ONE = np.ones((2, 4), np.float32)
FINE: dict[str, Any] = {
    "query": ONE,
    "gallery": ONE,
    "query_ids": [0, 1],
    "gallery_ids": [0, 1],
    "query_cameras": [0, 1],
    "gallery_cameras": [1, 0],
}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"query": ONE.astype("f8")}, ShapeError, "query is float64"),
        ({"gallery": ONE[:, :3]}, ShapeError, "4 features and gallery 3"),
        ({"query_ids": [0]}, ShapeError, r"query_ids is int64 of shape \(1,\)"),
        ({"gallery_cameras": [0.0, 1.0]}, ShapeError, "gallery_cameras is float64"),
        ({"query_cameras": None}, UsageError, "without cameras"),
        ({"protocol": "clothes_changing"}, UsageError, "without clothes"),
        ({"protocol": "tracklet"}, UsageError, "without tracklets"),
        ({"protocol": "market"}, UsageError, "protocol='market'"),
        ({"metric": "l1"}, UsageError, "metric='l1'"),
        ({"max_rank": 0}, UsageError, "max_rank=0"),
        ({"single_shot_trials": -1}, UsageError, "single_shot_trials=-1"),
        ({"threads": 0}, UsageError, "threads=0"),
    ],
)
def test_wrong_calls_say_what_is_wrong(
    arguments: dict[str, Any], error: type[CrosscamError], message: str
) -> None:
    retrieval_metrics(**FINE)
    with pytest.raises(error, match=message):
        retrieval_metrics(**{**FINE, **arguments})


def test_wrong_distances_say_what_is_wrong() -> None:
    call = without_features(FINE)
    with pytest.raises(ShapeError, match="distances is float64"):
        retrieval_metrics_from_distances(np.ones((2, 2)), **call)
    with pytest.raises(ShapeError, match="query_ids is int64"):
        retrieval_metrics_from_distances(np.ones((3, 2), np.float32), **call)
    with pytest.raises(UsageError, match="block_rows=0"):
        retrieval_metrics_from_distances(np.ones((2, 2), np.float32), **call, block_rows=0)

    class Short:
        shape = (2, 2)

        def distances(self, begin: int, end: int) -> np.ndarray:
            return np.ones((end - begin, 1), np.float32)

    with pytest.raises(ShapeError, match=r"rows 0 to 2 of distances have shape \(2, 1\)"):
        retrieval_metrics_from_distances(Short(), **call)
