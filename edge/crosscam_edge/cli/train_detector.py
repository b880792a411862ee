"""`crosscam train-detector`: from a recipe and pictures with boxes to a detector of people."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click

from crosscam_kernels.errors import MissingExtraError, UsageError

_NEEDED = ("torch", "torchvision", "lightning_fabric", "safetensors", "tensorboard")


@click.command("train-detector", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Folder of the run; runs/NAME if not given."
)
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
@click.option("--dry-run", is_flag=True, help="Try a few steps, estimate, leave no files.")
def command(
    recipe: str, overrides: tuple[str, ...], output: Path | None, *, resume: bool, dry_run: bool
) -> None:
    """Train a small detector of people.

    RECIPE is a YAML file or the name of a built-in recipe; KEY=VALUE changes it, such as
    data.path=FOLDER or optimiser.steps=500. The folder is one that `simulate people --frames`
    wrote, or any with boxes in annotations.json as COCO has them.
    """
    if any(find_spec(name) is None for name in _NEEDED):
        raise MissingExtraError("training", "train")
    if resume and dry_run:
        raise UsageError("--resume with --dry-run", expected="one of them")
    from rich.console import Console

    from crosscam_trainer.detection.recipe import find_detector_recipe, load_detector_recipe
    from crosscam_trainer.detection.train import estimate, train_detector

    chosen = load_detector_recipe(find_detector_recipe(recipe), overrides)
    out = Console()
    if dry_run:
        found = estimate(chosen)
        out.print(
            f"{found.pictures[0]} pictures to train on, {found.pictures[1]} to judge by\n"
            f"{found.parameters:,} parameters, {found.multiplications / 1e6:.0f} million "
            f"multiplications at {chosen.published[0]}x{chosen.published[1]}\n"
            f"{found.speed:.1f} inputs/s, {found.hours:.1f} h for {chosen.optimiser.steps} steps",
            highlight=False,
        )
        return
    folder = output or Path("runs") / chosen.name
    made = train_detector(chosen, folder, resume=resume, console=Console(stderr=True))
    out.print(
        f"{made.bundle}: AP50 {made.scores.average_precision:.3f}, recall "
        f"{made.scores.recall:.3f} at one false box a picture; {made.speed:.1f} inputs/s",
        highlight=False,
        soft_wrap=True,
    )
