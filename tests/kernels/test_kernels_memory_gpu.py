"""The losses against memory banks and their updates on a CUDA device."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from crosscam_kernels import (  # noqa: E402
    instance_infonce,
    memory_infonce,
    update_instances,
    update_memory,
)

pytestmark = pytest.mark.gpu
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.fixture(autouse=True)
def device() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


def rows(*shape: int, dtype: Any) -> Any:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))
    return torch.nn.functional.normalize(x, dim=-1).to(dtype).cuda()


def integers(high: int, *shape: int, low: int = 0) -> Any:
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(high)).cuda()


def gradient_of(loss: Any, features: Any) -> tuple[Any, Any]:
    leaf = features.detach().requires_grad_()
    value = loss(leaf)
    value.backward()
    return value.detach(), leaf.grad


def in_double_on_cpu(arguments: dict[str, Any]) -> dict[str, Any]:
    given = {name: value.cpu() for name, value in arguments.items()}
    return {n: v.double() if v.is_floating_point() else v for n, v in given.items()}


def compare(loss: Any, features: Any, arguments: dict[str, Any]) -> None:
    found = gradient_of(lambda x: loss(x, **arguments), features)
    again = gradient_of(lambda x: loss(x, **arguments), features)
    exact_arguments = in_double_on_cpu(arguments)
    wanted = gradient_of(lambda x: loss(x, **exact_arguments), features.cpu().double())
    assert torch.equal(found[0], again[0])
    assert torch.equal(found[1], again[1])
    error = 1e-4 if features.dtype == torch.float32 else 1e-2
    torch.testing.assert_close(found[0].cpu().double(), wanted[0], rtol=1e-4, atol=1e-4)
    norm = wanted[1].norm().clamp(min=1e-9)
    assert (found[1].cpu().double() - wanted[1]).norm() <= error * norm


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 3, 16), (65, 1000, 96), (256, 8192, 768), (33, 70, 2050)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"label_smoothing": 0.1},
        {"candidates": "only_same"},
        {"positives": "exclude_same", "hard_negatives": 50},
    ],
)
def test_memory_infonce(shape: tuple[int, int, int], dtype: Any, options: dict[str, Any]) -> None:
    n, k, d = shape
    arguments = {
        "bank": rows(k, d, dtype=dtype),
        "targets": integers(max(1, k // 4), n, low=-1),
        "labels": integers(max(1, k // 4), k, low=-1),
        "cameras": integers(5, n),
        "bank_cameras": integers(5, k),
    }

    def loss(x: Any, **given: Any) -> Any:
        return memory_infonce(x, **given, **options, temperature=0.1)

    compare(loss, rows(n, d, dtype=dtype), arguments)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 2, 1, 16), (65, 90, 5, 96), (128, 300, 32, 768)])
def test_instance_infonce(shape: tuple[int, int, int, int], dtype: Any) -> None:
    n, c, s, d = shape
    targets, class_cameras = integers(c, n, low=-1), integers(4, c)
    arguments = {
        "bank": rows(c, s, d, dtype=dtype),
        "filled": torch.rand(c, s, generator=torch.Generator().manual_seed(1)).cuda() < 0.8,
        "targets": targets,
        "class_cameras": class_cameras,
        "cameras": class_cameras[targets.clamp(min=0)],
    }
    compare(instance_infonce, rows(n, d, dtype=dtype), arguments)


@pytest.mark.parametrize("mode", ["momentum", "hardest", "mean"])
def test_update_memory(mode: Any) -> None:
    bank, x = rows(500, 300, dtype=torch.float32), rows(200, 300, dtype=torch.float32)
    targets = integers(60, 200, low=-1)
    wanted = bank.cpu()
    update_memory(wanted, x.cpu(), targets.cpu(), 0.2, mode)
    update_memory(bank, x, targets, 0.2, mode)
    torch.testing.assert_close(bank.cpu(), wanted, rtol=1e-6, atol=1e-7)


def test_update_instances() -> None:
    bank, filled = rows(40, 4, 70, dtype=torch.float16), torch.zeros(40, 4, dtype=torch.bool).cuda()
    x, targets = rows(300, 70, dtype=torch.float16), integers(30, 300, low=-1)
    wanted, wanted_filled = bank.cpu(), filled.cpu()
    slots = update_instances(wanted, wanted_filled, x.cpu(), targets.cpu())
    assert torch.equal(update_instances(bank, filled, x, targets).cpu(), slots)
    assert torch.equal(bank.cpu(), wanted)
    assert torch.equal(filled.cpu(), wanted_filled)
