"""The contract between the training loop and a method: stages, steps, and what they are given.

A method is a sequence of stages; a stage is epochs over batches of one sampler. Its `step` is
written as the paper's algorithm: features, losses, `run.minimise`. Everything that it needs from
outside is in `Run`, everything that must survive a kill is in its parameters or its `state_dict`.

Training on several devices needs no thought in a method: `run.model` returns the features of the
pictures of *all* ranks (gathered with their gradients), `batch` holds the labels of all ranks, and
all ranks compute the same losses and the same memories.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor, nn

    from crosscam_trainer.data.dataset import Batch
    from crosscam_trainer.data.samplers import EpochSampler
    from crosscam_trainer.data.types import ReIDData
    from crosscam_trainer.models.reid import ReIDModel
    from crosscam_trainer.models.types import TextTower
    from crosscam_trainer.recipe import OptimiserRecipe


class Extracted(NamedTuple):
    """Features of the whole training split, without augmentation, in the order of its samples.

    Attributes:
        final_bn: `(N, D)` float32, as in `Features`.
        joint: `(N, J)` float32.
    """

    final_bn: Tensor
    joint: Tensor


@dataclass(frozen=True, slots=True)
class Part:
    """Parameters that are optimised together, in a step of their own.

    Attributes:
        parameters: Names, for messages and weight-decay rules, and parameters.
        recipe: Optimiser and schedule.
    """

    parameters: tuple[tuple[str, nn.Parameter], ...]
    recipe: OptimiserRecipe


class Run(Protocol):
    """What the loop does for a stage.

    Attributes:
        model: Features of a batch, of all ranks; see `ReIDModel`.
        text: The text tower that belongs to the model's image tower, frozen, on `device`; None for
            towers without one.
        data: The data set. Labels of `data.train` are what the batches hold.
        device: A `torch.device`.
        seed: Of this run. Stages draw from generators seeded with it and the epoch, nothing else.
    """

    model: ReIDModel
    text: TextTower | None
    data: ReIDData
    device: Any
    seed: int

    def extract(self, images: str = "image") -> Extracted:
        """Compute the features of the training split in evaluation mode; slow, shows progress.

        Args:
            images: "image": the pictures; "shielded": with clothes covered; "clothes": with all but
                clothes covered (both need masks).
        """
        ...

    def minimise(self, part: str, loss: Tensor) -> None:
        """Go back from a loss, and step the part's optimiser when enough batches are accumulated.

        Parameters of other parts keep their gradients as they were: they are neither touched nor
        reset.
        """
        ...

    def note(self, **figures: float) -> None:
        """Log figures of the epoch (association precision, number of pseudo identities, …)."""
        ...


class Stage(ABC):
    """One stage of a method.

    Attributes:
        name: For logs, checkpoints and messages; unique in the method.
        epochs: How many.
        needs_pictures: Whether batches hold pictures; without, they hold labels and indices only.
        needs_masks: Whether batches hold `clothes_mask`.
        trains_text: Whether the text tower learns, so that it is written beside the weights.
    """

    name: str
    epochs: int
    needs_pictures: bool = True
    needs_masks: bool = False
    trains_text: bool = False

    @abstractmethod
    def parts(self) -> Mapping[str, Part]:
        """Return what is optimised, by name. Called once, after `begin` or `load_state_dict`."""

    @abstractmethod
    def sampler(self, *, rank: int, world_size: int) -> EpochSampler:
        """Return the sampler of training batches."""

    def begin(self, run: Run) -> None:  # noqa: B027 - many stages have nothing to prepare
        """Prepare, once, before the first epoch; not called when a run is resumed inside."""

    def resume(self, run: Run) -> None:  # noqa: B027 - as `begin`
        """Compute anew what `begin` had and `state_dict` leaves out.

        Called after `load_state_dict`, of the one stage inside which a run is resumed. It must come
        to the same bits on the same device, so it may look at nothing that the stage changes.
        """

    def end(self) -> None:  # noqa: B027 - as `begin`
        """Let go, after the last epoch, of what no later stage reads."""

    def begin_epoch(self, run: Run, epoch: int) -> None:  # noqa: B027 - as `begin`
        """Prepare an epoch, counted from 0: memories, association. Not called again on resuming."""

    @abstractmethod
    def step(self, run: Run, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """Take one step.

        Returns:
            Scalars to log: the losses, unweighted, by the paper's names.
        """

    def modules(self) -> Iterable[tuple[str, nn.Module]]:
        """Return modules of the stage itself (classifiers, prompts) that are checkpointed."""
        return ()

    def state_dict(self) -> dict[str, Tensor]:
        """Return all further state that a step depends on (memories, pseudo labels)."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over the state of another such stage, done or not; called instead of `begin`."""
        if state:
            raise ValueError(f"stage {self.name!r} keeps no state, got {sorted(state)}")


class Method(ABC):
    """A training method: its stages, in order.

    Attributes:
        name: As recipes call it.
    """

    name: str

    @abstractmethod
    def stages(self, run: Run) -> list[Stage]:
        """Return the stages. Called once; later stages may read what earlier ones have learned."""

    @abstractmethod
    def check(self, data: ReIDData) -> None:
        """Refuse data that the method cannot train on, before anything is computed.

        Raises:
            InputError: Labels, masks or cameras that it needs are missing; says what to do.
        """
