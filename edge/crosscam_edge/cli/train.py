"""`crosscam train`: from a recipe and a data set to a model."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crosscam_kernels.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from crosscam_trainer.loop.dry_run import Estimate
    from crosscam_trainer.loop.train import Summary
    from crosscam_trainer.recipe import Recipe

_NEEDED = ("torch", "torchvision", "lightning_fabric", "open_clip", "safetensors", "tensorboard")


@click.command("train", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder of the run; runs/NAME if not given.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
@click.option(
    "--dry-run", is_flag=True, help="Try a few steps of every stage, estimate, leave no files."
)
def command(
    recipe: str, overrides: tuple[str, ...], output: Path | None, *, resume: bool, dry_run: bool
) -> None:
    """Train a model to re-identify people.

    RECIPE is a YAML file or the name of a built-in recipe; KEY=VALUE changes it, such as
    data.path=FOLDER or batch.people=8. A run that was killed goes on with --resume, to the same
    result.
    """
    if any(find_spec(name) is None for name in _NEEDED):
        raise MissingExtraError("training", "train")
    if resume and dry_run:
        raise UsageError("--resume with --dry-run", expected="one of them")
    from rich.console import Console

    from crosscam_trainer.recipe import find_recipe, load_recipe

    chosen = load_recipe(find_recipe(recipe), overrides)
    console = Console(stderr=True)
    if dry_run:
        from crosscam_trainer.loop.dry_run import dry_run as estimate
        from crosscam_trainer.loop.makers import default_makers

        _show_estimate(Console(), estimate(chosen, default_makers(), console))
        return
    from crosscam_trainer.loop.makers import default_makers
    from crosscam_trainer.loop.train import train

    folder = output or Path("runs") / chosen.name
    summary = train(chosen, folder, default_makers(), resume=resume, console=console)
    if summary.told_here:
        _show_summary(Console(), summary, chosen, folder)


def _show_summary(console: Console, summary: Summary, recipe: Recipe, folder: Path) -> None:
    from rich.table import Table

    for made in summary.made:
        console.print(made, highlight=False, markup=False, soft_wrap=True)
    if summary.made:
        bundle = folder / f"seed-{recipe.seeds[0]}" / "last.bundle"
        text = f"use it: crosscam process VIDEO --embedder {bundle}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    if not summary.figures["last"]:
        console.print(f"{folder}: trained, not judged", highlight=False)
        return
    seeds = len(summary.seeds)
    table = Table(title=f"{recipe.name}, {summary.split}, {seeds} seed{'s'[: seeds > 1]}")
    for head in ("", "last epoch", "best epoch"):
        table.add_column(head)
    for name in summary.figures["last"]:
        table.add_row(name, *(_figure(*summary.figures[w][name]) for w in ("last", "best")))
    console.print(table)
    for warning in summary.warnings:
        console.print(f"note: {warning}", highlight=False)


def _figure(mean: float, spread: float | None) -> str:
    return f"{mean:.4f}" if spread is None else f"{mean:.4f} ± {spread:.4f}"


def _show_estimate(console: Console, estimate: Estimate) -> None:
    for line in estimate.lines():
        console.print(line, highlight=False, markup=False, soft_wrap=True)
