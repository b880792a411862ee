"""`dry_run`: a few real steps of every stage, to know what a run will take.

Pictures, losses and optimisers are the real ones. Only the features of the whole training split,
which stages begin with, are random after the first batches: they take as long to cluster or to
remember, and the time of the rest follows from the first.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
import torch
from torch import nn

from crosscam_trainer.loop.devices import World, device_kind
from crosscam_trainer.loop.extract import extract
from crosscam_trainer.loop.prepare import mask_labels, read_data
from crosscam_trainer.loop.run import TrainingRun
from crosscam_trainer.loop.trainer import seed_torch
from crosscam_trainer.methods.base import Extracted
from crosscam_trainer.models.cost import StepCost, step_cost

if TYPE_CHECKING:
    from rich.console import Console

    from crosscam_trainer.loop.train import Makers
    from crosscam_trainer.methods.base import Stage
    from crosscam_trainer.recipe import Recipe

STEPS = 4
"""Real batches of every stage; the first, which warms up, does not count."""
_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """What a stage takes.

    Attributes:
        name: Of the stage.
        epochs: How many.
        batches: Of an epoch.
        step_s: Seconds of a batch, waiting for its data included.
        begin_s: Seconds before the first epoch.
        epoch_s: Seconds before every epoch: features, association.
        parameters: Numbers that each part learns.
    """

    name: str
    epochs: int
    batches: int
    step_s: float
    begin_s: float
    epoch_s: float
    parameters: dict[str, int]

    @property
    def seconds(self) -> float:
        """Of the whole stage, without evaluation."""
        return self.begin_s + self.epochs * (self.epoch_s + self.batches * self.step_s)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run takes.

    Attributes:
        recipe: Its name.
        pictures: In the training split.
        people: In the training split.
        batch: ``(pictures, 3, height, width)``.
        embedding: Dimension of what is exported.
        weights: Parameters of the model.
        memory: Most bytes in use, of the device; on a CPU those of the process.
        device: "cpu" or "cuda".
        seeds: How many.
        stages: In order.
        cost: Of a step of the image model over the pictures of one device, counted.
    """

    recipe: str
    pictures: int
    people: int
    batch: tuple[int, int, int, int]
    embedding: int
    weights: int
    memory: int
    device: str
    seeds: int
    stages: tuple[StageEstimate, ...]
    cost: StepCost

    def lines(self) -> list[str]:
        """Return the estimate for people."""
        lines = [
            f"{self.recipe}: {self.pictures} pictures of {self.people} people",
            f"batch {' x '.join(map(str, self.batch))}, embedding {self.embedding}, "
            f"{self.weights / 1e6:.2f} million parameters",
            f"memory {self.memory / _GIB:.2f} GiB ({self.device}), measured",
            f"counted for a step of one device, the image model alone: {_counted(self.cost)}",
        ]
        for s in self.stages:
            parts = ", ".join(f"{name} {number:,}" for name, number in s.parameters.items())
            lines.append(
                f"stage {s.name}: {s.epochs} epochs of {s.batches} batches, {s.step_s:.3f} s a "
                f"batch, {s.epoch_s:.1f} s before an epoch, {duration(s.seconds)}; learns {parts}"
            )
        total = sum(s.seconds for s in self.stages)
        text = f"in all {duration(total)} without evaluation"
        if self.seeds > 1:
            text += f", {duration(total * self.seeds)} for {self.seeds} seeds"
        return [*lines, text]


class _Trial(TrainingRun):
    """Extracts the features of a few batches and makes up the others."""

    missing_s = 0.0

    def extract(self, images: str = "image") -> Extracted:
        samples = self.data.train
        size = self.recipe.evaluation.batch_size
        few = samples[: 2 * size]
        started = time.monotonic()
        found = extract(
            self.model,
            few,
            self.preparation,
            self.world,
            images=images,
            mask_labels=self.mask_labels,
            batch_size=size,
        )
        spent = time.monotonic() - started
        self.missing_s += spent * (len(samples) - len(few)) / len(few)
        rows = [
            torch.cat([part, torch.randn(len(samples) - len(few), part.shape[1]).to(part)])
            for part in found
        ]
        return Extracted(*rows)


