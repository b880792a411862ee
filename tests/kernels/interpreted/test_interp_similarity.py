"""The GPU kernels of similarity_topk, run by Triton's interpreter, against the specification."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from interp_similarity_parts import PLANS, TILE, assert_identical, integers, search, some_masks

from crosscam_kernels.gpu import similarity as gpu
from crosscam_kernels.gpu import similarity_chunks, similarity_groups, similarity_stream
from crosscam_kernels.gpu.similarity_keys import EMPTY
from crosscam_kernels.gpu.similarity_problem import Problem
from crosscam_kernels.gpu.similarity_table import Plan, Tile
from crosscam_kernels.reference import similarity as reference
from crosscam_kernels.similarity import pack_adjacency


@pytest.fixture(params=PLANS.values(), ids=PLANS)
def plan(request: pytest.FixtureRequest) -> Plan:
    found: Plan = request.param
    return found


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
