"""quantise_rows against its specification."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from topk_parts import FLOATS, stored, unit_rows

from crosscam_kernels import quantise_rows
from crosscam_kernels.errors import ShapeError
from crosscam_kernels.reference import similarity as reference


@given(
    rows=hnp.arrays(
        np.float32,
        st.tuples(st.integers(0, 5), st.integers(0, 9)),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True, allow_subnormal=True),
    )
)
def test_quantise_rows_is_its_specification(rows: np.ndarray) -> None:
    found = quantise_rows(rows)
    with np.errstate(all="ignore"):
        values, scale = reference.quantise_rows(rows)
    np.testing.assert_array_equal(found.values, values)
    np.testing.assert_array_equal(found.scale, scale)
    assert found.values.dtype == np.int8
    assert found.scale.dtype == np.float32
    finite = np.isfinite(rows).all(axis=1)
    with np.errstate(all="ignore"):
        back = found.scale[:, None].astype(np.float64) * found.values
        worst = found.scale[finite, None] * (0.5 + 2e-4) + 1e-43
        assert (np.abs(back - rows)[finite] <= worst).all()


@pytest.mark.parametrize("element", FLOATS)
def test_quantise_rows_in_blocks_and_types(element: str) -> None:
    rng = np.random.default_rng(15)
    rows = stored(unit_rows(rng, 3000, 700), element)
    found = quantise_rows(rows)
    wide = reference.floats(rows, np.float32)
    np.testing.assert_array_equal(found.scale, np.abs(wide).max(axis=1) / np.float32(127))
    np.testing.assert_array_equal(found.values, np.rint(wide / found.scale[:, None]))
    assert np.abs(found.values).max() == 127


def test_wrong_calls_say_what_is_wrong() -> None:
    with pytest.raises(ShapeError, match="rows is int8"):
        quantise_rows(np.ones((2, 4), np.int8))
    with pytest.raises(ShapeError, match=r"rows is float32 of shape \(4,\)"):
        quantise_rows(np.ones(4, np.float32))
