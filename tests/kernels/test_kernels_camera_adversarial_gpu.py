"""The camera-adversarial losses on a CUDA device against the CPU and the specification."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from crosscam_kernels import camera_adversarial_loss, camera_classifier_loss  # noqa: E402

pytestmark = pytest.mark.gpu


def problem(n: int, g: int, d: int, dtype: Any) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {
        "features": torch.randn(n, d, generator=generator).to(dtype).cuda(),
        "classifier": torch.randn(g, d, generator=generator).to(dtype).cuda(),
        "labels": torch.randint(-1, g, (n,), generator=generator).cuda(),
        "class_group": torch.randint(-1, g // 4, (g,), generator=generator).cuda(),
        "class_camera": torch.randint(0, 6, (g,), generator=generator).cuda(),
    }


def run(arrays: dict[str, Any], how: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    features = arrays["features"].detach().requires_grad_()
    classifier = arrays["classifier"].detach().requires_grad_()
    loss = camera_adversarial_loss(**(arrays | {"features": features}), **how)
    loss.backward()
    gid = camera_classifier_loss(arrays["features"], classifier, arrays["labels"])
    gid.backward()
    return loss.detach(), features.grad, gid.detach(), classifier.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 3, 5), (128, 3262, 2048), (33, 500, 770)])
@pytest.mark.parametrize("how", [{}, {"margin": 0.7, "same_camera_boost": 0.2}])
def test_against_float64(shape: tuple[int, int, int], dtype: Any, how: dict[str, Any]) -> None:
    arrays = problem(*shape, dtype)
    found = run(arrays, how)
    exact = run({k: v.double() if v.is_floating_point() else v for k, v in arrays.items()}, how)
    again = run(arrays, how)
    for ours, wanted, repeated in zip(found, exact, again, strict=True):
        assert torch.equal(ours, repeated)
        limit = 1e-4 if dtype == torch.float32 else 2e-2
        assert (ours.double() - wanted).abs().max() <= limit * wanted.abs().max().clamp(min=1e-3)
