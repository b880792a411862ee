"""The GPU kernels of similarity_topk, run by Triton's interpreter, against the specification."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscam_kernels.gpu import similarity as gpu
from crosscam_kernels.gpu import similarity_chunks, similarity_groups, similarity_stream
from crosscam_kernels.gpu.quantise import quantise_rows
from crosscam_kernels.gpu.similarity_keys import EMPTY
from crosscam_kernels.gpu.similarity_problem import Problem
from crosscam_kernels.gpu.similarity_table import Plan, Tile
from crosscam_kernels.reference import similarity as reference
from crosscam_kernels.similarity import TopK, pack_adjacency

TILE = Tile(16, 32, 16, 4, 2)
PLANS = {
    "stream": Plan("stream", TILE, splits=3, share=True),
    "groups": Plan("groups", TILE, group=8),
    "chunks": Plan("chunks", TILE),
}


@pytest.fixture(params=PLANS.values(), ids=PLANS)
def plan(request: pytest.FixtureRequest) -> Plan:
    found: Plan = request.param
    return found


def integers(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    """Small integers: every sum is exact in any type, so that indices must agree among ties."""
    return rng.integers(-2, 3, (rows, dim)).astype(np.float32)


def some_masks(rng: np.random.Generator, queries: int, gallery: int, rule: str) -> dict[str, Any]:
    return {
        "valid": rng.random(gallery) < 0.8,
        "query_camera": rng.integers(0, 4, queries),
        "gallery_camera": rng.integers(0, 4, gallery).astype(np.int32),
        "camera_rule": rule,
        "adjacency": rng.random((4, 4)) < 0.7,
        "query_time": rng.integers(0, 10**12, queries),
        "gallery_time": rng.integers(0, 10**12, gallery),
        "window": (-3 * 10**11, 5 * 10**11),
    }


def search(
    q: np.ndarray,
    g: np.ndarray,
    k: int,
    plan: Plan,
    dtype: torch.dtype = torch.float32,
    **masks: Any,
) -> TopK:
    given = {
        name: torch.as_tensor(value) if isinstance(value, np.ndarray) else value
        for name, value in masks.items()
    }
    found = gpu.similarity_topk(
        torch.as_tensor(q).to(dtype), torch.as_tensor(g).to(dtype), k, plan=plan, **given
    )
    return TopK(found[0].numpy(), found[1].numpy())


def assert_identical(found: TopK, expected: TopK) -> None:
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_array_equal(found.similarity, expected.similarity)


@pytest.mark.parametrize(
    ("queries", "gallery", "dim", "k", "rule"),
    [
        (1, 1, 1, 1, "any"), (3, 50, 7, 5, "any"), (3, 50, 7, 5, "exclude_same"),
        (3, 50, 7, 5, "only_same"), (17, 96, 16, 6, "exclude_same"), (5, 133, 33, 20, "any"),
        (2, 31, 48, 40, "only_same"),
    ],
)  # fmt: skip
def test_integer_data_is_index_exact(
    plan: Plan, queries: int, gallery: int, dim: int, k: int, rule: str
) -> None:
    rng = np.random.default_rng(queries)
    q, g = integers(rng, queries, dim), integers(rng, gallery, dim)
    masks = some_masks(rng, queries, gallery, rule)
    assert_identical(search(q, g, k, plan, **masks), reference.similarity_topk(q, g, k, **masks))
    if rule == "any":
        assert_identical(search(q, g, k, plan), reference.similarity_topk(q, g, k))


def test_half_precision_features_are_summed_in_float32(plan: Plan) -> None:
    # 2048 + 1 is no float16: a sum in float16 would lose every one after the first product.
    q = np.ones((2, 33), np.float32)
    g = np.concatenate([[[2048.0] + [1.0] * 32], [[2048.0] + [1.0] * 31 + [2.0]]]).astype("f4")
    found = search(q, g, 2, plan, torch.float16)
    assert found.similarity[0].tolist() == [2081.0, 2080.0]
    assert found.index[0].tolist() == [1, 0]


@settings(max_examples=12)
@given(data=st.data())
def test_any_shape_and_any_combination_of_masks(data: st.DataObject) -> None:
    queries, gallery = data.draw(st.integers(1, 18)), data.draw(st.integers(1, 70))
    dim, k = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 9))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    rule = data.draw(st.sampled_from(["any", "exclude_same", "only_same"]))
    masks = some_masks(rng, queries, gallery, rule)
    if data.draw(st.booleans()):
        del masks["valid"]
    if data.draw(st.booleans()):
        del masks["adjacency"]
    if data.draw(st.booleans()):
        del masks["query_time"], masks["gallery_time"], masks["window"]
    elif data.draw(st.booleans()):
        masks["window"] = (None, data.draw(st.integers(-(10**12), 10**12)))
    tactic = data.draw(st.sampled_from(["stream", "groups", "chunks"]))
    plan = Plan(
        tactic,
        data.draw(st.sampled_from([TILE, Tile(16, 16, 32, 4, 2), Tile(32, 64, 16, 4, 2)])),
        splits=data.draw(st.integers(1, 5)),
        share=data.draw(st.booleans()),
        group=data.draw(st.sampled_from([1, 4, 16])),
    )
    dtype = data.draw(st.sampled_from([torch.float32, torch.float16]))
    q, g = integers(rng, queries, dim), integers(rng, gallery, dim)
    found = search(q, g, k, plan, dtype, **masks)
    assert_identical(found, reference.similarity_topk(q, g, k, **masks))


@pytest.mark.parametrize(("queries", "gallery", "k"), [(0, 5, 3), (4, 0, 3), (4, 5, 0), (0, 0, 0)])
def test_empty_sides(plan: Plan, queries: int, gallery: int, k: int) -> None:
    found = search(np.ones((queries, 3), "f4"), np.ones((gallery, 3), "f4"), k, plan)
    assert found.index.shape == found.similarity.shape == (queries, k)
    assert found.index.dtype == np.int64
    assert gallery or (found.index == -1).all()


def test_nan_infinity_and_zeros_of_both_signs(plan: Plan) -> None:
    q = np.array([[1, 0], [np.nan, 1], [0, 1], [-1e-30, 0]], np.float32)
    g = np.array([[0.5, 1], [np.nan, 0], [np.inf, 1], [-np.inf, 1], [0.5, 2]], np.float32)
    found = search(q, g, 5, plan)
    assert found.index[0].tolist() == [2, 0, 4, -1, -1]
    assert found.similarity[0].tolist()[:1] == [np.inf]
    assert found.index[1].tolist() == [-1] * 5
    assert found.index[2].tolist() == [4, 0, -1, -1, -1]  # inf * 0 is NaN
    # -1e-30 * 1e-30 is -0 in float32, and 1e-30 * -1e-30 too: they tie with 0.
    tiny = np.array([[1e-30, 0], [0, 0], [-1e-30, 0], [1e-30, 1]], np.float32)
    zeros = search(q[3:], tiny, 4, plan)
    assert zeros.index[0].tolist() == [0, 1, 2, 3]
    assert (zeros.similarity == 0).all()


def test_equal_rows_tie_wherever_they_stand(plan: Plan) -> None:
    rng = np.random.default_rng(3)
    q, g = rng.standard_normal((3, 20)).astype("f4"), rng.standard_normal((100, 20)).astype("f4")
    copies = np.arange(3, 100, 13)
    g[copies] = 3 * q[1]
    found = search(q, g, len(copies) + 1, plan)
    np.testing.assert_array_equal(found.index[1, :-1], copies)
    assert len(set(found.similarity[1, :-1].tolist())) == 1


def test_float_data_agrees_with_float64(plan: Plan) -> None:
    rng = np.random.default_rng(0)
    q, g = rng.standard_normal((5, 100)), rng.standard_normal((90, 100))
    q = (q / np.linalg.norm(q, axis=1, keepdims=True)).astype("f4")
    g = (g / np.linalg.norm(g, axis=1, keepdims=True)).astype("f4")
    found, exact = search(q, g, 10, plan), reference.similarity_topk(q, g, 10)
    np.testing.assert_array_equal(found.index, exact.index)
    np.testing.assert_allclose(found.similarity, exact.similarity, atol=1e-6, rtol=0)


def test_fewer_than_k_are_padded(plan: Plan) -> None:
    rng = np.random.default_rng(4)
    q, g = integers(rng, 4, 9), integers(rng, 6, 9)
    found = search(q, g, 10, plan)
    assert (found.index[:, 6:] == -1).all()
    assert (found.similarity[:, 6:] == -np.inf).all()
    assert (np.sort(found.index[:, :6]) == np.arange(6)).all()
    nothing = search(q, g, 3, plan, valid=np.zeros(6, bool))
    assert (nothing.index == -1).all()
    assert (nothing.similarity == -np.inf).all()


def test_two_runs_give_the_same_bits_and_nothing_is_left_unwritten(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    q, g = rng.standard_normal((17, 17)).astype("f4"), rng.standard_normal((33, 17)).astype("f4")
    masks = some_masks(rng, 17, 33, "exclude_same")
    first = search(q, g, 4, plan, **masks)
    empty = torch.empty

    def poisoned(*args: Any, **kwargs: Any) -> torch.Tensor:
        made = empty(*args, **kwargs)
        return made.fill_(127 if not made.is_floating_point() else torch.nan)

    monkeypatch.setattr(torch, "empty", poisoned)
    assert_identical(search(q, g, 4, plan, **masks), first)


@pytest.mark.parametrize("share", [False, True])
def test_splits_do_not_matter(share: bool) -> None:
    rng = np.random.default_rng(6)
    q, g = rng.standard_normal((3, 12)).astype("f4"), rng.standard_normal((150, 12)).astype("f4")
    one = search(q, g, 9, Plan("stream", TILE, splits=1))
    for splits in (2, 1000):
        assert_identical(search(q, g, 9, Plan("stream", TILE, splits=splits, share=share)), one)


def test_merging_takes_several_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity_stream, "MERGE_BLOCK", 16)
    rng = np.random.default_rng(7)
    q, g = integers(rng, 3, 5), integers(rng, 320, 5)
    plan = Plan("stream", TILE, splits=10)
    assert_identical(search(q, g, 5, plan), reference.similarity_topk(q, g, 5))


def test_groups_in_parts_of_queries_and_of_maxima(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity_groups, "GROUP_BYTES", 16 * 4 * 30)
    monkeypatch.setattr(similarity_groups, "SELECT_COLUMNS", 8)
    monkeypatch.setattr(similarity_groups, "SELECT_SPAN", 16)
    rng = np.random.default_rng(8)
    q, g = integers(rng, 17, 9), integers(rng, 130, 9)
    masks = some_masks(rng, 17, 130, "exclude_same")
    found = search(q, g, 4, PLANS["groups"], **masks)
    assert_identical(found, reference.similarity_topk(q, g, 4, **masks))


@pytest.mark.parametrize("k", [3, 70, 500])
def test_chunks_for_any_k(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity_chunks, "CHUNK_BYTES", 0)
    monkeypatch.setattr(similarity_chunks, "MIN_CHUNK", 50)
    rng = np.random.default_rng(9)
    q, g = integers(rng, 5, 9), integers(rng, 230, 9)
    masks = some_masks(rng, 5, 230, "only_same")
    found = search(q, g, k, PLANS["chunks"], **masks)
    assert_identical(found, reference.similarity_topk(q, g, k, **masks))


def test_adjacency_beyond_one_word_and_packed(plan: Plan) -> None:
    rng = np.random.default_rng(10)
    allowed = rng.random((70, 150)) < 0.3
    q, g = integers(rng, 4, 8), integers(rng, 50, 8)
    cameras = {
        "query_camera": rng.integers(0, 70, 4),
        "gallery_camera": rng.integers(0, 150, 50),
    }
    expected = reference.similarity_topk(q, g, 9, adjacency=allowed, **cameras)
    assert_identical(search(q, g, 9, plan, adjacency=allowed, **cameras), expected)
    assert_identical(search(q, g, 9, plan, adjacency=pack_adjacency(allowed), **cameras), expected)


def test_cameras_outside_adjacency_match_nothing(plan: Plan) -> None:
    q, g = np.ones((3, 4), np.float32), np.ones((40, 4), np.float32)
    found = search(
        q,
        g,
        4,
        plan,
        query_camera=np.array([0, 2, -1]),
        gallery_camera=np.r_[np.full(38, 99), 0, -5],
        adjacency=np.ones((2, 3), bool),
    )
    assert found.index.tolist() == [[38, -1, -1, -1], [-1] * 4, [-1] * 4]


def test_cameras_beyond_32_bits_differ(plan: Plan) -> None:
    q, g = np.ones((1, 4), np.float32), np.ones((2, 4), np.float32)
    masks = {"query_camera": np.array([7]), "gallery_camera": np.array([7, 2**32 + 7])}
    assert search(q, g, 2, plan, camera_rule="only_same", **masks).index.tolist() == [[0, -1]]
    assert search(q, g, 2, plan, camera_rule="exclude_same", **masks).index.tolist() == [[1, -1]]


WINDOWS: list[tuple[int | None, int | None]] = [
    (None, None), (0, None), (None, -1), (-(2**63), 2**63 - 1), (2**63 - 1, None), (5, 4),
    (None, -(2**63)), (-(2**63) + 1, 2**63 - 2), (-(2**80), 0), (0, 2**63 - 1),
]  # fmt: skip


# All plans mask tiles by the same code: they take turns.
@pytest.mark.parametrize(("window", "tactic"), list(zip(WINDOWS, itertools.cycle(PLANS))))
def test_times_at_the_ends_of_int64(window: tuple[int | None, int | None], tactic: str) -> None:
    plan = PLANS[tactic]
    times = np.array([-(2**63), -1, 0, 1, 2**63 - 1])
    q, g = np.ones((5, 3), np.float32), np.ones((5, 3), np.float32)
    masks: dict[str, Any] = {"query_time": times, "gallery_time": times, "window": window}
    assert_identical(search(q, g, 5, plan, **masks), reference.similarity_topk(q, g, 5, **masks))


def test_layouts_give_the_same_answer(plan: Plan) -> None:
    q, g = torch.randn(12, 40), torch.randn(90, 40)
    want = gpu.similarity_topk(q[::2, 5:25].contiguous(), g[::3, 5:25].contiguous(), 6, plan=plan)
    for left, right in (
        (q[::2, 5:25], g[::3, 5:25]),
        (q[::2, 5:25].t().contiguous().t(), g[::3, 5:25].t().contiguous().t()),
    ):
        found = gpu.similarity_topk(left, right, 6, plan=plan)
        assert torch.equal(found[0], want[0])
        assert torch.equal(found[1], want[1])
    one = gpu.similarity_topk(q[:1, 5:25].expand(5, 20), g[::3, 5:25], 6, plan=plan)
    assert torch.equal(one[1], want[1][:1].expand(5, 6))


def test_rows_beyond_two_billion_elements(plan: Plan) -> None:
    stride, rows = 2**22, 520  # touches one page of each row; nothing else is ever in memory
    gallery = torch.empty(stride * rows, dtype=torch.int8).view(rows, stride)[:, :6]
    gallery.copy_(torch.randint(-3, 4, (rows, 6), dtype=torch.int8))
    queries = torch.randn(2, 6)
    scale = torch.ones(rows)
    found = gpu.similarity_topk(queries, gallery, 5, scale=scale, plan=plan)
    want = gpu.similarity_topk(queries, gallery.contiguous(), 5, scale=scale, plan=plan)
    assert torch.equal(found[0], want[0])
    assert torch.equal(found[1], want[1])


def test_indices_beyond_two_billion_survive_the_keys() -> None:
    values = torch.tensor([[0.5, -0.5, 0.0, -torch.inf]])
    problem = Problem(torch.ones(1, 1), torch.ones(4, 1))
    first = 2**32 - 5
    keys = similarity_chunks.masked_keys(problem, values, first)
    assert keys[0, 3] == EMPTY.value
    similarity, index = torch.empty(1, 4), torch.empty(1, 4, dtype=torch.int64)
    similarity_chunks.unpack_kernel[(1,)](keys, similarity, index, 4, 16)
    assert index.tolist() == [[first, first + 1, first + 2, -1]]
    assert similarity.tolist() == values.tolist()


def test_zeros_of_both_signs_have_one_key() -> None:
    # A product that underflows is -0 where products and sums are rounded together, as on GPUs.
    problem = Problem(torch.ones(1, 1), torch.ones(3, 1))
    keys = similarity_chunks.masked_keys(problem, torch.tensor([[-0.0, 0.0, -0.0]]), 0)
    assert keys[0].tolist() == sorted(keys[0].tolist(), reverse=True)
    assert (keys[0, 0] - keys[0, 2]).item() == 2


# ------------------------------------------------------------------------------------------------
# int8


def int8_expected(q: np.ndarray, codes: np.ndarray, scale: np.ndarray, k: int) -> TopK:
    """Integer sums, then ``(sum * query scale) * scale`` in float32."""
    of_query = np.abs(q).max(axis=1) / np.float32(127)
    codes_q = np.rint(q / np.where(of_query > 0, of_query, 1)[:, None]).astype(np.int64)
    matrix = (codes_q @ codes.astype(np.int64).T).astype(np.float32)
    matrix = matrix * of_query.astype(np.float32)[:, None] * scale[None, :]
    order = np.argsort(-matrix, axis=1, kind="stable")[:, :k]
    return TopK(np.take_along_axis(matrix, order, 1), order)


def test_int8_sums_are_exact_integers(plan: Plan) -> None:
    rng = np.random.default_rng(12)
    q = rng.standard_normal((7, 45)).astype("f4")
    codes = rng.integers(-127, 128, (80, 45)).astype(np.int8)
    codes[50:60] = codes[20:30]
    scale = rng.uniform(0.001, 0.01, 80).astype("f4")
    scale[50:60] = scale[20:30]
    found = gpu.similarity_topk(
        torch.tensor(q), torch.tensor(codes), 9, scale=torch.tensor(scale), plan=plan
    )
    expected = int8_expected(q, codes, scale, 9)
    np.testing.assert_array_equal(found[1], expected.index)
    np.testing.assert_array_equal(found[0], expected.similarity)


@pytest.mark.parametrize(
    ("tactic", "dtype"), [*((name, torch.float32) for name in PLANS), ("stream", torch.float16)]
)
def test_int8_candidates_are_rescored_exactly(tactic: str, dtype: torch.dtype) -> None:
    plan = PLANS[tactic]
    rng = np.random.default_rng(13)
    q = rng.standard_normal((4, 33)).astype("f4")
    g = torch.tensor(rng.standard_normal((50, 33)).astype("f4")).to(dtype)
    codes, scale = quantise_rows(g)
    masks = some_masks(rng, 4, 50, "exclude_same")
    given = {n: torch.as_tensor(v) if isinstance(v, np.ndarray) else v for n, v in masks.items()}
    found = gpu.similarity_topk(
        torch.tensor(q), codes, 8, scale=scale, rescore=g, plan=plan, **given
    )
    exact = reference.similarity_topk(q, g.float().numpy(), 8, **masks)
    np.testing.assert_array_equal(found[1], exact.index)
    np.testing.assert_allclose(found[0], exact.similarity, rtol=1e-5)


def test_more_candidates_than_the_gallery_has(plan: Plan) -> None:
    g = torch.eye(5)
    codes, scale = quantise_rows(g)
    found = gpu.similarity_topk(g[:2], codes, 4, scale=scale, rescore=g, plan=plan)
    assert found[1].tolist() == [[0, 1, 2, 3], [1, 0, 2, 3]]
    assert found[0].tolist() == [[1, 0, 0, 0], [1, 0, 0, 0]]


def test_quantised_rows() -> None:
    rows = torch.tensor(
        [
            [1.0, -2.0, 0.5, 127 / 254],
            [0.0, 0.0, 0.0, 0.0],
            [torch.nan, 1.0, 2.0, 3.0],
            [1.0, torch.inf, 2.0, 3.0],
            [127.0, 2.5, 3.5, -0.5],
            [3e38, -3e38, 1e-38, 0.0],
        ]
    )
    codes, scale = quantise_rows(rows)
    assert codes[0].tolist() == [64, -127, 32, 32]
    assert codes[1:4].abs().sum() == 0
    assert scale[1] == 0
    assert scale[2:4].isnan().all()
    assert codes[4].tolist() == [127, 2, 4, 0]  # halves to even
    assert codes[5].tolist() == [127, -127, 0, 0]
    wide = torch.randn(3, 3000)
    codes, scale = quantise_rows(wide)
    largest = wide.abs().amax(1)
    np.testing.assert_array_equal(scale, largest / 127)
    np.testing.assert_array_equal(codes.float(), torch.round(wide / scale[:, None]))


def test_rows_that_are_not_finite_are_never_found(plan: Plan) -> None:
    g = torch.randn(40, 8)
    g[3, 2], g[9, 0] = torch.nan, torch.inf
    codes, scale = quantise_rows(g)
    found = gpu.similarity_topk(torch.randn(2, 8), codes, 40, scale=scale, plan=plan)[1]
    assert not torch.isin(found, torch.tensor([3, 9])).any()
    assert (found[:, -2:] == -1).all()
