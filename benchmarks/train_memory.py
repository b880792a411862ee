"""Cases of kernels_train_cpu.py: losses against memory banks and the update of a bank."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from crosscam_kernels import instance_infonce, memory_infonce, update_memory

TEMPERATURE = 0.05
MOMENTUM = 0.1
_CHUNK = 1024  # rows of the bank in one step of the chunked rival


def unit_rows(*shape: int) -> Tensor:
    """Rows of Euclidean norm 1, the same in every process."""
    generator = torch.Generator().manual_seed(sum(shape))
    return functional.normalize(torch.randn(*shape, generator=generator), dim=-1)


def ours(bank: Tensor, targets: Tensor, x: Tensor) -> Tensor:
    loss: Tensor = memory_infonce(x, bank, targets, temperature=TEMPERATURE)
    return loss


def eager(bank: Tensor, targets: Tensor, x: Tensor) -> Tensor:
    """Cluster Contrast as its code writes it."""
    return functional.cross_entropy(x @ bank.T / TEMPERATURE, targets)


def chunked(bank: Tensor, targets: Tensor, x: Tensor) -> Tensor:
    """Plain torch without the (N, K) matrix: chunks of rows, each computed anew backward."""

    def part(x: Tensor, rows: Tensor) -> Tensor:
        return (x @ rows.T / TEMPERATURE).logsumexp(1)

    parts: list[Tensor] = [
        checkpoint(part, x, rows, use_reentrant=False) for rows in bank.split(_CHUNK)
    ]
    pull = (x * bank[targets]).sum(1) / TEMPERATURE
    return (torch.stack(parts).logsumexp(0) - pull).mean()


def metric_learning(bank: Tensor, targets: Tensor, x: Tensor) -> Tensor:
    """NTXentLoss with the bank as reference embeddings: the same loss, one positive for each."""
    from pytorch_metric_learning import distances, losses

    loss = losses.NTXentLoss(
        temperature=TEMPERATURE, distance=distances.DotProductSimilarity(normalize_embeddings=False)
    )
    labels = torch.arange(len(bank))
    value: Tensor = loss(x, targets, ref_emb=bank, ref_labels=labels)
    return value


def instances(bank: Tensor, targets: Tensor, x: Tensor) -> Tensor:
    """CCAFL Eq. 8 over a full bank."""
    filled = torch.ones(bank.shape[:2], dtype=torch.bool)
    loss: Tensor = instance_infonce(x, bank, filled, targets, temperature=TEMPERATURE)
    return loss


def eager_instances(bank: Tensor, targets: Tensor, x: Tensor) -> Tensor:
    scores = torch.einsum("nd,csd->ncs", x, bank)
    own = scores[torch.arange(len(x)), targets].amin(1)
    logits = scores.amax(2).scatter(1, targets[:, None], own[:, None])
    return functional.cross_entropy(logits / TEMPERATURE, targets)


def loop_momentum(bank: Tensor, x: Tensor, targets: Tensor) -> None:
    """The public loop of Cluster Contrast."""
    for sample, y in zip(x, targets.tolist(), strict=True):
        bank[y] = MOMENTUM * bank[y] + (1.0 - MOMENTUM) * sample
        bank[y] /= bank[y].norm()


def loop_hardest(bank: Tensor, x: Tensor, targets: Tensor) -> None:
    """The public loop of its hard update."""
    samples: dict[int, list[Tensor]] = {}
    for sample, y in zip(x, targets.tolist(), strict=True):
        samples.setdefault(y, []).append(sample)
    for y, members in samples.items():
        similarity = [float(member @ bank[y]) for member in members]
        hardest = members[similarity.index(min(similarity))]
        bank[y] = MOMENTUM * bank[y] + (1.0 - MOMENTUM) * hardest
        bank[y] /= bank[y].norm()


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "crosscam": ours,
    "torch eager": eager,
    "chunks computed anew": chunked,
    "pytorch-metric-learning": metric_learning,
}
INSTANCE_LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "crosscam": instances,
    "torch eager": eager_instances,
}
UPDATES = {"momentum": loop_momentum, "hardest": loop_hardest}


def loss_sides(quick: bool, shape: tuple[int, ...], count: int) -> dict[str, Any]:
    """Sides of one shape of bank: name to a loss of the features; `features` beside them."""
    bank = unit_rows(*shape)
    targets = torch.arange(count) * 7 % shape[0]
    family = dict(LOSSES if len(shape) == 2 else INSTANCE_LOSSES)
    try:
        import pytorch_metric_learning  # noqa: F401
    except ImportError:
        family.pop("pytorch-metric-learning", None)
    if not quick:
        family["torch.compile"] = torch.compile(family["torch eager"], dynamic=False)
    return {name: partial(loss, bank, targets) for name, loss in family.items()}


def specification(shape: tuple[int, ...], count: int) -> Callable[[Tensor], Tensor]:
    """The float64 answer; the eager rival in float64, which the tests hold to the specification."""
    bank, targets = unit_rows(*shape).double(), torch.arange(count) * 7 % shape[0]
    return partial(eager if len(shape) == 2 else eager_instances, bank, targets)


def update_sides(
    mode: Any, rows: int, count: int, dim: int
) -> dict[str, Callable[[], tuple[Tensor]]]:
    """Ours and the loop, each on a bank of its own; eight samples of each label."""
    x, targets = unit_rows(count, dim), torch.arange(count) // 8 * 7 % rows
    updated_bank, looped_bank = unit_rows(rows, dim), unit_rows(rows, dim)

    def fused() -> tuple[Tensor]:
        update_memory(updated_bank, x, targets, MOMENTUM, mode)
        return (updated_bank,)

    def loop() -> tuple[Tensor]:
        UPDATES[mode](looped_bank, x, targets)
        return (looped_bank,)

    return {"crosscam": fused, "Python loop": loop}


def updated(mode: str, rows: int, count: int, dim: int) -> tuple[Tensor]:
    """The bank after one update, in float64."""
    bank = unit_rows(rows, dim).double()
    UPDATES[mode](bank, unit_rows(count, dim).double(), torch.arange(count) // 8 * 7 % rows)
    return (bank,)
