"""The Triton kernels of the camera-adversarial losses, run by Triton's interpreter."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from crosscam_kernels.gpu import camera_adversarial as gpu
from crosscam_kernels.gpu.camera_adversarial import launch_classifier_gradient, launch_losses
from crosscam_kernels.reference import camera_adversarial as reference


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles so small that a tiny problem has several in each part, chunk and strip."""
    tile = {"SAMPLES": 16, "CLASSES": 16, "DEPTH": 16}
    monkeypatch.setattr(gpu, "_TILES", {4: tile, 2: tile})
    monkeypatch.setattr(gpu, "_CHUNK", {4: 32, 2: 32})
    for name, value in (("STRIP", 32), ("SPLITS", 3), ("PUSH_SPLITS", 2)):
        monkeypatch.setattr(gpu, name, value)


def problem(n: int, g: int, d: int, seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, g, (n,), generator=generator)
    labels[::7] = torch.tensor([-1, g])[torch.arange(len(labels[::7])) % 2]
    return {
        "features": torch.randn(n, d, generator=generator) * 3,
        "classifier": torch.randn(g, d, generator=generator),
        "labels": labels,
        "class_group": torch.randint(-1, max(g // 3, 1), (g,), generator=generator),
        "class_camera": torch.randint(0, 3, (g,), generator=generator),
    }


def launched(arrays: dict[str, Any], knobs: Any, want: bool = True) -> tuple[torch.Tensor, ...]:
    n, d = arrays["features"].shape
    outputs = tuple(torch.full((n,), float("nan")) for _ in range(3))
    gradient = torch.full((n if want else 0, d), float("nan"))
    launch_losses(*arrays.values(), knobs, want, (*outputs, gradient))
    return (*outputs, gradient)


CASES: list[tuple[tuple[int, int, int], dict[str, Any]]] = [
    ((1, 1, 1), {}),
    ((9, 50, 20), {}),
    ((17, 33, 40), {"margin": 0.7, "same_camera_boost": 0.2}),
    ((20, 70, 70), {"linked": "ignore", "epsilon": 1.0}),
    ((5, 49, 33), {"temperature": 0.05, "margin": 3.0, "epsilon": 0.0}),
]


@pytest.mark.parametrize(("shape", "how"), CASES)
@pytest.mark.parametrize("cameras", [True, False])
def test_losses_and_gradients(
    shape: tuple[int, int, int], how: dict[str, Any], cameras: bool
) -> None:
    arrays = problem(*shape)
    if not cameras:
        arrays["class_camera"] = None
    exact = {k: v.double() if k in ("features", "classifier") else v for k, v in arrays.items()}
    exact["features"].requires_grad_()
    wanted = reference.camera_adversarial_loss(**exact, **how)
    wanted.sum().backward()
    knobs = (
        how.get("epsilon", 0.8),
        1 / how.get("temperature", 1 / 16),
        how.get("margin", 0.0),
        how.get("same_camera_boost", 0.0),
        how.get("linked") == "ignore",
    )
    found = launched(arrays, knobs)
    assert torch.allclose(found[0].double(), wanted.detach(), atol=3e-5, rtol=3e-5)
    norm = arrays["features"].norm(dim=1, keepdim=True)
    gradient = exact["features"].grad * norm
    assert torch.allclose((found[3] * norm).double(), gradient, atol=2e-4, rtol=1e-4)


def test_two_runs_give_the_same_bits_with_and_without_gradient() -> None:
    arrays, knobs = problem(9, 50, 20), (0.8, 16.0, 0.5, 0.2, False)
    found = launched(arrays, knobs)
    again = launched(arrays, knobs)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    without = launched(arrays, knobs, want=False)
    assert all(torch.equal(a, b) for a, b in zip(without[:3], found[:3], strict=True))


@pytest.mark.parametrize("margin", [0.0, 0.5])
@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 40, 20), (18, 33, 70)])
def test_classifier(shape: tuple[int, int, int], margin: float) -> None:
    arrays = problem(*shape)
    arrays |= {"class_group": None, "class_camera": None}
    classifier = arrays["classifier"].double().requires_grad_()
    wanted = reference.camera_classifier_loss(
        arrays["features"].double(), classifier, arrays["labels"], margin=margin
    )
    weight = torch.linspace(0.5, 2, shape[0])
    (wanted * weight).sum().backward()
    loss, log_sum, slope, _ = launched(arrays, (0.0, 16.0, margin, 0.0, False), want=False)
    assert torch.allclose(loss.double(), wanted.detach(), atol=3e-5, rtol=3e-5)
    gradient = launch_classifier_gradient(
        weight,
        arrays["features"],
        arrays["classifier"],
        arrays["labels"],
        log_sum,
        slope,
        16.0,
        margin,
    )
    norm = arrays["classifier"].norm(dim=1, keepdim=True)
    assert torch.allclose((gradient * norm).double(), classifier.grad * norm, atol=3e-4, rtol=1e-4)


def test_half_precision_features() -> None:
    arrays = problem(9, 40, 40)
    for name in ("features", "classifier"):
        arrays[name] = arrays[name].half()
    exact = {k: v.double() if k in ("features", "classifier") else v for k, v in arrays.items()}
    wanted = reference.camera_adversarial_loss(**exact)
    found = launched(arrays, (0.8, 16.0, 0.0, 0.0, False))
    assert torch.allclose(found[0].double(), wanted, atol=1e-4, rtol=1e-4)
