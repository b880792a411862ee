"""`triplet_loss` over batch-hard pairs, forward and backward, against torch and PML."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from crosscam_kernels import triplet_loss
from crosscam_kernels.reference import triplet as reference
from gpu_cases.protocol import Case, Side, Sides, WrongAnswerError, compiled

MARGIN = 0.3


def eager(x: Tensor, labels: Tensor) -> Tensor:
    """Batch-hard triplet loss as `reid-strong-baseline` writes it, in float32."""
    x = x.float()
    square = x.pow(2).sum(1, keepdim=True)
    distance = (square + square.T - 2 * x @ x.T).clamp(min=1e-12).sqrt()
    same = labels[:, None] == labels
    itself = torch.eye(len(x), dtype=torch.bool, device=x.device)
    far = distance.masked_fill(~same | itself, -1.0).max(1).values
    near = distance.masked_fill(same, torch.inf).min(1).values
    return functional.relu(far - near + MARGIN).mean()


def metric_learning(labels: Tensor) -> Callable[[Tensor], Tensor] | str:
    """BatchHardMiner + TripletMarginLoss, or why not."""
    try:
        from pytorch_metric_learning import distances, losses, miners, reducers
    except ImportError:
        return "not installed"
    distance = distances.LpDistance(normalize_embeddings=False)
    miner = miners.BatchHardMiner(distance=distance)
    loss = losses.TripletMarginLoss(
        margin=MARGIN, distance=distance, reducer=reducers.MeanReducer()
    )
    return lambda x: loss(x.float(), labels, miner(x.float(), labels))


def case(device: torch.device, count: int, dim: int, dtype: torch.dtype) -> Case:
    def prepare() -> Sides:
        generator = torch.Generator(device).manual_seed(0)
        labels = torch.arange(count, device=device) // 4
        people = torch.randn(count // 4, dim, device=device, generator=generator)
        noise = torch.randn(count, dim, device=device, generator=generator)
        features = (0.3 * people[labels] + noise).to(dtype)

        def with_gradient(loss: Callable[[Tensor], Tensor], x: Tensor) -> Side:
            leaf = x.detach().requires_grad_()

            def run() -> tuple[Tensor, Tensor]:
                value = loss(leaf)
                return value.detach(), torch.autograd.grad(value, leaf)[0]

            return run

        losses = {
            "crosscam": lambda x: triplet_loss(x, labels, margin=MARGIN),
            "torch eager": lambda x: eager(x, labels),
        }
        missing = {}
        rival = metric_learning(labels)
        if isinstance(rival, str):
            missing["pytorch-metric-learning"] = rival
        else:
            losses["pytorch-metric-learning"] = rival
        for name, loss in compiled(device, eager).items():
            losses[name] = lambda x, loss=loss: loss(x, labels)
        wide = features.double()
        wanted, gradient = with_gradient(
            lambda x: reference.triplet_loss(x, labels, margin=MARGIN), wide
        )()
        tolerance = 1e-4 if dtype == torch.float32 else 1e-2

        def check(name: str, found: tuple[Tensor, Tensor]) -> None:
            del name
            off = float((found[0].double() - wanted).abs() / wanted.abs())
            turned = float((found[1].double() - gradient).norm() / gradient.norm())
            # Products of TF32 or of halves may choose another of two nearly equal negatives.
            if not (off <= tolerance and turned <= 10 * tolerance):
                raise WrongAnswerError(f"loss off by {off:.1e}, gradient by {turned:.1e}")

        run = {name: with_gradient(loss, features) for name, loss in losses.items()}
        return Sides(run, check, missing)

    size = dtype.itemsize
    return Case(
        "triplet_loss",
        {"N": count, "D": dim},
        str(dtype).removeprefix("torch."),
        prepare,
        bytes_moved=2 * count * dim * size,
        flops=2 * count * count * dim,
        rate="bfloat16" if size == 2 else "",
        graph=count <= 1024,
        direction="forward+backward",
    )


def cases(device: torch.device, tiny: bool) -> list[Case]:
    half, full = torch.bfloat16, torch.float32
    if tiny:
        return [case(device, 64, 32, full)]
    return [
        case(device, 256, 768, half),
        case(device, 4096, 2048, half),
        case(device, 1024, 1280, half),
        case(device, 256, 768, full),
        case(device, 1024, 768, full),
        case(device, 8192, 512, half),
    ]
