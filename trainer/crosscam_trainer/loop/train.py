"""`train`: a recipe from beginning to end, with all its seeds."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import yaml
from torch import nn

from crosscam_kernels.errors import InputError, UsageError
from crosscam_trainer.loop.checkpoint import read_newest, writing
from crosscam_trainer.loop.devices import launch, leaving
from crosscam_trainer.loop.journal import Journal
from crosscam_trainer.loop.prepare import (
    differences,
    identity,
    judged_on,
    mask_labels,
    read_data,
)
from crosscam_trainer.loop.progress import Progress
from crosscam_trainer.loop.run import TrainingRun
from crosscam_trainer.loop.trainer import Trainer, seed_torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from rich.console import Console

    from crosscam_trainer.data.types import ReIDData
    from crosscam_trainer.loop.checkpoint import Checkpoint
    from crosscam_trainer.loop.devices import World
    from crosscam_trainer.loop.types import Evaluate
    from crosscam_trainer.methods.base import Method
    from crosscam_trainer.models.reid import ReIDModel
    from crosscam_trainer.models.types import TextTower
    from crosscam_trainer.recipe import Recipe

ON_TEST = "the best epoch was chosen on the test split: its figures are optimistic"
RESULT = "result.json"


@dataclass(frozen=True, slots=True)
class Makers:
    """Where the parts of a run come from.

    Attributes:
        models: Makes the model, and the text tower that belongs to it; torch is seeded before.
        method: Makes the method.
        evaluate: Makes what judges models, for a seed's data; None where nothing can be judged.
        finish: Called on the first process when all seeds are trained, with the recipe, the data,
            the folder of the run and the results of its seeds; makes of them what is used
            elsewhere, and is called again when the run is resumed.
    """

    models: Callable[[Recipe, ReIDData], tuple[ReIDModel, TextTower | None]]
    method: Callable[[Recipe], Method]
    evaluate: Callable[[Recipe, ReIDData, World], Evaluate | None]
    finish: Callable[[Recipe, ReIDData, Path, list[dict[str, Any]]], list[str]] | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """All seeds of a run.

    Attributes:
        seeds: What ``result.json`` of each holds.
        figures: "last" and "best" → figure → (mean, sample standard deviation; None with one seed).
        warnings: What must be said with the figures.
        split: That models were judged on.
        made: What `Makers.finish` says of what it has made.
        told_here: Whether this process is the one that tells.
    """

    seeds: list[dict[str, Any]]
    figures: dict[str, dict[str, tuple[float, float | None]]]
    warnings: tuple[str, ...]
    split: str = "val"
    made: tuple[str, ...] = ()
    told_here: bool = True


def train(
    recipe: Recipe,
    output: Path,
    makers: Makers,
    *,
    resume: bool = False,
    console: Console | None = None,
) -> Summary:
    """Train with every seed of a recipe.

    Args:
        recipe: What to do.
        output: Folder of the run: ``recipe.yaml``, ``summary.json``, and ``seed-<n>`` each.
        makers: Parts.
        resume: Go on where `output` was left; seeds that are done are not repeated.
        console: Shows progress; None for silence.

    Returns:
        Figures of all seeds.

    Raises:
        UsageError: `output` holds a run, or cannot be resumed with this recipe.
        InputError: The data cannot be trained on.
        RunError: Device or disk fail, or a loss is not finite.
    """
    world = launch(recipe.loop)
    with leaving(world), Progress(console if world.first else None) as progress:
        data = read_data(recipe)
        wished, recipe = recipe, judged_on(recipe, data)
        if recipe is not wished and world.first:
            progress.say(f"{data.name} has no val split: models are judged on the test split")
        method = makers.method(recipe)
        method.check(data)
        world.by_first(lambda: _open(output, recipe, resume=resume))
        results = [
            _one(recipe, data, seed, output / f"seed-{seed}", makers, world, progress)
            for seed in recipe.seeds
        ]
        made: list[str] = []
        if makers.finish is not None:
            finish = makers.finish
            made = world.by_first(lambda: finish(recipe, data, output, results))
        summary = summarise(results, recipe, made, told_here=world.first)
        if world.first:
            _write_json(output / "summary.json", _plain(summary))
        return summary


def _open(output: Path, recipe: Recipe, *, resume: bool) -> None:
    """Make the folder of a run, or see that it may be resumed."""
    if not resume and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(
            f"{output} exists already",
            expected="a new or empty folder",
            fix="go on with it by --resume, or choose another --output",
        )
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
        if not (output / "recipe.yaml").exists():
            (output / "recipe.yaml").write_text(text, encoding="utf-8")


def _one(
    recipe: Recipe,
    data: ReIDData,
    seed: int,
    folder: Path,
    makers: Makers,
    world: World,
    progress: Progress,
) -> dict[str, Any]:
    """Train with one seed."""
    ours = identity(recipe, data, seed)
    found = world.by_first(lambda: _resumed(folder, ours, progress))
    if isinstance(found, dict):
        return found
    number = found
    checkpoint = None if number is None else _read(folder, number, progress)
    seed_torch(seed, "model")
    model, text = makers.models(recipe, data)
    model.to(world.device)
    if isinstance(text, nn.Module):
        text.to(world.device)
    if recipe.loop.channels_last:
        model.tower.to(memory_format=torch.channels_last)
    if recipe.loop.compile:
        model.tower.compile()
    run = TrainingRun(
        model,
        data,
        recipe,
        seed,
        world,
        text=text,
        progress=progress,
        mask_labels=mask_labels(recipe),
    )
    journal = None
    if world.first:
        state = None if checkpoint is None else checkpoint.state
        journal = Journal(
            folder,
            keep=None if state is None else state["metrics"],
            step=0 if state is None else state["position"]["iteration"],
        )
    try:
        started = time.monotonic()
        evaluate = makers.evaluate(recipe, data, world)
        trainer = Trainer(run, makers.method(recipe), folder, journal, evaluate, ours)
        if checkpoint is not None:
            trainer.resume(checkpoint)
            progress.say(f"seed {seed}: going on at iteration {trainer.position.iteration}")
        judgement = trainer.fit()
    except Exception as error:
        if journal is not None:
            journal.log(f"stopped: {error}")
        raise
    finally:
        if journal is not None:
            journal.close()
    result = {
        "identity": ours,
        "iterations": trainer.position.iteration,
        "seconds_since_resumed": round(time.monotonic() - started, 1),
        "selected_on": recipe.evaluation.split,
        "last": None if judgement.last is None else judgement.last._asdict(),
        "best": None if judgement.best is None else judgement.best._asdict(),
        "whitening": None if trainer.trial is None else str(trainer.trial),
    }
    if world.first:
        _write_json(folder / RESULT, result)
    return result


def _resumed(folder: Path, ours: dict[str, Any], progress: Progress) -> dict[str, Any] | int | None:
    """Return the result of a seed that is done, or the checkpoint to go on from, if any."""
    done = folder / RESULT
    if done.is_file():
        try:
            result = json.loads(done.read_bytes())
            saved = result["identity"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{done} is damaged ({error})", fix="delete it") from error
        _refuse(folder, saved, ours)
        return dict(result)
    checkpoint = _newest(folder, progress)
    if checkpoint is None:
        return None
    _refuse(folder, checkpoint.state["identity"], ours)
    return checkpoint.number


def _read(folder: Path, number: int, progress: Progress) -> Checkpoint:
    checkpoint = _newest(folder, progress)
    if checkpoint is None or checkpoint.number != number:
        raise InputError(f"checkpoint {number} of {folder} is not there for every process")
    return checkpoint


def _newest(folder: Path, progress: Progress) -> Checkpoint | None:
    return read_newest(folder / "checkpoints", lambda text: progress.say(f"warning: {text}"))


def _refuse(folder: Path, saved: dict[str, Any], ours: dict[str, Any]) -> None:
    found = differences(saved, ours)
    if found:
        raise UsageError(
            f"{folder} was trained otherwise: {'; '.join(found)}",
            expected="the recipe and the data that the run began with",
            fix="resume with those, or start a new run in another --output",
        )


def summarise(
    results: list[dict[str, Any]],
    recipe: Recipe,
    made: Sequence[str] = (),
    *,
    told_here: bool = True,
) -> Summary:
    """Put seeds together: the mean and the sample standard deviation of every figure."""
    figures: dict[str, dict[str, tuple[float, float | None]]] = {}
    for which in ("last", "best"):
        rows = [r[which]["figures"] for r in results if r[which] is not None]
        figures[which] = {}
        for name in rows[0] if rows else ():
            values = [row[name] for row in rows]
            spread = statistics.stdev(values) if len(values) > 1 else None
            figures[which][name] = statistics.fmean(values), spread
    judged = bool(figures["best"])
    on_test = judged and recipe.evaluation.split == "test"
    return Summary(
        results,
        figures,
        (ON_TEST,) if on_test else (),
        recipe.evaluation.split,
        tuple(made),
        told_here,
    )


def _plain(summary: Summary) -> dict[str, Any]:
    return {
        "figures": summary.figures,
        "warnings": summary.warnings,
        "seeds": [{k: v for k, v in r.items() if k != "identity"} for r in summary.seeds],
    }


def _write_json(path: Path, value: Any) -> None:
    part = path.with_suffix(".part")
    with writing(path):
        part.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
        part.replace(path)
