"""What the loop passes around: places in a run, figures of evaluations, results."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crosscam_trainer.models.reid import ReIDModel

MAIN = "mAP"
"""The figure by which the best epoch is chosen; larger is better."""


class Evaluate(Protocol):
    """Judges a model during a run."""

    def __call__(self, model: ReIDModel) -> Mapping[str, float]:
        """Evaluate.

        Called on every process at once, in evaluation mode and without gradients; the first
        process's figures count.

        Args:
            model: Left as it is.

        Returns:
            Figures by name, `MAIN` ("mAP", in [0, 1]) among them.
        """
        ...


@dataclass(slots=True)
class Position:
    """A place in a run; all numbers count from 0 and name what comes next.

    Attributes:
        stage: Of the method.
        epoch: Of the stage.
        batch: Of the epoch.
        iteration: Batches since the run began.
        stage_begun: Whether `Stage.begin` was called.
        epoch_begun: Whether `Stage.begin_epoch` was called.
    """

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    iteration: int = 0
    stage_begun: bool = False
    epoch_begun: bool = False

    def next_epoch(self) -> None:
        """Go to the next epoch."""
        self.epoch, self.batch, self.epoch_begun = self.epoch + 1, 0, False

    def next_stage(self) -> None:
        """Go to the next stage."""
        self.stage, self.epoch, self.batch = self.stage + 1, 0, 0
        self.stage_begun = self.epoch_begun = False


class Judged(NamedTuple):
    """An evaluation.

    Attributes:
        stage: Name.
        epoch: How many epochs of it were done.
        figures: By name.
    """

    stage: str
    epoch: int
    figures: dict[str, float]


@dataclass(slots=True)
class Judgement:
    """The evaluations of a run so far.

    Attributes:
        last: The newest.
        best: The one with the highest `MAIN`; the first of equals.
        since_best: Evaluations of this stage since its best one.
        stage_best: Highest `MAIN` of this stage.
    """

    last: Judged | None = None
    best: Judged | None = None
    since_best: int = 0
    stage_best: float | None = None

    def add(self, found: Judged) -> bool:
        """Note an evaluation; returns whether it is the best."""
        self.last = found
        value = found.figures[MAIN]
        if self.stage_best is None or value > self.stage_best:
            self.stage_best, self.since_best = value, 0
        else:
            self.since_best += 1
        if self.best is not None and value <= self.best.figures[MAIN]:
            return False
        self.best = found
        return True

    def next_stage(self) -> None:
        """Count patience anew."""
        self.since_best, self.stage_best = 0, None

    def state_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, state: dict[str, Any]) -> Judgement:
        """Take over `state_dict`."""
        last, best = (None if state[k] is None else Judged(*state[k]) for k in ("last", "best"))
        return cls(last, best, state["since_best"], state["stage_best"])


@dataclass(slots=True)
class Sums:
    """Means of the figures of an epoch, exact to continue.

    Attributes:
        totals: Sum and number of each.
        notes: What `Run.note` was given.
        pictures: Trained on.
        seconds: Spent.
        waiting: Seconds of them that were spent waiting for data.
    """

    totals: dict[str, tuple[float, int]] = field(default_factory=dict)
    notes: dict[str, float] = field(default_factory=dict)
    pictures: int = 0
    seconds: float = 0.0
    waiting: float = 0.0

    def add(self, figures: Mapping[str, float]) -> None:
        """Add those of a batch."""
        for name, value in figures.items():
            total, number = self.totals.get(name, (0.0, 0))
            self.totals[name] = total + value, number + 1

    def means(self) -> dict[str, float]:
        """Return the means so far."""
        return {name: total / number for name, (total, number) in self.totals.items()}

    @property
    def rate(self) -> float:
        """Pictures per second."""
        return self.pictures / self.seconds if self.seconds else 0.0

    @property
    def waited(self) -> float:
        """Share of time spent waiting for data, in [0, 1]."""
        return self.waiting / self.seconds if self.seconds else 0.0
