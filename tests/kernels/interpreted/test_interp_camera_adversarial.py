"""The Triton kernels of the camera-adversarial losses, run by Triton's interpreter."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from crosscam_kernels.gpu.camera_adversarial import launch_classifier_gradient, launch_losses
from crosscam_kernels.reference import camera_adversarial as reference


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
    ((9, 70, 20), {}),
    ((33, 65, 40), {"margin": 0.7, "same_camera_boost": 0.2}),
    ((40, 130, 270), {"linked": "ignore", "epsilon": 1.0}),
    ((5, 90, 33), {"temperature": 0.05, "margin": 3.0, "epsilon": 0.0}),
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
    again = launched(arrays, knobs)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    without = launched(arrays, knobs, want=False)
    assert torch.equal(without[0], found[0])


@pytest.mark.parametrize("margin", [0.0, 0.5])
@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 70, 20), (40, 65, 270)])
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
    arrays = problem(20, 70, 40)
    for name in ("features", "classifier"):
        arrays[name] = arrays[name].half()
    exact = {k: v.double() if k in ("features", "classifier") else v for k, v in arrays.items()}
    wanted = reference.camera_adversarial_loss(**exact)
    found = launched(arrays, (0.8, 16.0, 0.0, 0.0, False))
    assert torch.allclose(found[0].double(), wanted, atol=1e-4, rtol=1e-4)
