"""similarity_topk on bf16, fp16 and int8 galleries, and its proofs of exactness."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from topk_parts import (
    FLOATS,
    assert_identical,
    bf16,
    defined,
    people,
    sign_rows,
    some_masks,
    stored,
    unit_rows,
)

from crosscam_kernels import quantise_rows, simd_levels, similarity_topk
from crosscam_kernels.errors import ShapeError, UsageError
from crosscam_kernels.reference import similarity as reference


@pytest.fixture(params=[f"{name}-{dot}" for name in simd_levels() for dot in "10"])
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name, dot = request.param.split("-")
    monkeypatch.setenv("CROSSCAM_SIMD", name)
    monkeypatch.setenv("CROSSCAM_DOT", dot)
    return str(request.param)


@pytest.mark.parametrize("element", FLOATS)
@pytest.mark.parametrize(("queries", "dim"), [(1, 64), (3, 37), (20, 64), (40, 33)])
def test_every_similarity_is_the_documented_chain(
    level: str, element: str, queries: int, dim: int
) -> None:
    rng = np.random.default_rng(queries)
    q, g = unit_rows(rng, queries, dim), stored(people(rng, 600, dim, 60), element)
    wide = reference.floats(g, np.float32)
    assert_identical(similarity_topk(q, g, 9), defined(q, wide, 9))
    masks = some_masks(rng, queries, 600)
    assert_identical(similarity_topk(q, g, 9, threads=3, **masks), defined(q, wide, 9, **masks))


@pytest.mark.parametrize("element", FLOATS)
@pytest.mark.parametrize(("queries", "rows", "k"), [(2, 600, 5), (66, 1500, 20), (40, 513, 32)])
def test_ties_go_to_the_smaller_index(
    level: str, element: str, queries: int, rows: int, k: int
) -> None:
    rng = np.random.default_rng(rows)
    q, g = sign_rows(rng, queries, 64), sign_rows(rng, rows, 64)
    expected = reference.similarity_topk(q, g, k)
    assert_identical(similarity_topk(q, stored(g, element), k), expected)
    values, scale = quantise_rows(g)
    assert_identical(
        similarity_topk(q, values, k, scale=scale, rescore=stored(g, element)), expected
    )


@pytest.mark.parametrize("element", FLOATS)
@pytest.mark.parametrize("dim", [1, 37, 64])
def test_int8_with_rescoring_answers_like_the_rows_it_was_made_from(
    level: str, element: str, dim: int
) -> None:
    rng = np.random.default_rng(dim)
    # Scales below one, and above: one left out shrinks similarities then.
    for rows in (people(rng, 1500, dim, 25), 1024 * unit_rows(rng, 900, dim)):
        exact = stored(rows, element)
        values, scale = quantise_rows(exact)
        for q in (unit_rows(rng, 2, dim), people(rng, 40, dim, 25)):
            masks = some_masks(rng, len(q), len(rows))
            for mask in ({}, masks):
                found = similarity_topk(q, values, 10, scale=scale, rescore=exact, **mask)
                assert_identical(found, similarity_topk(q, exact, 10, **mask))


@pytest.mark.parametrize(("queries", "rows", "dim"), [(1, 1, 1), (5, 40, 7), (70, 600, 130)])
def test_int8_alone_is_exact_in_integers(level: str, queries: int, rows: int, dim: int) -> None:
    rng = np.random.default_rng(rows)
    q = unit_rows(rng, queries, dim)
    g = rng.integers(-128, 128, (rows, dim)).astype(np.int8)
    scale = rng.random(rows).astype(np.float32)
    masks = some_masks(rng, queries, rows)
    found = similarity_topk(q, g, 12, scale=scale, **masks)
    assert_identical(found, reference.similarity_topk(q, g, 12, scale=scale, **masks))


def test_int8_at_its_extremes(level: str) -> None:
    q = np.array([[1.0] * 5000, [-1.0] * 5000], np.float32)
    g = np.full((3, 5000), -128, np.int8)
    g[1] = 127
    scale = np.ones(3, np.float32)
    assert_identical(
        similarity_topk(q, g, 3, scale=scale), reference.similarity_topk(q, g, 3, scale=scale)
    )


@settings(deadline=None)  # the first call loads the library, on whatever machine this is
@given(data=st.data())
def test_any_shape_type_and_mask(data: st.DataObject) -> None:
    queries, rows = data.draw(st.integers(0, 90)), data.draw(st.integers(0, 1300))
    dim, k = data.draw(st.integers(1, 70)), data.draw(st.integers(0, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    element = data.draw(st.sampled_from(FLOATS))
    q, g = sign_rows(rng, queries, dim), stored(sign_rows(rng, rows, dim), element)
    masks = some_masks(rng, queries, rows) if data.draw(st.booleans()) else {}
    expected = reference.similarity_topk(q, g, k, **masks)
    threads = data.draw(st.integers(1, 3))
    assert_identical(similarity_topk(q, g, k, threads=threads, **masks), expected)
    values, scale = quantise_rows(g)
    found = similarity_topk(q, values, k, scale=scale, rescore=g, threads=threads, **masks)
    assert_identical(found, expected)


@pytest.mark.parametrize("disturbance", ["long row", "all equal", "zeros"])
@pytest.mark.parametrize("queries", [3, 40])
def test_where_the_first_pass_proves_nothing_the_answer_is_the_same(
    level: str, disturbance: str, queries: int
) -> None:
    rng = np.random.default_rng(7)
    q, g = unit_rows(rng, queries, 32), unit_rows(rng, 2500, 32)
    if disturbance == "long row":
        g[1234] *= 50
        q[2] *= 20
    elif disturbance == "all equal":
        g[:] = g[5]
    else:
        g[:] = 0
        g[77] = q[0]
    expected = defined(q, g, 8)
    assert_identical(similarity_topk(q, g, 8), expected)
    assert_identical(
        similarity_topk(q, stored(g, "bfloat16"), 8),
        defined(q, reference.floats(bf16(g), np.float32), 8),
    )
    values, scale = quantise_rows(g)
    assert_identical(similarity_topk(q, values, 8, scale=scale, rescore=g), expected)


def misleading(low: float, up: float, down: float, rows: np.ndarray) -> np.ndarray:
    """`rows` with a best one whose features are all rounded down, and five that are rounded up.

    Rounding turns their order around by as much as it can: a first pass over rounded rows finds the
    best one only if it allows for the whole of the rounding. They stand where no sample is taken.
    """
    out = rows.copy()
    out[[3, 203, 403, 603, 803], ::2] = up
    out[[3, 203, 403, 603, 803], 1::2] = low
    out[603 + 4] = down
    return out


@pytest.mark.parametrize("element", ["float32", "float16"])
@pytest.mark.parametrize("others", [1.0, 0.1])  # 0.1: six rows are longer than any of the sample
def test_the_bound_allows_for_all_that_rounding_to_bf16_can_do(
    level: str, element: str, others: float
) -> None:
    q = np.full((40, 64), 0.125, np.float32)  # nothing of a query is lost
    rows = others * unit_rows(np.random.default_rng(12), 1280, 64)
    half, step = 2.0**-8, 2.0**-10  # half a unit of bf16, and one of float16, at 1
    g = 0.125 * misleading(1.0, 1 + half + step, 1 + half - step, 8 * rows).astype(np.float32)
    stored_rows = stored(g, element)
    expected = defined(q, reference.floats(stored_rows, np.float32), 3)
    assert (expected.index[:, 0] == 607).all()
    assert_identical(similarity_topk(q, stored_rows, 3), expected)


def test_the_bound_allows_for_all_that_rounding_to_int8_can_do(level: str) -> None:
    q = np.full((40, 64), 0.125, np.float32)
    rows = unit_rows(np.random.default_rng(12), 1280, 64)
    g = misleading(100.0, 100.6, 100.4, 800 * rows)
    g[[3, 203, 403, 603, 803, 607], 0] = 127  # so that one unit is one step of int8
    g = (g / 800).astype(np.float32)
    values, scale = quantise_rows(g)
    assert values[607, 1] == 100
    assert values[3, 2] == 101
    expected = defined(q, g, 3)
    assert (expected.index[:, 0] == 607).all()
    assert_identical(similarity_topk(q, values, 3, scale=scale, rescore=g), expected)


@pytest.mark.parametrize("element", FLOATS)
@pytest.mark.parametrize("queries", [1, 2, 3, 4])
def test_few_queries_find_rows_far_longer_than_the_sample(
    level: str, element: str, queries: int
) -> None:
    # Forty rows of the same features in other orders: their sums are equal but for rounding, of
    # which the bound of rows like the sampled ones, every twentieth, allows a thousandth.
    rng = np.random.default_rng(16)
    q = np.full((queries, 67), 0.1, np.float32)
    g = 1e-3 * unit_rows(rng, 1280, 67)
    long = np.abs(unit_rows(rng, 1, 67)[0])
    for row in range(1, 1280, 32):
        g[row + (row % 20 == 0)] = rng.permutation(long)
    stored_rows = stored(g, element)
    expected = defined(q, reference.floats(stored_rows, np.float32), 3)
    assert_identical(similarity_topk(q, stored_rows, 3), expected)


def test_not_finite_values_are_found_as_the_small_gallery_finds_them(level: str) -> None:
    rng = np.random.default_rng(8)
    q, g = unit_rows(rng, 6, 16), unit_rows(rng, 1400, 16)
    g[5, 3], g[900, 2], g[901], g[333, 7] = np.nan, np.inf, -np.inf, 3e38
    q[4, 1], q[5, 1] = np.nan, np.inf
    parts = [similarity_topk(q, g[i : i + 350], 6) for i in range(0, 1400, 350)]
    similarity = np.concatenate([part.similarity for part in parts], axis=1)
    index = np.concatenate(
        [np.where(part.index < 0, 10**6, part.index + 350 * i) for i, part in enumerate(parts)], 1
    )
    order = np.lexsort((index, -similarity), axis=1)[:, :6]
    found = similarity_topk(q, g, 6)
    np.testing.assert_array_equal(found.similarity, np.take_along_axis(similarity, order, 1))
    wanted = np.take_along_axis(index, order, 1)
    np.testing.assert_array_equal(found.index, np.where(wanted == 10**6, -1, wanted))


def test_garbage_in_rows_that_are_not_valid_costs_nothing(level: str) -> None:
    rng = np.random.default_rng(9)
    q, g = unit_rows(rng, 40, 48), unit_rows(rng, 2000, 48)
    valid = rng.random(2000) < 0.7
    expected = similarity_topk(q, g, 10, valid=valid)
    dirty = g.copy()
    dirty[~valid] = np.nan
    assert_identical(similarity_topk(q, dirty, 10, valid=valid), expected)
    values, scale = quantise_rows(dirty)
    found = similarity_topk(q, values, 10, valid=valid, scale=scale, rescore=g)
    assert_identical(found, expected)


def test_same_bits_for_every_level_with_and_without_dot_instructions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(10)
    q, g = people(rng, 70, 96, 40), people(rng, 3000, 96, 40)
    values, scale = quantise_rows(g)
    masks = some_masks(rng, 70, 3000)
    answers = []
    for name in simd_levels():
        for dot in "10":
            monkeypatch.setenv("CROSSCAM_SIMD", name)
            monkeypatch.setenv("CROSSCAM_DOT", dot)
            for threads in (1, 3):
                several = [
                    similarity_topk(q, stored(g, element), 15, threads=threads, **masks)
                    for element in FLOATS
                ]
                several.append(
                    similarity_topk(q, values, 15, scale=scale, threads=threads, **masks)
                )
                answers.append(several)
    for several in answers[1:]:
        for found, first in zip(several, answers[0], strict=True):
            assert_identical(found, first)


@pytest.mark.parametrize("element", [*FLOATS, "int8"])
def test_layouts_give_the_same_answer(level: str, element: str) -> None:
    rng = np.random.default_rng(11)
    q, wide = unit_rows(rng, 9, 40), unit_rows(rng, 1800, 64)
    scale = rng.random(1800).astype(np.float32)
    values = quantise_rows(wide).values if element == "int8" else stored(wide, element)
    extra = {"scale": scale[::3]} if element == "int8" else {}
    g = values[::3, 5:45]
    expected = similarity_topk(q, g.copy(), 6, **extra)
    assert_identical(similarity_topk(q, g, 6, **extra), expected)
    assert_identical(similarity_topk(q, np.asfortranarray(g), 6, **extra), expected)
    g.flags.writeable = False
    assert_identical(similarity_topk(q, g, 6, **extra), expected)


def test_half_precision_queries_are_widened() -> None:
    rng = np.random.default_rng(12)
    q, g = unit_rows(rng, 9, 40), unit_rows(rng, 700, 40)
    for element in FLOATS:
        half = stored(q, element)
        expected = similarity_topk(reference.floats(half, np.float32), g, 5)
        assert_identical(similarity_topk(half, g, 5), expected)


def test_bfloat16_of_ml_dtypes() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(13)
    q, g = unit_rows(rng, 9, 40), unit_rows(rng, 700, 40)
    typed = g.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(typed.view(np.uint16), bf16(g))
    assert_identical(similarity_topk(q, typed, 5), similarity_topk(q, bf16(g), 5))
    assert_identical(
        similarity_topk(q.astype(ml_dtypes.bfloat16), g, 5), similarity_topk(bf16(q), g, 5)
    )


def test_bfloat16_through_dlpack() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(14)
    q, g = unit_rows(rng, 9, 40), unit_rows(rng, 700, 40)
    tensor = torch.from_numpy(g).to(torch.bfloat16)
    np.testing.assert_array_equal(tensor.view(torch.int16).numpy().view(np.uint16), bf16(g))
    assert_identical(similarity_topk(q, tensor, 5), similarity_topk(q, bf16(g), 5))
    strided = tensor[::2, 3:20]
    assert_identical(
        similarity_topk(q[:, :17], strided, 5), similarity_topk(q[:, :17], bf16(g)[::2, 3:20], 5)
    )
    assert_identical(similarity_topk(q, torch.from_numpy(g), 5), similarity_topk(q, g, 5))


ONE = np.ones((2, 4), np.float32)
SCALE = np.ones(2, np.float32)
BYTES = np.ones((2, 4), np.int8)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"gallery": ONE.astype("f8")}, ShapeError, "gallery is float64"),
        ({"queries": BYTES}, ShapeError, "queries is int8"),
        ({"gallery": BYTES}, UsageError, "without scale"),
        ({"gallery": BYTES, "scale": SCALE[:1]}, ShapeError, r"scale is float32 of shape \(1,\)"),
        ({"gallery": BYTES, "scale": SCALE.astype("f8")}, ShapeError, "scale is float64"),
        ({"scale": SCALE}, UsageError, "gallery of float32"),
        ({"rescore": ONE}, UsageError, "gallery of float32"),
        ({"gallery": BYTES, "scale": SCALE, "rescore": ONE[:1]}, ShapeError, "rescore is float32"),
        ({"gallery": BYTES, "scale": SCALE, "rescore": BYTES}, ShapeError, "rescore is int8"),
        (
            {
                "queries": np.zeros((1, 131073), "f4"),
                "gallery": np.zeros((1, 131073), "i1"),
                "scale": SCALE[:1],
            },
            ShapeError,
            "at most 131072",
        ),
    ],
)
def test_wrong_calls_say_what_is_wrong(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        similarity_topk(**{"queries": ONE, "gallery": ONE, "k": 1, **arguments})


def test_a_wrong_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSCAM_DOT", "yes")
    with pytest.raises(UsageError, match="CROSSCAM_DOT='yes'"):
        similarity_topk(ONE, ONE, 1)
