"""camera_adversarial_loss and camera_classifier_loss against eager torch and torch.compile."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from crosscam_kernels import camera_adversarial_loss, camera_classifier_loss
from crosscam_kernels.reference import camera_adversarial as reference
from gpu_cases.protocol import Case, Side, Sides, compiled


def backward(loss: torch.Tensor, leaf: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    (gradient,) = torch.autograd.grad(loss, leaf)
    return loss.detach(), gradient


def mean_of(loss: Any, *arguments: Any, counted: torch.Tensor) -> torch.Tensor:
    return loss(*arguments).sum() / counted.sum().clamp(min=1)


def problem(n: int, g: int, d: int, device: torch.device, dtype: torch.dtype) -> list[torch.Tensor]:
    torch.manual_seed(0)
    group = torch.randint(-1, g // 4 + 1, (g,), device=device)
    labels = torch.randint(0, g, (n,), device=device)
    return [
        torch.randn(n, d, device=device).to(dtype).requires_grad_(),
        torch.randn(g, d, device=device).to(dtype).requires_grad_(),
        labels,
        group,
        torch.randint(0, 6, (g,), device=device),
    ]


def checker(wanted: tuple[torch.Tensor, torch.Tensor], dtype: torch.dtype) -> Any:
    limit = 1e-3 if dtype == torch.float32 else 3e-2

    def check(name: str, found: tuple[torch.Tensor, torch.Tensor]) -> None:
        for ours, exact in zip(found, wanted, strict=True):
            error = (ours.double() - exact).abs().max()
            assert error <= limit * exact.abs().max().clamp(min=1e-6), (name, error.item())

    return check


def adversarial(shape: tuple[int, int, int], device: torch.device, dtype: torch.dtype) -> Sides:
    arrays = problem(*shape, device, dtype)
    features, classifier, *vectors = arrays
    counted = vectors[1][vectors[0]] >= 0

    def eager(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return mean_of(reference.camera_adversarial_loss, x, w, *vectors, counted=counted)

    x = features.detach().double().requires_grad_()
    wanted = backward(eager(x, classifier.detach().double()), x)
    run: dict[str, Side] = {
        "crosscam": lambda: backward(camera_adversarial_loss(*arrays), features),
        "torch eager": lambda: backward(eager(features, classifier), features),
    }
    for name, loss in compiled(device, eager).items():
        run[name] = lambda loss=loss: backward(loss(features, classifier), features)
    return Sides(run, checker(wanted, dtype))


def classifying(shape: tuple[int, int, int], device: torch.device, dtype: torch.dtype) -> Sides:
    features, classifier, labels, *_ = problem(*shape, device, dtype)

    def eager(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        cosine = torch.nn.functional.normalize(x.detach()) @ torch.nn.functional.normalize(w).T
        return torch.nn.functional.cross_entropy(16 * cosine, labels)

    w = classifier.detach().double().requires_grad_()
    wanted = backward(eager(features.detach().double(), w), w)
    run: dict[str, Side] = {
        "crosscam": lambda: backward(
            camera_classifier_loss(features, classifier, labels), classifier
        ),
        "torch eager": lambda: backward(eager(features, classifier), classifier),
    }
    for name, loss in compiled(device, eager).items():
        run[name] = lambda loss=loss: backward(loss(features, classifier), classifier)
    return Sides(run, checker(wanted, dtype))


def cases(device: torch.device, tiny: bool) -> list[Case]:
    """Market-1501 and MSMT17 as CCAFL trains them; L_GID and L_ICAL with their gradients."""
    shapes = [(8, 20, 16)] if tiny else [(128, 3262, 2048), (256, 4821, 2048), (256, 30000, 768)]
    dtypes = [torch.float32] if tiny else [torch.bfloat16, torch.float32]
    found = []
    for dtype in dtypes:
        for n, g, d in shapes:
            for op, make in (
                ("camera_adversarial_loss", adversarial),
                ("camera_classifier_loss", classifying),
            ):
                size = torch.finfo(dtype).bits // 8
                found.append(
                    Case(
                        op,
                        {"N": n, "G": g, "D": d},
                        str(dtype).removeprefix("torch."),
                        partial(make, (n, g, d), device, dtype),
                        bytes_moved=2 * (n + g) * d * size,
                        flops=4 * n * g * d,
                        direction="forward+backward",
                    )
                )
    return found
