"""Specification of `memory_infonce` (PyTorch, any precision) and `update_memory` (NumPy)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

_LANES = 16  # partial sums of a dot product, so that its order is the same wherever it is computed
_TINY = np.float32(1e-12)  # the least norm divided by, as in torch.nn.functional.normalize


class Candidates(NamedTuple):
    """Who stands where in the loss of each sample.

    Attributes:
        positive: (N, K) bool: P_i, the rows that sample i shall be close to.
        allowed: (N, K) bool: A_i, the rows in the denominator: positives and negatives.
    """

    positive: torch.Tensor
    allowed: torch.Tensor


def memory_infonce(
    features: torch.Tensor,
    bank: torch.Tensor,
    targets: torch.Tensor,
    *,
    temperature: float = 0.05,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    **rules: Any,
) -> torch.Tensor:
    """Same loss as the operator, from the full matrix of similarities; differentiable by autograd.

    With ``s_ij = <x_i, c_j> / temperature`` and e the label smoothing,
    ``L_i = LSE_{j in A_i} s_ij - (1 - e) mean_{j in P_i} s_ij - e mean_{j in A_i} s_ij``.
    """
    precision = features.new_zeros(()).to(_at_least_float32(features)).dtype
    logits = features.to(precision) @ bank.to(precision).T / temperature
    positive, allowed = candidate_masks(logits, targets, **rules)
    counted = positive.any(1)
    logits, positive, allowed = logits[counted], positive[counted], allowed[counted]
    lse = logits.masked_fill(~allowed, float("-inf")).logsumexp(1)
    pull = masked_mean(logits, positive)
    per_sample = lse - (1 - label_smoothing) * pull
    if label_smoothing:
        per_sample = per_sample - label_smoothing * masked_mean(logits, allowed)
    if reduction == "sum":
        return per_sample.sum()
    if reduction == "mean":
        return per_sample.sum() / max(1, len(per_sample))
    return logits.new_zeros(len(features)).index_put((counted.nonzero()[:, 0],), per_sample)


def candidate_masks(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    labels: torch.Tensor | None = None,
    cameras: torch.Tensor | None = None,
    bank_cameras: torch.Tensor | None = None,
    candidates: str = "any",
    positives: str = "any",
    hard_negatives: int | None = None,
) -> Candidates:
    """Positives and denominators of all samples; the arguments of the operator."""
    import torch

    if labels is None:
        labels = torch.arange(logits.shape[1], device=logits.device)
    candidate = (labels >= 0)[None, :] & (targets >= 0)[:, None]
    own_label = targets[:, None] == labels[None, :]
    positive = candidate & own_label
    if cameras is not None and bank_cameras is not None:
        own_camera = cameras[:, None] == bank_cameras[None, :]
        rules = {"any": torch.ones_like(own_camera), "only_same": own_camera}
        rules["exclude_same"] = ~own_camera
        candidate = candidate & rules[candidates]
        positive = positive & rules[candidates] & rules[positives]
    negative = candidate & ~own_label
    if hard_negatives is not None:
        negative = negative & _hardest(logits.detach(), negative, hard_negatives)
    return Candidates(positive, positive | negative)


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of each row over the true elements of its mask; at least one must be true."""
    return values.masked_fill(~mask, 0).sum(1) / mask.sum(1)


def _hardest(logits: torch.Tensor, negative: torch.Tensor, count: int) -> torch.Tensor:
    """The `count` most similar negatives of each sample; ties go to the smaller row."""
    import torch

    scores = logits.masked_fill(~negative, float("-inf")).nan_to_num(nan=float("-inf"))
    order = scores.argsort(dim=1, descending=True, stable=True)[:, :count]
    chosen = torch.zeros_like(negative).scatter(1, order, torch.ones_like(order, dtype=torch.bool))
    return chosen & (scores > float("-inf"))


def _at_least_float32(features: torch.Tensor) -> torch.dtype:
    import torch

    return torch.float64 if features.dtype == torch.float64 else torch.float32


def update_memory(
    bank: NDArray[np.float32],
    features: NDArray[np.float32],
    targets: NDArray[np.integer[Any]],
    momentum: float,
    mode: str = "momentum",
) -> None:
    """The usual Python loop, in place, with the order of every sum written down."""
    for label in dict.fromkeys(int(target) for target in targets if target >= 0):
        members = [features[i] for i in range(len(targets)) if targets[i] == label]
        if mode == "hardest":
            similarity = [dot(bank[label], member) for member in members]
            comparable = [s if s == s else np.inf for s in similarity]
            hardest = int(np.argmin(comparable))
            members = [members[hardest]] if comparable[hardest] < np.inf else []
        elif mode == "mean":
            total = np.add.accumulate(np.asarray(members, np.float64), axis=0)[-1]
            members = [(total / len(members)).astype(np.float32)]
        for member in members:
            row = np.float32(momentum) * bank[label] + np.float32(1.0 - momentum) * member
            norm = np.float32(np.sqrt(dot(row, row)))
            bank[label] = row / (_TINY if norm < _TINY else norm)


def dot(a: NDArray[np.float32], b: NDArray[np.float32]) -> np.float64:
    """Inner product in float64: 16 interleaved partial sums, which are then added in order."""
    products = a.astype(np.float64) * b.astype(np.float64)
    padded = np.zeros(-(-len(products) // _LANES) * _LANES)
    padded[: len(products)] = products
    lanes = np.add.accumulate(padded.reshape(-1, _LANES), axis=0)[-1]
    return np.float64(np.add.accumulate(lanes)[-1])
