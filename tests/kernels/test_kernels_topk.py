"""similarity_topk against its specification."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from topk_parts import assert_identical, some_masks, unit_rows

from crosscam_kernels import TopK, pack_adjacency, simd_level, simd_levels, similarity_topk
from crosscam_kernels.errors import InputError, ShapeError, UsageError
from crosscam_kernels.reference import similarity as reference


@pytest.fixture(params=simd_levels())
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CROSSCAM_SIMD", request.param)
    assert simd_level() == request.param
    return str(request.param)


def integers(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    """Small integers: every sum is exact, so that indices must agree even among ties."""
    return rng.integers(-2, 3, (rows, dim)).astype(np.float32)


@pytest.mark.parametrize("rule", ["any", "exclude_same", "only_same"])
@pytest.mark.parametrize(
    ("queries", "gallery", "dim", "k"),
    [(1, 1, 1, 1), (3, 50, 7, 5), (16, 12, 16, 12), (67, 1001, 33, 10), (130, 29, 48, 40)],
)
def test_integer_data_is_index_exact(
    level: str, queries: int, gallery: int, dim: int, k: int, rule: str
) -> None:
    rng = np.random.default_rng(queries)
    q, g = integers(rng, queries, dim), integers(rng, gallery, dim)
    masks = some_masks(rng, queries, gallery, rule)
    assert_identical(similarity_topk(q, g, k), reference.similarity_topk(q, g, k))
    assert_identical(similarity_topk(q, g, k, **masks), reference.similarity_topk(q, g, k, **masks))


@settings(deadline=None)  # the first call loads the library, on whatever machine this is
@given(data=st.data())
def test_any_shape_and_any_combination_of_masks(data: st.DataObject) -> None:
    queries, gallery = data.draw(st.integers(0, 90)), data.draw(st.integers(0, 200))
    dim, k = data.draw(st.integers(1, 40)), data.draw(st.integers(0, 30))
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
    q, g = integers(rng, queries, dim), integers(rng, gallery, dim)
    found = similarity_topk(q, g, k, threads=data.draw(st.integers(1, 3)), **masks)
    assert found.similarity.shape == found.index.shape == (queries, k)
    assert_identical(found, reference.similarity_topk(q, g, k, **masks))


@settings(deadline=None)  # the first call loads the library, on whatever machine this is
@given(
    values=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 20), st.integers(1, 5)),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    )
)
def test_no_value_makes_it_return_nan_or_break_the_order(values: np.ndarray) -> None:
    found = similarity_topk(values, values, 8)
    assert not np.isnan(found.similarity).any()
    assert (found.similarity[:, 1:] <= found.similarity[:, :-1]).all()
    tie = (found.similarity[:, 1:] == found.similarity[:, :-1]) & (found.index[:, 1:] >= 0)
    assert (found.index[:, 1:] > found.index[:, :-1])[tie].all()
    np.testing.assert_array_equal(found.index == -1, found.similarity == -np.inf)


def test_float_data_agrees_with_float64(level: str) -> None:
    rng = np.random.default_rng(0)
    q, g = unit_rows(rng, 40, 512), unit_rows(rng, 700, 512)
    found, exact = similarity_topk(q, g, 20), reference.similarity_topk(q, g, 20)
    # Bound of one chain of 512 roundings on unit vectors, in the statistical sense.
    np.testing.assert_allclose(found.similarity, exact.similarity, atol=2e-6, rtol=0)
    of_pairs = np.einsum("qd,qkd->qk", q.astype(np.float64), g[found.index].astype(np.float64))
    np.testing.assert_allclose(found.similarity, of_pairs, atol=2e-6, rtol=0)


def test_the_documented_accumulation_order(level: str) -> None:
    rng = np.random.default_rng(1)
    q, g = unit_rows(rng, 5, 100), unit_rows(rng, 30, 100)
    sums = np.zeros((5, 30), np.float32)
    for d in range(100):
        # A product of two float32 is exact in longdouble, and so (nearly always) is the sum with a
        # third of similar size: one rounding, as in a fused multiply-add.
        product = q[:, d, None].astype(np.longdouble) * g[None, :, d].astype(np.longdouble)
        sums = (product + sums).astype(np.float32)
    found = similarity_topk(q, g, 30)
    np.testing.assert_array_equal(np.take_along_axis(sums, found.index, 1), found.similarity)


def test_same_bits_for_any_threads_level_and_run(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    q, g = unit_rows(rng, 70, 96), unit_rows(rng, 3000, 96)
    masks = some_masks(rng, 70, 3000, "exclude_same")
    first = similarity_topk(q, g, 15, **masks)
    for name in simd_levels():
        monkeypatch.setenv("CROSSCAM_SIMD", name)
        for threads in (1, 2, 7):
            assert_identical(similarity_topk(q, g, 15, threads=threads, **masks), first)


def test_duplicate_rows_tie_exactly_wherever_they_stand(level: str) -> None:
    rng = np.random.default_rng(3)
    q, g = unit_rows(rng, 20, 77), unit_rows(rng, 500, 77)
    copies = np.arange(3, 500, 13)
    g[copies] = q[4]
    found = similarity_topk(q, g, len(copies) + 1, threads=3)
    np.testing.assert_array_equal(found.index[4, :-1], copies)
    assert len(set(found.similarity[4, :-1].tolist())) == 1


def test_more_results_than_rows_and_masked_out_queries(level: str) -> None:
    rng = np.random.default_rng(4)
    q, g = integers(rng, 6, 9), integers(rng, 4, 9)
    found = similarity_topk(q, g, 10)
    assert (found.index[:, 4:] == -1).all()
    assert (found.similarity[:, 4:] == -np.inf).all()
    assert (np.sort(found.index[:, :4]) == np.arange(4)).all()
    nothing = similarity_topk(q, g, 3, valid=np.zeros(4, bool))
    assert (nothing.index == -1).all()
    assert (nothing.similarity == -np.inf).all()
    alone = similarity_topk(
        q, g, 3, query_camera=np.arange(6), gallery_camera=np.full(4, 2), camera_rule="only_same"
    )
    assert (alone.index[[0, 1, 3, 4, 5]] == -1).all()
    assert (alone.index[2] >= 0).all()


@pytest.mark.parametrize(("queries", "gallery", "k"), [(0, 5, 3), (4, 0, 3), (4, 5, 0), (0, 0, 0)])
def test_empty_sides(level: str, queries: int, gallery: int, k: int) -> None:
    found = similarity_topk(np.ones((queries, 3), "f4"), np.ones((gallery, 3), "f4"), k)
    assert found.index.shape == found.similarity.shape == (queries, k)
    assert gallery or (found.index == -1).all()


def test_nan_and_infinity(level: str) -> None:
    q = np.array([[1, 0], [np.nan, 1], [0, 1]], np.float32)
    g = np.array([[0.5, 1], [np.nan, 0], [np.inf, 1], [-np.inf, 1], [0.5, 2]], np.float32)
    found = similarity_topk(q, g, 5)
    assert found.index[0].tolist() == [2, 0, 4, -1, -1]
    assert found.similarity[0, 0] == np.inf
    assert found.index[1].tolist() == [-1] * 5
    assert found.index[2].tolist() == [4, 0, -1, -1, -1]  # inf * 0 is NaN


def test_layouts_give_the_same_answer(level: str) -> None:
    rng = np.random.default_rng(5)
    wide_q, wide_g = unit_rows(rng, 20, 64), unit_rows(rng, 90, 64)
    q, g = wide_q[::2, 5:45], wide_g[::3, 5:45]
    expected = similarity_topk(q.copy(), g.copy(), 6)
    assert_identical(similarity_topk(q, g, 6), expected)
    assert_identical(similarity_topk(np.asfortranarray(q), np.asfortranarray(g), 6), expected)
    backwards = similarity_topk(q[:, ::-1], g[:, ::-1], 6)
    assert_identical(backwards, similarity_topk(q[:, ::-1].copy(), g[:, ::-1].copy(), 6))
    assert_identical(similarity_topk(q[::-1], g, 6), TopK(*(a[::-1] for a in expected)))
    one_row = np.broadcast_to(q[0], (5, 40))
    assert (similarity_topk(one_row, g, 6).index == expected.index[0]).all()
    assert_identical(similarity_topk(memoryview(q.copy()), g, 6), expected)
    locked = q.copy()
    locked.flags.writeable = False
    assert_identical(similarity_topk(locked, g, 6), expected)


def test_cameras_far_apart_and_negative(level: str) -> None:
    rng = np.random.default_rng(6)
    q, g = integers(rng, 30, 8), integers(rng, 200, 8)
    ids = np.array([-(2**31), -5, 0, 7, 2**31 - 1])
    masks: dict[str, Any] = {
        "query_camera": ids[rng.integers(0, 5, 30)],
        "gallery_camera": ids[rng.integers(0, 5, 200)],
        "camera_rule": "exclude_same",
    }
    assert_identical(similarity_topk(q, g, 9, **masks), reference.similarity_topk(q, g, 9, **masks))


def test_adjacency_beyond_one_word_and_packed() -> None:
    rng = np.random.default_rng(7)
    allowed = rng.random((70, 150)) < 0.3
    q, g = integers(rng, 80, 8), integers(rng, 400, 8)
    cameras = {
        "query_camera": rng.integers(0, 70, 80),
        "gallery_camera": rng.integers(0, 150, 400),
    }
    expected = reference.similarity_topk(q, g, 9, adjacency=allowed, **cameras)
    assert_identical(similarity_topk(q, g, 9, adjacency=allowed, **cameras), expected)
    bits = pack_adjacency(allowed)
    assert bits.shape == (70, 3)
    assert all(
        bool(bits[a, b // 64] >> np.uint64(b % 64) & 1) == allowed[a, b]
        for a, b in [(3, 64), (69, 149), (0, 0)]
    )
    assert_identical(similarity_topk(q, g, 9, adjacency=bits, **cameras), expected)


EXTREME = [-(2**63), -(2**63) + 1, -(2**62), -1, 0, 1, 2**62, 2**63 - 2, 2**63 - 1]
ENDS = [None, -(2**80), *EXTREME[:-1]], [None, 2**80, *EXTREME[1:]]


@pytest.mark.parametrize("low", ENDS[0])
def test_times_whose_difference_does_not_fit_int64(low: int | None) -> None:
    times = np.array(EXTREME)
    one = np.ones((len(times), 3), np.float32)
    for high in ENDS[1]:
        masks: dict[str, Any] = {"query_time": times, "gallery_time": times, "window": (low, high)}
        found = similarity_topk(one, one, len(times), **masks)
        assert_identical(found, reference.similarity_topk(one, one, len(times), **masks))


def test_the_ends_of_int64_are_no_bounds_in_the_specification() -> None:
    masks: dict[str, Any] = {"query_time": [2**63 - 1], "gallery_time": [-(2**63)]}
    for high, allowed in [(None, True), (2**63 - 1, True), (2**63 - 2, False)]:
        assert reference.allowed_pairs(1, 1, **masks, window=(0, high)).item() is allowed
    back: dict[str, Any] = {"query_time": [-(2**63)], "gallery_time": [2**63 - 1]}
    for low, allowed in [(None, True), (-(2**63), True), (-(2**63) + 1, False)]:
        assert reference.allowed_pairs(1, 1, **back, window=(low, 0)).item() is allowed


ONE = np.ones((2, 4), np.float32)
PAIR = {"query_camera": [0, 1], "gallery_camera": [0, 1]}
TIMES = {"query_time": [0, 1], "gallery_time": [0, 1]}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"queries": ONE.astype("f8")}, ShapeError, "queries is float64"),
        ({"gallery": ONE[0]}, ShapeError, r"gallery is float32 of shape \(4,\)"),
        ({"gallery": ONE[:, :3]}, ShapeError, "4 features and the gallery 3"),
        ({"queries": ONE[:, :0], "gallery": ONE[:, :0]}, ShapeError, "at least 1"),
        ({"queries": object()}, ShapeError, "queries is object"),
        ({"k": -1}, UsageError, "k=-1"),
        ({"threads": 0}, UsageError, "threads=0"),
        ({"valid": [1, 0]}, ShapeError, "valid is int64"),
        ({"valid": np.ones(3, bool)}, ShapeError, r"valid is bool of shape \(3,\)"),
        ({"camera_rule": "exclude_same"}, UsageError, "without cameras"),
        ({"adjacency": np.eye(2, dtype=bool)}, UsageError, "without cameras"),
        ({"camera_rule": "same", **PAIR}, UsageError, "camera_rule='same'"),
        ({"query_camera": [0, 1]}, UsageError, "only one of query_camera"),
        ({**PAIR, "query_camera": [0.0, 1.0]}, ShapeError, "query_camera is float64"),
        ({**PAIR, "query_camera": [0, 2**40]}, InputError, "fit int32"),
        ({**PAIR, "adjacency": np.eye(1, dtype=bool)}, InputError, "query_camera holds cameras"),
        ({**PAIR, "adjacency": np.ones((2, 1), bool)}, InputError, "gallery_camera holds cameras"),
        ({**PAIR, "adjacency": np.eye(2)}, ShapeError, "adjacency is float64"),
        (TIMES, UsageError, "window must be given"),
        ({"window": (0, 1)}, UsageError, "window must be given"),
        ({**TIMES, "window": (0.5, None)}, UsageError, "window holds 0.5"),
        ({**TIMES, "window": (2**63, None)}, UsageError, "beyond int64"),
        ({**TIMES, "window": (None, -(2**63) - 1)}, UsageError, "beyond int64"),
    ],
)
def test_wrong_calls_say_what_is_wrong(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        similarity_topk(**{"queries": ONE, "gallery": ONE, "k": 1, **arguments})


def test_an_unknown_instruction_set_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSCAM_SIMD", "mmx")
    with pytest.raises(UsageError, match="CROSSCAM_SIMD='mmx'"):
        similarity_topk(ONE, ONE, 1)
