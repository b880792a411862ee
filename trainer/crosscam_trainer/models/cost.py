"""What a training step costs: parameters, memory and arithmetic, before anything is trained."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from crosscam_trainer.models.build import count_parameters

if TYPE_CHECKING:
    from torch import Tensor, nn

    from crosscam_trainer.models.reid import ReIDModel

_SIZES = (2, 4)  # pictures of the two measurements; BN needs two
_FLOAT = 4
_STATES = {"adam": 2, "adamw": 2, "sgd": 1}  # numbers that an optimiser keeps for each parameter


class StepCost(NamedTuple):
    """Cost of forward and backward pass and optimiser step of the image model.

    Attributes:
        parameters: Of image tower and heads.
        trained: Of them, those that take gradients.
        weight_bytes: Weights, gradients and the optimiser's state.
        activation_bytes: What the forward pass keeps for the backward pass, for the whole batch.
        flops: Multiplications and additions of forward and backward pass, for the whole batch, of
            matrix products, convolutions and attention; those of element-wise layers are left out.
        forward_flops: Those of a forward pass over one picture.
    """

    parameters: int
    trained: int
    weight_bytes: int
    activation_bytes: int
    flops: int
    forward_flops: int

    @property
    def memory_bytes(self) -> int:
        """Estimated peak: a lower bound.

        Buffers of convolutions, fragmentation, memories of the method and, on GPUs, the context of
        CUDA (some hundred MB) come on top.
        """
        return self.weight_bytes + self.activation_bytes


def step_cost(
    model: ReIDModel,
    size: tuple[int, int],
    batch: int,
    *,
    optimiser: str = "adam",
    amp: bool = False,
) -> StepCost:
    """Measure two small steps on the CPU, and extend them to a batch.

    Tensors that autograd keeps are seen by hooks and counted once each; those of 2 and 4 pictures
    give the part of a picture and the part that is always there, which are extended to `batch`.
    Arithmetic is counted by torch's flop counter. The model itself stays as it is.

    Args:
        model: Which; on any device.
        size: ``(height, width)`` of pictures in pixels.
        batch: Pictures of a step on one device.
        optimiser: "adam", "adamw" or "sgd" with momentum.
        amp: Whether the tower runs in bfloat16, as in mixed precision.

    Returns:
        The cost.
    """
    probe = copy.deepcopy(model).cpu().train()
    measured = [_measure(probe, torch.zeros(n, 3, *size), amp=amp) for n in _SIZES]
    per_picture = [(b - a) / (_SIZES[1] - _SIZES[0]) for a, b in zip(*measured, strict=True)]
    kept, both = (round(measured[0][i] + per_picture[i] * (batch - _SIZES[0])) for i in (0, 2))
    trained = count_parameters(model, trained=True)
    parameters = count_parameters(model)
    return StepCost(
        parameters=parameters,
        trained=trained,
        weight_bytes=_FLOAT * (parameters + trained * (1 + _STATES[optimiser])),
        activation_bytes=kept + batch * 3 * size[0] * size[1] * _FLOAT,
        flops=both,
        forward_flops=round(per_picture[1]),
    )


def _measure(model: nn.Module, images: Tensor, *, amp: bool) -> tuple[int, int, int]:
    """Return bytes kept for the backward pass, and flops of the forward and of both passes."""
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers(), images]}
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()  # held, so that its address is not used again
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    going, returning = FlopCounterMode(display=False), FlopCounterMode(display=False)
    with (
        going,
        saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=amp),
    ):
        features = model(images)
    loss = sum(f.float().sum() for f in features)
    with returning:
        loss.backward()
    forward = going.get_total_flops()
    both = forward + returning.get_total_flops()
    return sum(storage.nbytes() for storage in kept.values()), forward, both
