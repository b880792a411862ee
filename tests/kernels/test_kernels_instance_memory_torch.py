"""instance_infonce and update_instances as torch ops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from crosscam_kernels import instance_infonce, update_instances  # noqa: E402
from crosscam_kernels.errors import ShapeError  # noqa: E402
from crosscam_kernels.reference import instance_memory as reference  # noqa: E402
from crosscam_kernels.torch_ops import instance_memory as ops  # noqa: E402

N, C, S, D = 20, 9, 4, 16


def problem(dtype: Any = None, n: int = N, d: int = D) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)

    def rows(*shape: int) -> Any:
        x = torch.randn(*shape, d, generator=generator, dtype=torch.float64)
        return torch.nn.functional.normalize(x, dim=-1).to(dtype or torch.float32)

    class_cameras = torch.randint(0, 2, (C,), generator=generator)
    targets = torch.randint(-1, C, (n,), generator=generator)
    return {
        "features": rows(n),
        "bank": rows(C, S),
        "filled": torch.rand(C, S, generator=generator) < 0.8,
        "targets": targets,
        "class_cameras": class_cameras,
        "cameras": class_cameras[targets.clamp(min=0)],
    }


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("by_camera", [True, False])
def test_gradcheck(reduction: str, by_camera: bool) -> None:
    given = problem(torch.float64, 9, 6)
    if not by_camera:
        del given["class_cameras"], given["cameras"]
    features = given.pop("features").requires_grad_()

    def loss(x: Any) -> Any:
        return instance_infonce(x, **given, reduction=reduction, temperature=0.3)

    assert torch.autograd.gradcheck(loss, features)


def test_tensors_give_what_arrays_give() -> None:
    given = problem()
    features = given.pop("features").requires_grad_()
    loss = instance_infonce(features, **given)
    loss.backward()
    arrays = {key: value.numpy() for key, value in given.items()}
    same = instance_infonce(features.detach().numpy(), **arrays)
    assert loss.item() == pytest.approx(float(same.loss), rel=1e-6)
    np.testing.assert_allclose(features.grad.numpy(), same.gradient, rtol=1e-5, atol=1e-7)
    wanted = reference.instance_infonce(features.double(), given.pop("bank").double(), **given)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: Any) -> None:
    given = problem(dtype)
    features = given.pop("features").requires_grad_()
    loss = instance_infonce(features, **given)
    loss.backward()
    assert loss.dtype == torch.float32
    assert features.grad.dtype == dtype
    exact = features.detach().double().requires_grad_()
    given["bank"] = given["bank"].double()
    wanted = reference.instance_infonce(exact, **given)
    wanted.backward()
    torch.testing.assert_close(loss.double(), wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(features.grad.double(), exact.grad, rtol=0.02, atol=0.02)


def test_numbers_of_filled_slots() -> None:
    given = problem()
    counts = torch.arange(C) % (S + 1)
    given["filled"] = torch.arange(S)[None] < counts[:, None]
    mask = instance_infonce(**given)
    given["filled"] = counts
    assert instance_infonce(**given) == mask
    given["filled"] = counts[:-1]
    with pytest.raises(ShapeError, match="filled"):
        instance_infonce(**given)


def test_compiles_without_a_break() -> None:
    given = problem()
    features = given.pop("features").requires_grad_()

    def loss(x: Any) -> Any:
        return instance_infonce(torch.nn.functional.normalize(x), **given)

    wanted = torch.autograd.grad(loss(features), features)[0]
    found = torch.autograd.grad(torch.compile(loss, fullgraph=True)(features), features)[0]
    torch.testing.assert_close(found, wanted)


def test_opcheck() -> None:
    given = problem()
    given["features"].requires_grad_()
    torch.library.opcheck(ops.instance_infonce_op, (*given.values(), 0.1, True))
    given["features"] = given["features"].detach()
    arguments = (*given.values(), 0.1)
    losses, *statistics = ops.instance_infonce_op(*arguments, True)
    grad = torch.ones_like(losses)
    torch.library.opcheck(ops.instance_infonce_backward_op, (grad, *statistics, *arguments))
    with_it = ops.instance_infonce_backward_op(grad, *statistics, *arguments)
    alone, *statistics = ops.instance_infonce_op(*arguments, False)
    without = ops.instance_infonce_backward_op(grad, *statistics, *arguments)
    torch.testing.assert_close(alone, losses, rtol=0, atol=0)
    torch.testing.assert_close(with_it, without, rtol=0, atol=0)


def test_replacement() -> None:
    given = problem()
    bank, filled, x, targets = (given[k] for k in ("bank", "filled", "features", "targets"))
    wanted, wanted_filled = bank.numpy().copy(), filled.numpy().copy()
    slots = reference.update_instances(wanted, wanted_filled, x.numpy(), targets.numpy())
    torch.library.opcheck(ops.update_instances_op, (bank.clone(), filled.clone(), x, targets))

    def run(bank: Any, filled: Any) -> Any:
        return update_instances(bank, filled, x, targets)

    compiled, compiled_filled = bank.clone(), filled.clone()
    np.testing.assert_array_equal(run(bank, filled).numpy(), slots)
    np.testing.assert_array_equal(bank.numpy(), wanted)
    np.testing.assert_array_equal(filled.numpy(), wanted_filled)
    torch.compile(run, fullgraph=True)(compiled, compiled_filled)
    torch.testing.assert_close(compiled, bank, rtol=0, atol=0)
    torch.testing.assert_close(compiled_filled, filled, rtol=0, atol=0)
