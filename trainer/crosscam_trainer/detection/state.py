"""What a training run of a detector is made of between two steps, and its way to the disk."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from crosscam_kernels.errors import InputError
from crosscam_trainer.detection.network import PersonDetector
from crosscam_trainer.loop.checkpoint import Checkpoint, read_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from crosscam_trainer.detection.recipe import DetectorOptimiser, DetectorRecipe


@dataclass(slots=True)
class State:
    """Network, running mean of its weights, optimiser, and steps done.

    Attributes:
        network: That learns.
        average: Running mean of its weights and statistics; what is judged and exported.
        optimiser: AdamW; weights of convolutions decay, the others do not.
        step: Steps done.
    """

    network: PersonDetector
    average: PersonDetector
    optimiser: torch.optim.AdamW
    step: int = 0

    def follow(self, keep: float) -> None:
        """Move the running mean towards the network; faster at first, when it knows little."""
        keep = min(keep, (1 + self.step) / (10 + self.step))
        learnt = dict(_floats(self.network))
        with torch.no_grad():
            for name, mean in _floats(self.average):
                mean.lerp_(learnt[name], 1 - keep)

    def saved(self) -> Checkpoint:
        """Return all of it."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        moments = self.optimiser.state_dict()["state"]
        for index, parts in moments.items():
            tensors |= {f"optimiser.{index}.{part}": value for part, value in parts.items()}
        return Checkpoint(self.step, tensors, {"step": self.step})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Become what was saved.

        Raises:
            InputError: It is of another network.
        """
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "optimiser": {}}
        for name, tensor in checkpoint.tensors.items():
            owner, _, rest = name.partition(".")
            parts[owner][rest] = tensor
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in parts["optimiser"].items():
            index, _, part = name.partition(".")
            moments.setdefault(int(index), {})[part] = tensor
        try:
            self.network.load_state_dict(parts["network"])
            self.average.load_state_dict(parts["average"])
        except RuntimeError as error:
            raise InputError(
                f"the checkpoint is of another network ({str(error).splitlines()[0]})",
                fix="resume with the recipe that it was written by",
            ) from error
        now = self.optimiser.state_dict()
        self.optimiser.load_state_dict({**now, "state": moments})
        self.step = int(checkpoint.state["step"])


def begin(recipe: DetectorRecipe, device: torch.device) -> State:
    """Return the state before the first step.

    Raises:
        InputError: `weights` cannot be read, or are of another network.
    """
    torch.manual_seed(recipe.seed)
    network = PersonDetector(recipe.network)
    if recipe.weights is not None:
        tensors, _ = read_weights(recipe.weights)
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise InputError(
                f"{recipe.weights} is of another network ({str(error).splitlines()[0]})",
                expected="weights of a run with the same `network`",
            ) from error
    layout = torch.channels_last if recipe.loop.channels_last else torch.contiguous_format
    network = network.to(device=device, memory_format=layout)
    average = copy.deepcopy(network).eval().requires_grad_(False)
    wide = [p for p in network.parameters() if p.ndim > 1]
    narrow = [p for p in network.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": wide, "weight_decay": recipe.optimiser.weight_decay},
        {"params": narrow, "weight_decay": 0.0},
    ]
    return State(network, average, torch.optim.AdamW(groups, lr=recipe.optimiser.lr))


def rate(recipe: DetectorOptimiser, step: int) -> float:
    """Return the learning rate of a step: a linear warm-up, and a cosine down to `final_lr`."""
    if step < recipe.warmup:
        return recipe.lr * (step + 1) / recipe.warmup
    share = (step - recipe.warmup) / max(recipe.steps - recipe.warmup, 1)
    down = (1 + math.cos(math.pi * min(share, 1.0))) / 2
    return recipe.final_lr + (recipe.lr - recipe.final_lr) * down


def _floats(network: nn.Module) -> list[tuple[str, Tensor]]:
    """Weights and running statistics."""
    return [(k, v) for k, v in network.state_dict().items() if v.is_floating_point()]
