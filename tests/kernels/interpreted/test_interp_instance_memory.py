"""The Triton kernels of instance_infonce and update_instances against the CPU path."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from crosscam_kernels.gpu import instance_memory as gpu
from crosscam_kernels.gpu import memory_update as gpu_update
from crosscam_kernels.gpu._infonce import Tile
from crosscam_kernels.reference import instance_memory as reference
from crosscam_kernels.torch_ops import instance_memory as ops

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles so small that a tiny problem has several of samples, classes and features."""
    tile = Tile(samples=16, rows=32, features=16, warps=4, stages=1)
    monkeypatch.setattr(gpu, "_TILES", dict.fromkeys(gpu._TILES, tile))


def unit_rows(*shape: int) -> torch.Tensor:
    x = torch.tensor(RNG.standard_normal(shape))
    return torch.nn.functional.normalize(x, dim=-1).float()


def whole(n: int, low: int, high: int) -> torch.Tensor:
    return torch.as_tensor(RNG.integers(low, high, n))


def compare(
    features: torch.Tensor, bank: torch.Tensor, *rest: Any, tolerance: float
) -> torch.Tensor:
    found = gpu.forward(features, bank, *rest)
    exact = (features.float(), bank.float(), *rest)
    wanted = ops._forward_cpu(*exact, True)
    torch.testing.assert_close(found[0], wanted[0], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(found[1], wanted[1], rtol=tolerance, atol=tolerance)
    assert torch.equal(found[2], wanted[2])
    grad = torch.linspace(0.5, 1.5, len(features))
    ours = gpu.backward(grad, *found[1:], features, bank, *rest)
    theirs = ops._backward_cpu(grad, *wanted[1:], *exact)
    torch.testing.assert_close(ours.float(), theirs, rtol=tolerance, atol=10 * tolerance)
    return torch.cat([found[0][:, None], ours], 1)  # losses and gradients


def problem(n: int, classes: int, slots: int, d: int, *, by_camera: bool) -> tuple[Any, ...]:
    filled = torch.as_tensor(RNG.random((classes, slots)) < 0.8)
    targets, class_cameras = whole(n, -1, classes), whole(classes, 0, 2)
    cameras = torch.where(torch.rand(n) < 0.9, class_cameras[targets.clamp(min=0)], 0)
    columns = (class_cameras, cameras) if by_camera else (None, None)
    return (unit_rows(n, d), unit_rows(classes, slots, d), filled, targets, *columns, 0.2)


@pytest.mark.parametrize("by_camera", [True, False])
@pytest.mark.parametrize(
    ("n", "classes", "slots", "d"), [(1, 1, 1, 1), (17, 20, 5, 20), (17, 3, 70, 12), (5, 90, 1, 8)]
)
def test_as_on_the_cpu(n: int, classes: int, slots: int, d: int, by_camera: bool) -> None:
    compare(*problem(n, classes, slots, d, by_camera=by_camera), tolerance=1e-5)


def test_two_runs_have_the_same_bits() -> None:
    case = problem(17, 9, 5, 20, by_camera=True)
    assert torch.equal(compare(*case, tolerance=1e-5), compare(*case, tolerance=1e-5))


def test_slabs_of_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "SLAB_WEIGHTS", 17 * 8)  # one tile of classes for each slab
    compare(*problem(17, 26, 4, 20, by_camera=True), tolerance=1e-5)


def test_float16() -> None:
    x, bank, *rest = problem(20, 40, 3, 32, by_camera=True)
    compare(x.half(), bank.half(), *rest, tolerance=2e-3)


@pytest.mark.parametrize(("classes", "slots"), [(9, 8), (2, 40)])  # slots in one step and in two
def test_ties_go_to_the_smaller_slot(classes: int, slots: int) -> None:
    """Integer data; features that no sample has tell the slots apart in the gradient."""
    stored = torch.as_tensor(RNG.integers(-1, 2, (classes, slots, 3))).float()
    marks = torch.eye(classes * slots).reshape(classes, slots, -1)
    bank = torch.cat([stored, marks], 2)
    x = torch.zeros(20, bank.shape[2])
    x[:, :3] = torch.as_tensor(RNG.integers(-1, 2, (20, 3))).float()
    rest = (torch.ones(classes, slots, dtype=torch.bool), whole(20, 0, classes), None, None, 2.0)
    compare(x, bank, *rest, tolerance=1e-5)


def test_nan() -> None:
    x, bank, filled, targets, *rest = problem(12, 4, 3, 8, by_camera=False)
    filled[:] = True
    targets = targets.clamp(min=0)
    bank[2, 1] = float("nan")
    x[5, 0] = float("nan")
    losses, *_ = gpu.forward(x, bank, filled, targets, *rest)
    assert torch.equal(losses.isnan(), torch.arange(12) == 5)


@pytest.mark.parametrize(("n", "classes", "slots"), [(0, 3, 2), (60, 6, 3), (40, 2, 7)])
def test_replacement_is_the_loop(
    monkeypatch: pytest.MonkeyPatch, n: int, classes: int, slots: int
) -> None:
    monkeypatch.setattr(gpu_update, "_SCAN", 16)  # a batch in several steps
    bank, x, targets = unit_rows(classes, slots, 5), unit_rows(n, 5), whole(n, -1, classes)
    filled = torch.zeros(classes, slots, dtype=torch.bool)
    wanted, wanted_filled = bank.numpy().copy(), filled.numpy().copy()
    wanted_slots = reference.update_instances(wanted, wanted_filled, x.numpy(), targets.numpy())
    found = gpu_update.update_instances(bank, filled, x, targets)
    np.testing.assert_array_equal(found.numpy(), wanted_slots)
    np.testing.assert_array_equal(bank.numpy(), wanted)
    np.testing.assert_array_equal(filled.numpy(), wanted_filled)
