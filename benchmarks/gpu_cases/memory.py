"""Losses against memory banks, and the update of a bank.

Peers: torch eager, compiled and in chunks that are computed anew backward, and
pytorch-metric-learning.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from crosscam_kernels import instance_infonce, memory_infonce, update_memory
from gpu_cases.protocol import Case, Side, Sides, assert_close, compiled

TEMPERATURE = 0.05
CHUNK_SCORES = 1 << 24  # scores that the chunked peers hold at one time
MOST_PAIRS = 1 << 32  # pairs times positives that pytorch-metric-learning may hold


def unit_rows(device: torch.device, dtype: torch.dtype, *shape: int) -> torch.Tensor:
    generator = torch.Generator(device).manual_seed(sum(shape))
    x = torch.randn(*shape, device=device, generator=generator)
    return functional.normalize(x, dim=-1).to(dtype)


def with_gradient(loss: Callable[[torch.Tensor], Any], features: torch.Tensor) -> Side:
    """Loss and gradient of the features in one call."""

    def run() -> torch.Tensor:
        leaf = features.detach().requires_grad_()
        value = loss(leaf)
        (gradient,) = torch.autograd.grad(value, leaf)
        return torch.cat([value.reshape(1).float(), gradient.float().flatten()])

    return run


def eager(bank: torch.Tensor, targets: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy((x @ bank.T).float() / TEMPERATURE, targets)


def in_chunks(
    part: Callable[..., torch.Tensor], x: torch.Tensor, bank: torch.Tensor, each: int, *rest: Any
) -> torch.Tensor:
    """Log-sum-exp over chunks of `each` entries of the bank, none of which is kept for backward."""
    chunks = bank.split(max(1, each))
    starts = range(0, len(bank), max(1, each))
    parts = [
        checkpoint(part, x, chunk, start, *rest, use_reentrant=False)
        for start, chunk in zip(starts, chunks, strict=True)
    ]
    return torch.stack(parts).logsumexp(0)


def rows_part(x: torch.Tensor, rows: torch.Tensor, _start: int) -> torch.Tensor:
    return ((x @ rows.T).float() / TEMPERATURE).logsumexp(1)


def chunked(bank: torch.Tensor, targets: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Plain torch without the (N, K) matrix."""
    lse = in_chunks(rows_part, x, bank, CHUNK_SCORES // len(x))
    pull = (x.float() * bank[targets].float()).sum(1) / TEMPERATURE
    return (lse - pull).mean()


def metric_learning(
    bank: torch.Tensor, targets: torch.Tensor, n: int
) -> Callable[[torch.Tensor], Any] | str:
    """NTXentLoss with the bank as reference embeddings, or why not. One positive a sample."""
    try:
        from pytorch_metric_learning import distances, losses
    except ImportError:
        return "not installed"
    if n * n * len(bank) > MOST_PAIRS:
        return f"holds every positive against every pair, {n * n * len(bank):.0e} numbers"
    dot = distances.DotProductSimilarity(normalize_embeddings=False)
    loss = losses.NTXentLoss(temperature=TEMPERATURE, distance=dot)
    labels = torch.arange(len(bank), device=bank.device)
    return lambda x: loss(x.float(), targets, ref_emb=bank.float(), ref_labels=labels)


def wanted(features: torch.Tensor, loss: Callable[[torch.Tensor], Any]) -> torch.Tensor:
    return with_gradient(loss, features.double())()


def memory_case(device: torch.device, n: int, k: int, d: int, dtype: torch.dtype) -> Case:
    def prepare() -> Sides:
        x, bank = unit_rows(device, dtype, n, d), unit_rows(device, dtype, k, d)
        targets = torch.arange(n, device=device) * 7 % k
        run: dict[str, Side] = {
            "crosscam": with_gradient(
                lambda leaf: memory_infonce(leaf, bank, targets, temperature=TEMPERATURE), x
            ),
            "torch eager": with_gradient(partial(eager, bank, targets), x),
            "torch chunked": with_gradient(partial(chunked, bank, targets), x),
        }
        missing = {}
        rival = metric_learning(bank, targets, n)
        if isinstance(rival, str):
            missing["pytorch-metric-learning"] = rival
        else:
            run["pytorch-metric-learning"] = with_gradient(rival, x)
        if hasattr(functional, "linear_cross_entropy"):
            # Same loss: the temperature goes into the bank once per call.
            run["F.linear_cross_entropy"] = with_gradient(
                lambda leaf: functional.linear_cross_entropy(leaf, bank / TEMPERATURE, targets), x
            )
        else:
            missing["F.linear_cross_entropy"] = "not in this torch"
        for name, loss in compiled(device, partial(eager, bank, targets)).items():
            run[name] = with_gradient(loss, x)
        answer = wanted(x, partial(eager, bank.double(), targets))

        def check(name: str, found: Any) -> None:
            tolerance = 1e-4 if dtype == torch.float32 else 2e-2
            assert_close(found, answer, rtol=tolerance, atol=tolerance)

        return Sides(run, check, missing)

    size = dtype.itemsize
    return Case(
        "memory_infonce",
        {"N": n, "K": k, "D": d},
        str(dtype).removeprefix("torch."),
        prepare,
        bytes_moved=(2 * k * d + 3 * n * d) * size,
        flops=6 * n * k * d,
        direction="forward+backward",
    )


def instance_case(
    device: torch.device, n: int, classes: int, slots: int, d: int, dtype: torch.dtype
) -> Case:
    def prepare() -> Sides:
        x, bank = unit_rows(device, dtype, n, d), unit_rows(device, dtype, classes, slots, d)
        targets = torch.arange(n, device=device) * 7 % classes
        filled = torch.ones(classes, slots, dtype=torch.bool, device=device)

        def part(leaf: torch.Tensor, store: torch.Tensor, start: int) -> torch.Tensor:
            scores = (leaf @ store.flatten(0, 1).T).float().unflatten(1, store.shape[:2])
            own = targets[:, None] - start == torch.arange(len(store), device=device)
            hardest = torch.where(own, scores.amin(2), scores.amax(2))
            return (hardest / TEMPERATURE).logsumexp(1)

        def by_parts(leaf: torch.Tensor) -> torch.Tensor:
            lse = in_chunks(part, leaf, bank, CHUNK_SCORES // (n * slots))
            own = torch.einsum("nd,nsd->ns", leaf, bank[targets]).float().amin(1)
            return (lse - own / TEMPERATURE).mean()

        def plain(store: torch.Tensor, leaf: torch.Tensor) -> torch.Tensor:
            scores = (leaf @ store.flatten(0, 1).T).float().unflatten(1, (classes, slots))
            logits = scores.amax(2)
            own = scores[torch.arange(n, device=device), targets].amin(1)
            logits = logits.scatter(1, targets[:, None], own[:, None])
            return functional.cross_entropy(logits / TEMPERATURE, targets)

        run: dict[str, Side] = {
            "crosscam": with_gradient(
                lambda leaf: instance_infonce(leaf, bank, filled, targets, temperature=TEMPERATURE),
                x,
            ),
            "torch eager": with_gradient(partial(plain, bank), x),
            "torch chunked": with_gradient(by_parts, x),
        }
        for name, loss in compiled(device, partial(plain, bank)).items():
            run[name] = with_gradient(loss, x)
        answer = wanted(x, partial(plain, bank.double()))

        def check(name: str, found: Any) -> None:
            tolerance = 1e-4 if dtype == torch.float32 else 3e-2
            assert_close(found[0], answer[0], rtol=tolerance, atol=tolerance)

        return Sides(run, check)

    size = dtype.itemsize
    return Case(
        "instance_infonce",
        {"N": n, "C": classes, "S": slots, "D": d},
        str(dtype).removeprefix("torch."),
        prepare,
        bytes_moved=(2 * classes * slots * d + 3 * n * d) * size,
        flops=4 * n * classes * slots * d,
        direction="forward+backward",
    )


def loop(
    bank: torch.Tensor, features: torch.Tensor, targets: torch.Tensor, momentum: float
) -> torch.Tensor:
    """The public loop of Cluster Contrast."""
    for x, y in zip(features, targets.tolist(), strict=True):
        bank[y] = momentum * bank[y] + (1.0 - momentum) * x
        bank[y] /= bank[y].norm()
    return bank


def update_case(device: torch.device, n: int, k: int, d: int) -> Case:
    def prepare() -> Sides:
        bank, x = unit_rows(device, torch.float32, k, d), unit_rows(device, torch.float32, n, d)
        targets = torch.arange(n, device=device) // 8 * 7 % k
        answer = loop(bank.double(), x.double(), targets, 0.1)
        work, peer = bank.clone(), bank.clone()

        def ours() -> torch.Tensor:
            update_memory(work, x, targets, 0.1)
            return work

        def check(name: str, found: Any) -> None:
            assert_close(found, answer, rtol=1e-5, atol=1e-5)

        return Sides({"crosscam": ours, "Python loop": lambda: loop(peer, x, targets, 0.1)}, check)

    return Case(
        "update_memory",
        {"N": n, "K": k, "D": d},
        "float32",
        prepare,
        bytes_moved=4 * (n + 2 * n // 8) * d,
        flops=0,
        graph=False,
    )


def cases(device: torch.device, tiny: bool) -> list[Case]:
    full, half = torch.float32, torch.bfloat16
    if tiny:
        return [
            memory_case(device, 16, 100, 32, full),
            instance_case(device, 16, 20, 4, 32, full),
            update_case(device, 16, 20, 32),
        ]
    return [
        memory_case(device, 256, 20_000, 2048, half),
        instance_case(device, 128, 3262, 32, 2048, half),
        update_case(device, 256, 20_000, 2048),
        memory_case(device, 512, 100_000, 768, half),
        memory_case(device, 1024, 100_000, 2048, half),
        memory_case(device, 256, 20_000, 2048, full),
    ]
