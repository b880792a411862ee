"""Optimisers of parts: schedules, loss scaling, accumulation, clipping.

Biases learn at `bias_lr` times the rate. Weight decay is on everything, biases and scales of
normalisation included: the code of CLIP-ReID, CCAFL and the strong baseline they build on does it
so (CLIP-ReID's `WEIGHT_DECAY_BIAS` equals its `WEIGHT_DECAY`).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from crosscam_kernels.errors import RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from crosscam_trainer.loop.devices import World
    from crosscam_trainer.methods.base import Part
    from crosscam_trainer.recipe import OptimiserRecipe


def factor(recipe: OptimiserRecipe, progress: float, epochs: int) -> float:
    """Return what the rate is multiplied by.

    Warm-up and cosine go on with every iteration, steps come at the beginning of epochs. Warm-up
    multiplies the steps (`WarmupMultiStepLR` of the strong baseline) and replaces the beginning of
    the cosine, which counts from epoch 0 (timm's `CosineLRScheduler` without prefix).

    Args:
        recipe: Schedule.
        progress: Epochs since the stage began; 1.5 is the middle of its second epoch.
        epochs: Length of the stage.

    Returns:
        1 for the rate of the recipe.
    """
    base = 1.0
    if recipe.schedule == "steps":
        base = recipe.gamma ** bisect_right(recipe.milestones, math.floor(progress))
    warm = progress < recipe.warmup_epochs
    if recipe.schedule == "cosine" and not warm:
        end = recipe.final_lr / recipe.lr
        done = min(progress / epochs, 1.0)
        base = end + (1 - end) * 0.5 * (1 + math.cos(math.pi * done))
    if warm:
        start = recipe.warmup_from
        base *= start + (1 - start) * progress / recipe.warmup_epochs
    return base


@dataclass(slots=True)
class LossScale:
    """Keeps gradients inside the range of float16: dynamic loss scaling.

    Micikevicius et al., "Mixed precision training", ICLR 2018, section 3.2. Scaled gradients live
    only until they are added to the others, so that one scale serves several optimisers and
    accumulation. A batch whose gradients overflow is left out.

    Attributes:
        scale: Factor on losses; 1 and constant unless `dynamic`.
        dynamic: Halve on overflow, double after `patience` good batches.
        good: Good batches since the last change.
        patience: As above.
    """

    scale: float = 1.0
    dynamic: bool = False
    good: int = 0
    patience: int = 2000

    @classmethod
    def of(cls, half: Any) -> LossScale:
        """Return the scale for a type: dynamic from 2^16 for float16, none otherwise."""
        return cls(65536.0, dynamic=True) if half is torch.float16 else cls()

    def passed(self) -> None:
        """Count a batch without overflow."""
        if not self.dynamic:
            return
        self.good += 1
        if self.good == self.patience:
            self.scale, self.good = self.scale * 2, 0

    def overflowed(self) -> bool:
        """Lower the scale; returns whether that can help."""
        if not self.dynamic or self.scale <= 1.0:
            return False
        self.scale, self.good = self.scale / 2, 0
        return True


class PartOptimiser:
    """Carries out `Run.minimise` for one part.

    Args:
        name: Of the part, for messages.
        part: Parameters and recipe.
        world: Processes.
        scale: Loss scale of the run.
        accumulate: Calls of `minimise` that make one step; the last ones of an epoch are carried
            over to the next.
        epochs: Length of the stage.

    Raises:
        UsageError: The part has no parameter that wants a gradient.
    """

    def __init__(
        self,
        name: str,
        part: Part,
        world: World,
        scale: LossScale,
        *,
        accumulate: int = 1,
        epochs: int = 1,
    ) -> None:
        self.name, self.recipe = name, part.recipe
        named = [(key, p) for key, p in part.parameters if p.requires_grad]
        if not named:
            raise UsageError(f"part {name!r} has nothing to learn", expected="parameters")
        self.names = [key for key, _ in named]
        if len(set(self.names)) < len(named):
            raise UsageError(f"part {name!r} has two parameters of one name")
        self.parameters = [p for _, p in named]
        self._world, self._scale = world, scale
        self._accumulate, self._epochs = accumulate, epochs
        self._gradients: list[Tensor | None] = [None] * len(named)
        self.pending = 0
        self.optimiser = _make(part.recipe, named)

    def set_progress(self, progress: float) -> float:
        """Set the learning rate for a place in the stage, see `factor`, and return it."""
        current = factor(self.recipe, progress, self._epochs)
        for group in self.optimiser.param_groups:
            group["lr"] = group["full_lr"] * current
        return self.recipe.lr * current

    def minimise(self, loss: Tensor) -> None:
        """Add the gradient of a loss; step when enough are together.

        Only gradients of this part's parameters are computed, none is left in `Tensor.grad`.

        Args:
            loss: Scalar, alike on all processes.

        Raises:
            NotFiniteError: Loss or gradient is not finite; nothing was changed.
        """
        with self._world.autocast(enabled=False):
            scaled = loss.float() * (self._scale.scale / self._accumulate)
            raw = torch.autograd.grad(scaled, self.parameters, allow_unused=True)
        found = _own(raw)
        del raw
        used = [g for g in found if g is not None]
        self._world.average(used)
        norm = _norm(used)
        if not torch.isfinite(norm + loss.detach().float()).item():
            if torch.isfinite(loss).item() and self._scale.overflowed():
                return
            raise NotFiniteError(self.name, loss, norm)
        if self._scale.scale != 1:
            torch._foreach_div_(used, self._scale.scale)
        self._scale.passed()
        for k, gradient in enumerate(found):
            held = self._gradients[k]
            self._gradients[k] = (
                gradient if held is None else held if gradient is None else held.add_(gradient)
            )
        self.pending += 1
        if self.pending == self._accumulate:
            self._step()

    def _step(self) -> None:
        before = [p.grad for p in self.parameters]
        for parameter, gradient in zip(self.parameters, self._gradients, strict=True):
            parameter.grad = None if gradient is None else _laid_out(gradient, parameter)
        if self.recipe.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip_norm)
        self.optimiser.step()
        for parameter, gradient in zip(self.parameters, before, strict=True):
            parameter.grad = gradient
        self._gradients = [None] * len(self.parameters)
        self.pending = 0

    def state_dict(self) -> dict[str, Tensor]:
        """Return moments and gathered gradients by ``<kind>.<parameter>``."""
        state: dict[str, Tensor] = {"pending": torch.tensor(self.pending)}
        for name, parameter, gradient in zip(
            self.names, self.parameters, self._gradients, strict=True
        ):
            if gradient is not None:
                state[f"gradient.{name}"] = gradient
            for kind, value in self.optimiser.state.get(parameter, {}).items():
                if isinstance(value, torch.Tensor):
                    state[f"{kind}.{name}"] = value
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over the state of another such part."""
        self.pending = int(state["pending"])
        for k, (name, parameter) in enumerate(zip(self.names, self.parameters, strict=True)):
            gradient = state.get(f"gradient.{name}")
            self._gradients[k] = None if gradient is None else gradient.to(parameter.device)
            held: dict[str, Tensor] = {}
            for kind in _KINDS[self.recipe.name]:
                value = state.get(f"{kind}.{name}")
                if value is not None:
                    # Adam counts its steps on the CPU, so that no step waits for the device.
                    held[kind] = value if kind == "step" else _laid_out(value, parameter)
            if held:
                self.optimiser.state[parameter] = held


_KINDS = {
    "adam": ("step", "exp_avg", "exp_avg_sq"),
    "adamw": ("step", "exp_avg", "exp_avg_sq"),
    "sgd": ("momentum_buffer",),
}


class NotFiniteError(RunError):
    """A loss or a gradient became infinite or NaN.

    Args:
        part: Whose.
        loss: Scalar.
        norm: Of the gradient.
    """

    def __init__(self, part: str, loss: Tensor, norm: Tensor) -> None:
        super().__init__(
            f"part {part!r}: loss {float(loss.detach()):g}, norm of the gradient {float(norm):g}",
            expected="finite numbers",
        )


def _make(recipe: OptimiserRecipe, named: list[tuple[str, Any]]) -> Any:
    groups = []
    for biases in (False, True):
        chosen = [p for name, p in named if ("bias" in name.rpartition(".")[2]) == biases]
        lr = recipe.lr * (recipe.bias_lr if biases else 1.0)
        if chosen:
            groups.append({"params": chosen, "lr": lr, "full_lr": lr})
    if recipe.name == "sgd":
        return torch.optim.SGD(
            groups, recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
    kind = torch.optim.Adam if recipe.name == "adam" else torch.optim.AdamW
    # On a CPU one pass over memory in place of ten: a third of the time.
    fused = all(p.device.type == "cpu" for _, p in named)
    return kind(groups, recipe.lr, weight_decay=recipe.weight_decay, fused=fused)


def _laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    """Return a value on its parameter's device, in the order its parameter has in memory.

    torch's fused Adam walks over memory and does not look at strides: where a gradient or a moment
    has others than its parameter (`channels_last`, moments from a file) it mixes up elements.
    """
    if value.device == parameter.device and value.stride() == parameter.stride():
        return value
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _own(gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Return gradients that may be changed in place: no view, no memory shared with another one.

    Copies those that are not so, as `backward` does; all others are handed on, since a copy of
    every gradient costs as much memory as the model, and the time of fetching it.
    """
    found: list[Tensor | None] = []
    taken: set[int] = set()
    for gradient in gradients:
        if gradient is not None:
            storage = gradient.untyped_storage()
            alone = storage.nbytes() == gradient.numel() * gradient.element_size()
            if not alone or storage.data_ptr() in taken:
                gradient = gradient.clone(memory_format=torch.preserve_format)
            taken.add(gradient.untyped_storage().data_ptr())
        found.append(gradient)
    return found


def _norm(gradients: list[Tensor]) -> Tensor:
    """Norm of all gradients together; 0 without any."""
    if not gradients:
        return torch.tensor(0.0)
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
