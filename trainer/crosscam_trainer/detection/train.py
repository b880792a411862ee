"""Training of a detector: batches, steps, checkpoints, judging, and the bundle at the end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import yaml
from torch.utils.data import DataLoader

from crosscam_kernels.errors import InputError, RunError
from crosscam_trainer.detection.coco import read_coco, split
from crosscam_trainer.detection.export import export_detector
from crosscam_trainer.detection.judging import judge_network
from crosscam_trainer.detection.losses import losses
from crosscam_trainer.detection.recipe import DetectorRecipe
from crosscam_trainer.detection.samples import Samples, collate, normalised
from crosscam_trainer.detection.state import State, begin, rate
from crosscam_trainer.loop.checkpoint import (
    numbers,
    read_newest,
    write_checkpoint,
    write_weights,
    writing,
)
from crosscam_trainer.loop.devices import World, launch
from crosscam_trainer.loop.journal import Journal
from crosscam_trainer.loop.progress import Progress, listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.console import Console
    from torch import Tensor

    from crosscam_deploy.detection_scores import Scores
    from crosscam_trainer.detection.coco import Picture

    Batch = tuple[Tensor, list[tuple[Tensor, Tensor]]]

_SHOWN = 20  # steps between two lines of the journal
RECIPE, WEIGHTS, BUNDLE = "recipe.yaml", "last.safetensors", "last.bundle"


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run made.

    Attributes:
        folder: Of the run.
        bundle: For the edge.
        scores: On pictures that were kept for judging.
        seconds: That this run took.
        speed: Inputs a second, over the steps of this run.
    """

    folder: Path
    bundle: Path
    scores: Scores
    seconds: float
    speed: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would be.

    Attributes:
        pictures: To train on and to judge by.
        parameters: Of the network.
        multiplications: Of the network for one input of the published size.
        speed: Inputs a second.
        hours: That all steps would take, judging not counted.
    """

    pictures: tuple[int, int]
    parameters: int
    multiplications: int
    speed: float
    hours: float


def train_detector(
    recipe: DetectorRecipe, folder: Path, *, resume: bool = False, console: Console | None = None
) -> Trained:
    """Train a detector and write its bundle.

    The folder gets ``recipe.yaml``, ``metrics.jsonl``, ``log.txt``, ``tensorboard/``,
    ``checkpoints/``, ``last.safetensors`` (the running mean of the weights), ``last.bundle/`` and
    ``last.card.md``. On a CPU a run that was killed and resumed ends with the very weights of one
    that was not.

    Args:
        recipe: What.
        folder: Of the run.
        resume: Go on with the run in the folder.
        console: Where progress is shown; None for nowhere.

    Raises:
        InputError: The data set, or what the folder holds, is not as expected.
        RunError: A loss that is not finite, a full disk, or an export that differs.
    """
    started = time.monotonic()
    world = launch(recipe.loop)
    learnt, judged = _pictures(recipe)
    _open(folder, recipe, resume=resume)
    state = begin(recipe, world.device)
    warnings: list[str] = []
    checkpoint = read_newest(folder / "checkpoints", warnings.append)
    if checkpoint is not None:
        state.restore(checkpoint)
    kept = None if checkpoint is None else int(checkpoint.state["journal"])
    journal = Journal(folder, kept, state.step)
    try:
        with Progress(console) as progress:
            for warning in warnings:
                progress.say(warning)
            first = state.step
            scores, spent = _run(recipe, folder, state, world, (learnt, judged), journal, progress)
        done = (state.step - first) * recipe.optimiser.batch
        figures = figures_of(scores)
        about = {"recipe": recipe.model_dump(mode="json"), "figures": figures, "step": state.step}
        write_weights(folder / WEIGHTS, state.average.state_dict(), about)
        bundle = export_detector(state.average, recipe, folder / BUNDLE, figures)
        journal.log(f"exported to {bundle.path}")
    finally:
        journal.close()
    seconds = time.monotonic() - started
    return Trained(folder, bundle.path, scores, seconds, done / spent if spent else 0.0)


def estimate(recipe: DetectorRecipe, steps: int = 3) -> Estimate:
    """Try a few steps, without a file.

    Raises:
        InputError: The data set is not as expected.
    """
    world = launch(recipe.loop)
    learnt, judged = _pictures(recipe)
    state = begin(recipe, world.device)
    batches = _batches(recipe, learnt, 0, steps + 1)
    _step(recipe, state, world, next(batches))
    started = time.monotonic()
    for batch in batches:
        _step(recipe, state, world, batch)
    speed = steps * recipe.optimiser.batch / (time.monotonic() - started)
    return Estimate(
        (len(learnt), len(judged)),
        sum(p.numel() for p in state.network.parameters()),
        multiplications(recipe),
        speed,
        recipe.optimiser.steps * recipe.optimiser.batch / speed / 3600,
    )


def multiplications(recipe: DetectorRecipe) -> int:
    """Return the multiplications of the convolutions for one input of the published size."""
    from torch.utils.flop_counter import FlopCounterMode

    from crosscam_trainer.detection.network import PersonDetector

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        PersonDetector(recipe.network).eval()(torch.zeros(1, 3, *recipe.published))
    return int(counter.get_total_flops()) // 2


def _pictures(recipe: DetectorRecipe) -> tuple[list[Picture], list[Picture]]:
    found = read_coco(recipe.data.path, recipe.data.least_visible)
    learnt, judged = split(found, recipe.data.test_share)
    if not learnt or not judged:
        raise InputError(
            f"{recipe.data.path} has {len(learnt)} pictures to train on, {len(judged)} to judge by",
            expected="some of both",
            fix="more pictures, or another data.test_share",
        )
    return learnt, judged


def _open(folder: Path, recipe: DetectorRecipe, *, resume: bool) -> None:
    """Make the folder ready.

    Raises:
        InputError: It holds another run, or one that was not to go on.
    """
    file = folder / RECIPE
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    if file.is_file() and not resume:
        raise InputError(
            f"{folder} holds a run", expected="a new folder", fix="--resume, or another --output"
        )
    if resume and not file.is_file():
        raise InputError(f"{folder} holds no run", expected=RECIPE, fix="leave --resume out")
    if resume:
        known = DetectorRecipe.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
        for part in ("data", "network", "augmentation", "optimiser", "losses", "weights", "seed"):
            if getattr(known, part) != getattr(recipe, part):
                raise InputError(
                    f"{folder} was begun with another `{part}`",
                    expected=str(getattr(known, part)),
                    fix="repeat the recipe and its changes, or start anew in another folder",
                )
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def _batches(
    recipe: DetectorRecipe, pictures: Sequence[Picture], first: int, end: int
) -> Iterator[Batch]:
    """Return the batches of steps `first` to `end`, the end excluded; they follow from the seed."""
    samples = Samples(
        pictures,
        recipe.augmentation,
        recipe.seed,
        least_height=recipe.data.least_height,
        keep=recipe.loop.keep,
    )
    size = recipe.optimiser.batch
    loader: Any = DataLoader(
        samples,
        size,
        sampler=range(first * size, end * size),
        num_workers=recipe.loop.workers,
        collate_fn=collate,
    )
    return iter(loader)


def _run(
    recipe: DetectorRecipe,
    folder: Path,
    state: State,
    world: World,
    pictures: tuple[list[Picture], list[Picture]],
    journal: Journal,
    progress: Progress,
) -> tuple[Scores, float]:
    """Take all steps that are left; returns scores at the end, and seconds without judging."""
    steps, every = recipe.optimiser.steps, recipe.evaluation.every
    learnt, judged = pictures
    scores: Scores | None = None
    spent = told = 0.0  # seconds of reading and learning, and those at the last line
    shown, saved, began = state.step, time.monotonic(), time.monotonic()
    progress.begin("steps", steps, state.step)
    for batch in _batches(recipe, learnt, state.step, steps):
        parts = _step(recipe, state, world, batch)
        spent += time.monotonic() - began
        last = state.step == steps
        if state.step % _SHOWN == 0 or last:
            speed = (state.step - shown) * recipe.optimiser.batch / (spent - told)
            shown, told = state.step, spent
            journal.record("step", state.step, **parts, speed=speed)
            progress.move(state.step, f"{listed(parts)}  {speed:.1f}/s")
        if last or state.step % every == 0:
            scores = judge_network(state.average, judged, recipe)
            journal.record("judged", state.step, **figures_of(scores))
            line = f"step {state.step}: {listed(figures_of(scores))}"
            journal.log(line)
            progress.say(line)
        if last or time.monotonic() - saved > recipe.loop.checkpoint_minutes * 60:
            _save(folder, state, journal)
            saved = time.monotonic()
        began = time.monotonic()
    if scores is None:  # a finished run that goes on: nothing was left to do
        scores = judge_network(state.average, judged, recipe)
    return scores, spent


def _save(folder: Path, state: State, journal: Journal) -> None:
    if state.step in numbers(folder / "checkpoints"):
        return
    checkpoint = state.saved()
    where = {**checkpoint.state, "journal": journal.length}
    write_checkpoint(folder / "checkpoints", checkpoint._replace(state=where))


def _step(recipe: DetectorRecipe, state: State, world: World, batch: Batch) -> dict[str, float]:
    """Take a step; returns the losses by name.

    Raises:
        RunError: A loss is not finite.
    """
    images, truth = batch[0].to(world.device), batch[1]
    truth = [(boxes.to(world.device), ignored.to(world.device)) for boxes, ignored in truth]
    inputs = normalised(images)
    if recipe.loop.channels_last:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    for group in state.optimiser.param_groups:
        group["lr"] = rate(recipe.optimiser, state.step)
    state.network.train()
    with world.autocast():
        raw = state.network(inputs)
    parts = losses(raw, truth, recipe.augmentation.size, recipe.losses)
    total = torch.stack(list(parts.values())).sum()
    if not torch.isfinite(total):
        raise RunError(
            f"the loss is {float(total)} at step {state.step}",
            fix="a lower optimiser.lr, a longer optimiser.warmup, or loop.precision=32",
        )
    state.optimiser.zero_grad()
    total.backward()
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), recipe.optimiser.clip_norm)
    state.optimiser.step()
    state.step += 1
    state.follow(recipe.optimiser.average)
    return {name: float(value.detach()) for name, value in parts.items()}


def figures_of(scores: Scores) -> dict[str, float]:
    """Return scores by the names that journals and manifests have."""
    return {
        "ap50": scores.average_precision,
        "recall_at_1_false": scores.recall,
        "threshold": min(scores.threshold, 1.0),
        "most_recall": scores.most_recall,
        "sure": min(scores.sure, 1.0),
    }
