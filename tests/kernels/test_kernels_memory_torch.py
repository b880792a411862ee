"""memory_infonce and update_memory as torch ops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from crosscam_kernels import memory_infonce, update_memory  # noqa: E402
from crosscam_kernels.errors import InputError, ShapeError  # noqa: E402
from crosscam_kernels.reference import memory as reference  # noqa: E402
from crosscam_kernels.torch_ops import memory as ops  # noqa: E402

N, K, D = 20, 60, 16


def problem(dtype: Any = None, n: int = N, k: int = K, d: int = D) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)

    def rows(count: int) -> Any:
        x = torch.randn(count, d, generator=generator, dtype=torch.float64)
        return torch.nn.functional.normalize(x).to(dtype or torch.float32)

    def whole(count: int, low: int, high: int) -> Any:
        return torch.randint(low, high, (count,), generator=generator)

    return {
        "features": rows(n), "bank": rows(k), "targets": whole(n, -1, 8),
        "labels": whole(k, -1, 8), "cameras": whole(n, 0, 3), "bank_cameras": whole(k, 0, 3),
    }  # fmt: skip


OPTIONS: list[dict[str, Any]] = [
    {},
    {"candidates": "only_same", "label_smoothing": 0.1},
    {"positives": "exclude_same", "hard_negatives": 5},
    {"candidates": "exclude_same", "hard_negatives": 4, "label_smoothing": 0.2},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradcheck(options: dict[str, Any], reduction: str) -> None:
    given = problem(torch.float64, 9, 40, 6)
    features = given.pop("features").requires_grad_()

    def loss(x: Any) -> Any:
        return memory_infonce(x, **given, **options, reduction=reduction, temperature=0.3)

    assert torch.autograd.gradcheck(loss, features)
    wanted = reference.memory_infonce(
        features, **given, **options, reduction=reduction, temperature=0.3
    )
    torch.testing.assert_close(loss(features), wanted)


@pytest.mark.parametrize("options", OPTIONS)
def test_tensors_give_what_arrays_give(options: dict[str, Any]) -> None:
    given = problem()
    features = given.pop("features").requires_grad_()
    loss = memory_infonce(features, **given, **options)
    (2 * loss).backward()
    arrays = {key: value.numpy() for key, value in given.items()}
    same = memory_infonce(features.detach().numpy(), **arrays, **options)
    assert loss.item() == pytest.approx(float(same.loss), rel=1e-6)
    np.testing.assert_allclose(features.grad.numpy(), 2 * same.gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: Any) -> None:
    given = problem(dtype)
    features = given.pop("features").requires_grad_()
    loss = memory_infonce(features, **given)
    loss.backward()
    assert loss.dtype == torch.float32
    assert features.grad.dtype == dtype
    exact = features.detach().double().requires_grad_()
    given["bank"] = given["bank"].double()
    wanted = reference.memory_infonce(exact, **given)
    wanted.backward()
    torch.testing.assert_close(loss.double(), wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(features.grad.double(), exact.grad, rtol=0.02, atol=0.02)


def test_the_bank_gets_no_gradient() -> None:
    given = problem()
    given["bank"].requires_grad_()
    given["features"].requires_grad_()
    memory_infonce(**given).backward()
    assert given["bank"].grad is None


@pytest.mark.parametrize("options", OPTIONS)
def test_compiles_without_a_break(options: dict[str, Any]) -> None:
    given = problem()
    features = given.pop("features").requires_grad_()

    def loss(x: Any) -> Any:
        return memory_infonce(torch.nn.functional.normalize(x), **given, **options)

    wanted = torch.autograd.grad(loss(features), features)[0]
    found = torch.autograd.grad(torch.compile(loss, fullgraph=True)(features), features)[0]
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("hard_negatives", [-1, 3])
def test_opcheck(hard_negatives: int, smoothing: float) -> None:
    given = problem()
    given["features"].requires_grad_()
    options = ("any", "exclude_same", hard_negatives, 0.1, smoothing)
    torch.library.opcheck(ops.memory_infonce_op, (*given.values(), *options, True))
    given["features"] = given["features"].detach()
    arguments = (*given.values(), *options)
    losses, *statistics = ops.memory_infonce_op(*arguments, True)
    grad = torch.ones_like(losses)
    torch.library.opcheck(ops.memory_infonce_backward_op, (grad, *statistics, *arguments))
    with_it = ops.memory_infonce_backward_op(grad, *statistics, *arguments)
    alone, *statistics = ops.memory_infonce_op(*arguments, False)
    without = ops.memory_infonce_backward_op(grad, *statistics, *arguments)
    torch.testing.assert_close(alone, losses, rtol=0, atol=0)
    torch.testing.assert_close(with_it, without, rtol=0, atol=0)


def test_wrong_tensors() -> None:
    given = problem()
    with pytest.raises(ShapeError, match="one type"):
        memory_infonce(given["features"].half(), given["bank"], given["targets"])
    with pytest.raises(ShapeError, match="columns"):
        memory_infonce(given["features"], given["bank"][:, :3], given["targets"])
    with pytest.raises(ShapeError, match="targets"):
        memory_infonce(given["features"], given["bank"], given["targets"].float())
    with pytest.raises(InputError, match="targets hold 60"):
        memory_infonce(given["features"], given["bank"], torch.full((N,), K))


# update_memory


@pytest.mark.parametrize("mode", ["momentum", "hardest", "mean"])
def test_update_has_the_bits_of_the_loop(mode: Any) -> None:
    given = problem()
    bank, x, targets = given["bank"], given["features"], given["targets"]
    wanted = bank.numpy().copy()
    reference.update_memory(wanted, x.numpy(), targets.numpy(), 0.2, mode)
    version = bank._version
    update_memory(bank, x, targets, 0.2, mode)
    np.testing.assert_array_equal(bank.numpy(), wanted)
    assert bank._version > version  # autograd must notice the change


def test_update_of_half_precision_and_of_strided_banks() -> None:
    given = problem(torch.bfloat16)
    bank, x, targets = given["bank"], given["features"], given["targets"]
    wanted = bank.float().numpy()
    reference.update_memory(wanted, x.float().numpy(), targets.numpy(), 0.2)
    strided = bank.t().contiguous().t()
    update_memory(bank, x, targets, 0.2)
    update_memory(strided, x, targets, 0.2)
    torch.testing.assert_close(bank, torch.from_numpy(wanted).bfloat16(), rtol=0, atol=0)
    torch.testing.assert_close(strided, bank, rtol=0, atol=0)


def test_update_passes_opcheck_and_compiles() -> None:
    given = problem()
    bank, x, targets = given["bank"], given["features"], given["targets"]
    torch.library.opcheck(ops.update_memory_op, (bank, x, targets, 0.1, "momentum"))

    def run(bank: Any) -> Any:
        update_memory(bank, x, targets, 0.1)
        return bank.sum()

    eager, compiled = bank.clone(), bank.clone()
    torch.testing.assert_close(torch.compile(run, fullgraph=True)(compiled), run(eager))
    torch.testing.assert_close(compiled, eager, rtol=0, atol=0)


def test_update_inside_autograd() -> None:
    """The loss sees the bank as it was; the update after it does not disturb the gradient."""
    given = problem()
    features = given["features"].requires_grad_()
    bank = given["bank"]
    loss = memory_infonce(features, bank.clone(), given["targets"].clamp(min=0))
    update_memory(bank, features, given["targets"], 0.1)
    loss.backward()
    assert features.grad.isfinite().all()
    with pytest.raises(ShapeError, match="float64"):
        update_memory(bank.double(), features.double(), given["targets"], 0.1)
