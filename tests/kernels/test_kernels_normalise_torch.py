"""normalise_quantise on tensors."""

from __future__ import annotations

import numpy as np
import pytest

from crosscam_kernels import normalise_quantise
from crosscam_kernels.errors import ShapeError

torch = pytest.importorskip("torch")


def some_rows(rows: int = 5, dim: int = 37) -> torch.Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(0))


def test_tensors_give_what_arrays_give() -> None:
    x = some_rows()
    found, expected = normalise_quantise(x), normalise_quantise(x.numpy())
    assert isinstance(found.codes, torch.Tensor)
    np.testing.assert_array_equal(found.codes.numpy(), expected.codes)
    np.testing.assert_array_equal(found.scale.numpy(), expected.scale)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    x = some_rows().to(dtype)
    found, expected = normalise_quantise(x), normalise_quantise(x.float())
    assert torch.equal(found.codes, expected.codes)
    assert torch.equal(found.scale, expected.scale)


@pytest.mark.parametrize("shape", [(0, 8), (3, 0)])
def test_shapes_with_a_zero(shape: tuple[int, int]) -> None:
    found = normalise_quantise(torch.zeros(shape))
    assert tuple(found.codes.shape) == shape
    assert torch.equal(found.scale, torch.zeros(shape[0]))


def test_layout_does_not_matter_and_inputs_stay() -> None:
    x = some_rows(6, 20)
    before = x.clone()
    expected = normalise_quantise(x)
    for rows in (x.t().contiguous().t(), torch.cat([x, x], 1)[:, :20]):
        assert not rows.is_contiguous()
        found = normalise_quantise(rows)
        assert torch.equal(found.codes, expected.codes)
        assert torch.equal(found.scale, expected.scale)
    assert torch.equal(x, before)


def test_opcheck() -> None:
    from crosscam_kernels.torch_ops.normalise import normalise_quantise as op

    for x in (some_rows(), some_rows(3, 8).half(), torch.zeros(0, 4)):
        torch.library.opcheck(op, (x,))


def test_compiles_without_a_break() -> None:
    def similarity(x: torch.Tensor) -> torch.Tensor:
        codes, scale = normalise_quantise(x * 2)
        return (codes.float() @ codes.float().t()) * scale[:, None] * scale

    x = some_rows()
    compiled = torch.compile(similarity, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), similarity(x))


def test_no_gradient_flows_through() -> None:
    x = some_rows().requires_grad_()
    found = normalise_quantise(x)
    assert not found.codes.requires_grad
    assert not found.scale.requires_grad


@pytest.mark.parametrize(
    "features", [torch.zeros(3), torch.zeros(2, 2, dtype=torch.float64), torch.zeros(1, 2).int()]
)
def test_wrong_tensors_are_refused(features: torch.Tensor) -> None:
    with pytest.raises(ShapeError, match="float32, float16 or bfloat16"):
        normalise_quantise(features)
