"""The Triton kernel of normalise_quantise on Triton's interpreter."""

from __future__ import annotations

import numpy as np
import pytest

from crosscam_kernels.reference import normalise as reference

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from crosscam_kernels.gpu.normalise import block_of, normalise_quantise_kernel  # noqa: E402


def launch(x: torch.Tensor, block: int) -> tuple[np.ndarray, np.ndarray]:
    """The kernel on poisoned outputs with room at the end that must stay as it is."""
    count, dim = x.shape
    codes = torch.full((count * dim + 8,), 99, dtype=torch.int8)
    scale = torch.full((count + 8,), -7.0)
    normalise_quantise_kernel[(count,)](x, dim, x.stride(0), codes, scale, BLOCK=block)
    assert (codes[count * dim :] == 99).all()
    assert (scale[count:] == -7.0).all()
    return codes[: count * dim].reshape(count, dim).numpy(), scale[:count].numpy()


def check(x: torch.Tensor, block: int) -> None:
    codes, scale = launch(x, block)
    wide = x.float().numpy()
    single = reference.normalise_quantise(wide, dtype=np.float32)
    np.testing.assert_array_equal(codes, single.codes)
    expected = reference.normalise_quantise(wide)
    np.testing.assert_allclose(scale, expected.scale, rtol=1e-6)


@pytest.mark.parametrize("dim", [1, 15, 16, 17, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_one_step_and_several(dim: int, dtype: torch.dtype) -> None:
    x = torch.randn(3, dim, generator=torch.Generator().manual_seed(dim)).to(dtype)
    for block in (16, 64):
        check(x, block)


def test_strided_rows() -> None:
    x = torch.randn(4, 50, generator=torch.Generator().manual_seed(1))[:, :33]
    check(x, 16)


def test_rows_without_a_direction() -> None:
    x = torch.randn(6, 40, generator=torch.Generator().manual_seed(2))
    x[0] = 0.0
    x[1, 3], x[2, 20], x[3, 39] = float("nan"), float("inf"), float("-inf")
    x[4] = 0.0
    x[4, 38] = 1e-45
    x[5] *= 2.0**100
    check(x, 16)
    codes, scale = launch(x, 16)
    assert not codes[:4].any()
    assert scale[0] == 0.0
    assert np.isnan(scale[1:4]).all()
    assert codes[4, 38] == 127


def test_halves_go_to_the_even_code() -> None:
    # 127 y is a half only for y = 1 / 2, as 127 is a prime: 63.5.
    codes, _ = launch(torch.tensor([[1.0, 0.5, -0.5], [-8.0, 4.0, -4.0]]), 16)
    np.testing.assert_array_equal(codes, [[127, 64, -64], [-127, 64, -64]])


def test_two_runs_give_the_same_bits() -> None:
    x = torch.randn(4, 90, generator=torch.Generator().manual_seed(3))
    one, two = launch(x, 32), launch(x, 32)
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])


def test_the_table_covers_every_width() -> None:
    assert [block_of(dim) for dim in (0, 1, 256, 257, 512, 768, 2048, 5000)] == [
        256,
        256,
        256,
        512,
        512,
        1024,
        2048,
        2048,
    ]