def dry_run(recipe: Recipe, makers: Makers, console: Console | None = None) -> Estimate:
    """Try a recipe on this machine, in one process and without leaving files.

    Args:
        recipe: What would be done.
        makers: Parts.
        console: Told what goes on.

    Raises:
        CrosscamError: Whatever a run would meet on its way: wrong data, options, weights, devices.
    """
    kind = device_kind(recipe.loop)
    halves: dict[str, Any] = {"bf16": torch.bfloat16, "fp16": torch.float16}
    world = World(torch.device(kind), half=halves.get(recipe.loop.precision))
    data = read_data(recipe)
    method = makers.method(recipe)
    method.check(data)
    seed = recipe.seeds[0]
    seed_torch(seed, "model")
    model, text = makers.models(recipe, data)
    model.to(world.device)
    if isinstance(text, nn.Module):
        text.to(world.device)
    run = _Trial(model, data, recipe, seed, world, text=text, mask_labels=mask_labels(recipe))
    stages = []
    for stage in method.stages(run):
        if console is not None:
            console.print(f"trying stage {stage.name}", highlight=False)
        stages.append(_try(stage, run))
    memory = (
        torch.cuda.max_memory_allocated() if kind == "cuda" else psutil.Process().memory_info().rss
    )
    # A GPU holds its part of the pictures; features are those of all.
    cost = step_cost(
        model,
        recipe.model.size,
        math.ceil(recipe.batch.people * recipe.batch.pictures / recipe.loop.devices),
        optimiser=_largest_optimiser(run),
        amp=recipe.loop.precision != "32",
    )
    return Estimate(
        recipe.name,
        len(data.train),
        data.train_people,
        (recipe.batch.people * recipe.batch.pictures, 3, *recipe.model.size),
        model.embedding_dim,
        sum(p.numel() for p in model.parameters()),
        memory,
        kind,
        len(recipe.seeds),
        tuple(stages),
        cost,
    )


def _largest_optimiser(run: _Trial) -> str:
    """Name the optimiser of the part of the last stage that learns most."""
    parts = run.optimisers.values()
    return max(parts, key=lambda p: sum(t.numel() for t in p.parameters)).recipe.name


def _counted(cost: StepCost) -> str:
    return (
        f"{cost.weight_bytes / _GIB:.2f} GiB for weights, gradients and optimiser and "
        f"{cost.activation_bytes / _GIB:.2f} GiB for activations at least; "
        f"{cost.flops / 1e9:,.1f} GFLOP"
    )


def _try(stage: Stage, run: _Trial) -> StageEstimate:
    run.model.train()
    begin_s = _timed(run, lambda: stage.begin(run))
    for _, module in stage.modules():
        module.to(run.device)
    run.optimise(stage)
    batches = run.batches(stage)
    epoch_s = _timed(run, lambda: stage.begin_epoch(run, 0))
    times = []
    started = time.monotonic()
    for batch in batches.epoch(0):
        for optimiser in run.optimisers.values():
            optimiser.set_progress(0.0)
        with run.world.autocast():
            stage.step(run, batch, 0)
        _wait(run)
        times.append(time.monotonic() - started)
        started = time.monotonic()
        if len(times) == STEPS:
            break
    counted = times[1:] or times
    return StageEstimate(
        stage.name,
        stage.epochs,
        len(batches),
        math.fsum(counted) / len(counted),
        begin_s,
        epoch_s,
        {name: sum(p.numel() for p in o.parameters) for name, o in run.optimisers.items()},
    )


def _timed(run: _Trial, work: Any) -> float:
    """Return the seconds that something takes, with those of the features that were made up."""
    run.missing_s = 0.0
    started = time.monotonic()
    work()
    _wait(run)
    return time.monotonic() - started + run.missing_s


def _wait(run: _Trial) -> None:
    if run.device.type == "cuda":
        torch.cuda.synchronize()


def duration(seconds: float) -> str:
    """Return a time for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
