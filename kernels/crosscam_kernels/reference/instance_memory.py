"""Specification of `instance_infonce` (PyTorch, any precision) and `update_instances` (NumPy)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


class ChosenInstances(NamedTuple):
    """What stands in the loss of each sample.

    Attributes:
        logits: (N, C) similarity to the chosen instance of each class over the temperature.
        slots: (N, C) int64 slot of that instance.
        allowed: (N, C) bool: classes in the denominator.
        own: (N, C) bool: the class of the sample.
        counted: (N,) bool: samples that have a loss.
    """

    logits: torch.Tensor
    slots: torch.Tensor
    allowed: torch.Tensor
    own: torch.Tensor
    counted: torch.Tensor


def instance_infonce(
    features: torch.Tensor,
    bank: torch.Tensor,
    filled: torch.Tensor,
    targets: torch.Tensor,
    *,
    class_cameras: torch.Tensor | None = None,
    cameras: torch.Tensor | None = None,
    temperature: float = 0.05,
    reduction: str = "mean",
) -> torch.Tensor:
    """CCAFL Eq. 8 from the full (N, C, S) cube of similarities; differentiable by autograd.

    ``L_i = LSE_c z_ic - z_iy`` over the classes c of the sample's camera, where ``z_iy`` is the
    smallest similarity over the filled slots of the own class and ``z_ic`` the largest of class c,
    both divided by the temperature.
    """
    chosen = choose_instances(
        features, bank, filled, targets,
        class_cameras=class_cameras, cameras=cameras, temperature=temperature,
    )  # fmt: skip
    counted = chosen.counted
    logits, allowed, own = chosen.logits[counted], chosen.allowed[counted], chosen.own[counted]
    lse = logits.masked_fill(~allowed, float("-inf")).logsumexp(1)
    per_sample = lse - logits[own]
    if reduction == "sum":
        return per_sample.sum()
    if reduction == "mean":
        return per_sample.sum() / max(1, len(per_sample))
    return logits.new_zeros(len(features)).index_put((counted.nonzero()[:, 0],), per_sample)


def choose_instances(
    features: torch.Tensor,
    bank: torch.Tensor,
    filled: torch.Tensor,
    targets: torch.Tensor,
    *,
    class_cameras: torch.Tensor | None = None,
    cameras: torch.Tensor | None = None,
    temperature: float = 0.05,
) -> ChosenInstances:
    """The instance that speaks for each class; the arguments of the operator."""
    import torch

    precision = torch.float64 if features.dtype == torch.float64 else torch.float32
    similarity = torch.einsum("nd,csd->ncs", features.to(precision), bank.to(precision))
    classes = torch.arange(len(bank), device=bank.device)
    own = targets[:, None] == classes[None, :]
    allowed = filled.any(1)[None, :] & (targets >= 0)[:, None]
    if class_cameras is not None and cameras is not None:
        allowed = allowed & (cameras[:, None] == class_cameras[None, :])
    if bank.shape[1] == 0:
        nothing = similarity.new_zeros(own.shape)
        return ChosenInstances(nothing, nothing.long(), allowed, own, allowed.any(1))
    # Ties go to the smaller slot; NaN is never chosen.
    sign = torch.where(own, -1.0, 1.0).to(precision)[:, :, None]
    ranked = (sign * similarity).detach().masked_fill(~filled[None], float("-inf"))
    ranked = ranked.nan_to_num(nan=float("-inf"), neginf=float("-inf"), posinf=float("inf"))
    order = ranked.argsort(dim=2, descending=True, stable=True)[:, :, :1]
    found = (ranked.gather(2, order) > float("-inf"))[:, :, 0]
    logits = similarity.gather(2, order)[:, :, 0] / temperature
    # An own class that holds nothing comparable is a broken sample: its loss is NaN, not nothing.
    counted = (own & allowed).any(1)
    logits = torch.where(own & ~found, torch.full_like(logits, float("nan")), logits)
    return ChosenInstances(logits, order[:, :, 0], allowed & (found | own), own, counted)


def update_instances(
    bank: NDArray[np.float32],
    filled: NDArray[np.bool_],
    features: NDArray[np.float32],
    targets: NDArray[np.integer[Any]],
) -> NDArray[np.int64]:
    """CCAFL Eq. 5 as a loop, in place: sample r of a class in the batch goes to slot r mod S."""
    seen: dict[int, int] = {}
    slots = np.full(len(targets), -1, np.int64)
    for i, target in enumerate(targets):
        label = int(target)
        if label < 0 or bank.shape[1] == 0:
            continue
        slots[i] = seen.get(label, 0) % bank.shape[1]
        seen[label] = seen.get(label, 0) + 1
        bank[label, slots[i]] = features[i]
        filled[label, slots[i]] = True
    return slots
