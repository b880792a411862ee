"""normalise_quantise against its specification."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crosscam_kernels import QuantisedUnitRows, normalise_quantise, simd_level, simd_levels
from crosscam_kernels.errors import ShapeError, UsageError
from crosscam_kernels.reference import normalise as reference


@pytest.fixture(params=simd_levels())
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CROSSCAM_SIMD", request.param)
    assert simd_level() == request.param
    return str(request.param)


def assert_meets_specification(found: QuantisedUnitRows, features: np.ndarray) -> None:
    """Codes to the bit in float32, within one in float64; scales to a few units of rounding."""
    expected = reference.normalise_quantise(features)
    single = reference.normalise_quantise(features, dtype=np.float32)
    np.testing.assert_array_equal(found.codes, single.codes)
    assert np.abs(found.codes.astype(int) - expected.codes).max(initial=0) <= 1
    np.testing.assert_allclose(found.scale, expected.scale, rtol=1e-6)
    assert found.codes.dtype == np.int8
    assert found.scale.dtype == np.float32


def test_a_row_worked_out_by_hand() -> None:
    result = normalise_quantise(np.array([[3.0, -4.0, 0.0], [0.0, 0.0, 0.5]], np.float32))
    # y = (0.75, -1, 0), |y| = 1.25; 127 * 0.75 = 95.25
    np.testing.assert_array_equal(result.codes, [[95, -127, 0], [0, 0, 127]])
    np.testing.assert_allclose(result.scale, [1 / (127 * 1.25), 1 / 127], rtol=1e-7)


def test_halves_go_to_the_even_code() -> None:
    # 127 y is a half only for y = 1 / 2, as 127 is a prime: 63.5.
    row = np.array([[1.0, 0.5, -0.5], [-8.0, 4.0, -4.0]], np.float32)
    np.testing.assert_array_equal(normalise_quantise(row).codes, [[127, 64, -64], [-127, 64, -64]])


@pytest.mark.parametrize("dim", [1, 2, 15, 16, 17, 33, 256, 1000])
@pytest.mark.parametrize("rows", [1, 3, 200])
def test_any_shape(level: str, rows: int, dim: int) -> None:
    x = np.random.default_rng(dim).standard_normal((rows, dim)).astype(np.float32)
    assert_meets_specification(normalise_quantise(x), x)


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=40),
        elements=st.floats(width=32) | st.sampled_from([0.0, -0.0, 1e-45, 3e38, -3e38]),
    )
)
def test_any_content(x: np.ndarray) -> None:
    found = normalise_quantise(x)
    assert_meets_specification(found, x)
    finite = np.isfinite(x).all(axis=1)
    assert np.isnan(found.scale[~finite]).all()
    assert not found.codes[~finite].any()
    assert np.isfinite(found.scale[finite]).all()


def test_half_a_step_from_the_unit_row() -> None:
    x = np.random.default_rng(0).standard_normal((50, 512)).astype(np.float32)
    unit = x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    codes, scale = normalise_quantise(x)
    error = np.abs(codes * scale[:, None].astype(np.float64) - unit)
    assert (error <= 0.50001 * scale[:, None]).all()
    # What it is for: uniform errors within half a step give a dot product the deviation
    # scale * sqrt(2 / 12), as both sides are unit vectors.
    found = (codes.astype(np.float64) @ codes.T) * np.outer(scale, scale)
    assert np.abs(found - unit @ unit.T).max() < 6 * scale.max() / np.sqrt(6)


def test_neither_length_nor_extreme_values_change_the_codes() -> None:
    x = np.random.default_rng(1).standard_normal((4, 64)).astype(np.float32)
    expected = normalise_quantise(x)
    for factor in (2.0**-100, 2.0**100):  # the sum of squares would be 0, or infinite
        found = normalise_quantise(x * np.float32(factor))
        np.testing.assert_array_equal(found.codes, expected.codes)
        np.testing.assert_array_equal(found.scale, expected.scale)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_spoils_itself_only(level: str, bad: float) -> None:
    x = np.random.default_rng(2).standard_normal((3, 37)).astype(np.float32)
    expected = normalise_quantise(x)
    for at in (0, 15, 16, 36):
        y = x.copy()
        y[1, at] = bad
        found = normalise_quantise(y)
        assert np.isnan(found.scale[1])
        assert not found.codes[1].any()
        for n in (0, 2):
            np.testing.assert_array_equal(found.codes[n], expected.codes[n])
            assert found.scale[n] == expected.scale[n]


def test_threads_levels_and_layout_do_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = np.random.default_rng(3).standard_normal((3000, 2 * 70)).astype(np.float32)
    x = np.ascontiguousarray(wide[:, :70])
    expected = normalise_quantise(x, threads=1)
    for level in simd_levels():
        monkeypatch.setenv("CROSSCAM_SIMD", level)
        for rows in (x, wide[:, :70], np.asfortranarray(x)):
            for threads in (1, 2, None):
                found = normalise_quantise(rows, threads=threads)
                np.testing.assert_array_equal(found.codes, expected.codes)
                np.testing.assert_array_equal(found.scale, expected.scale)


def test_half_precision_is_widened_without_loss() -> None:
    x = np.random.default_rng(4).standard_normal((5, 40)).astype(np.float16)
    found, expected = normalise_quantise(x), normalise_quantise(x.astype(np.float32))
    np.testing.assert_array_equal(found.codes, expected.codes)
    np.testing.assert_array_equal(found.scale, expected.scale)


@pytest.mark.parametrize("shape", [(0, 8), (3, 0), (0, 0)])
def test_shapes_with_a_zero(shape: tuple[int, int]) -> None:
    found = normalise_quantise(np.zeros(shape, np.float32))
    assert found.codes.shape == shape
    np.testing.assert_array_equal(found.scale, np.zeros(shape[0]))


@pytest.mark.parametrize(
    "features", [np.zeros((2, 3)), np.zeros(3, np.float32), np.zeros((1, 2), int)]
)
def test_wrong_arrays_are_refused(features: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="float32 or float16 of shape"):
        normalise_quantise(features)
    with pytest.raises(UsageError, match="threads=0"):
        normalise_quantise(np.zeros((1, 1), np.float32), threads=0)
