"""normalise_quantise on a CUDA device."""

from __future__ import annotations

import numpy as np
import pytest

from crosscam_kernels import normalise_quantise
from crosscam_kernels.reference import normalise as reference

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def device() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.mark.parametrize("dim", [1, 100, 512, 768, 2048, 5000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_device_gives_what_the_processor_gives(dim: int, dtype: torch.dtype) -> None:
    x = torch.randn(257, dim, generator=torch.Generator().manual_seed(dim)).to(dtype)
    x[3] = 0.0
    x[5, dim // 2] = float("nan")
    x[7, dim - 1] = float("inf")
    found, expected = normalise_quantise(x.cuda()), normalise_quantise(x)
    assert torch.equal(found.codes.cpu(), expected.codes)
    torch.testing.assert_close(found.scale.cpu(), expected.scale, rtol=1e-6, atol=0, equal_nan=True)
    exact = reference.normalise_quantise(x.float().numpy())
    np.testing.assert_allclose(found.scale.cpu().numpy(), exact.scale, rtol=1e-6)
    again = normalise_quantise(x.cuda())
    assert torch.equal(found.codes, again.codes)
    assert torch.equal(found.scale.nan_to_num(-1), again.scale.nan_to_num(-1))


def test_strided_rows_and_empty_ones() -> None:
    wide = torch.randn(64, 300, generator=torch.Generator().manual_seed(0)).cuda()
    for x in (wide[:, :130], wide[:, 7:140], wide.t(), wide[:0], wide[:, :0]):
        found, expected = normalise_quantise(x), normalise_quantise(x.cpu())
        assert torch.equal(found.codes.cpu(), expected.codes)
        torch.testing.assert_close(found.scale.cpu(), expected.scale, rtol=1e-6, atol=0)


def test_rows_beyond_32_bits_of_elements() -> None:
    count, dim = 70_000, 32_768  # 2.3e9 elements
    free, _ = torch.cuda.mem_get_info()
    if free < 8e9:
        pytest.skip("needs 8 GB of device memory")
    x = torch.zeros(count, dim, dtype=torch.float16, device="cuda")
    x[-1, -1] = -3.0
    found = normalise_quantise(x)
    assert int(found.codes[-1, -1]) == -127
    assert int(found.codes.count_nonzero()) == 1
