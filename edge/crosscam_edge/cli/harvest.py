"""`crosscam harvest`: from a run to a data set that a model learns from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crosscam_edge.cli.progress import INTERRUPTED, stop_on_signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from crosscam_edge.harvest import Harvest, HarvestOptions
    from crosscam_edge.harvest.choose import Labels


@click.command(name="harvest")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="New folder.")
@click.option("--name", help="Of the data set. Default: that of the folder.")
@click.option(
    "--labels",
    type=click.Choice(["identities", "tracks"]),
    default="identities",
    show_default=True,
    help="A person of a camera: all tracks there with one id, or each track.",
)
@click.option("--per-track", type=click.IntRange(1), default=12, show_default=True,
              help="Most crops of a track.")  # fmt: skip
@click.option("--least", type=click.IntRange(1), default=4, show_default=True,
              help="Leave out people with fewer crops in a camera.")  # fmt: skip
@click.option("--quality", type=click.FloatRange(0, 1), default=0.2, show_default=True,
              help="Least quality of a crop.")  # fmt: skip
@click.option("--height", type=click.IntRange(1), default=48, show_default=True,
              help="Least height of a box, pixels.")  # fmt: skip
@click.option("--keep-days", type=click.FloatRange(min=0),
              help="Leave out pictures of a live run that are older; never are there any that it "
              "would not have kept itself.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    run: Path,
    output: Path,
    name: str | None,
    labels: Labels,
    per_track: int,
    least: int,
    quality: float,
    height: int,
    keep_days: float | None,
    as_json: bool,
) -> int:
    """Take pictures of people out of RUN, for training.

    RUN is a folder of `crosscam process`, or of `crosscam run`, also while it goes on: then the
    pictures are those that its gallery keeps, and who was erased is not among them. Its site file
    must allow it (live: {harvest: true}); what was seen before it did is left out.

    Labels hold inside each camera only, and nobody has to make them: they are the tracks. With
    them `crosscam train own-site data.path=FOLDER` makes a model for these very cameras.

    The pictures show people. Keep them no longer than you may.
    """
    from crosscam_edge.harvest import HarvestOptions, harvest

    options = HarvestOptions(
        labels=labels, per_track=per_track, least=least, quality=quality,
        height=height,
    )  # fmt: skip
    with stop_on_signals() as stop:
        if as_json:
            found = harvest(run, output, options, name=name, stop=stop.is_set, keep_days=keep_days)
        else:
            found = _with_bar(run, output, options, name, stop.is_set, keep_days)
    if found.stopped:
        click.echo("interrupted: nothing was written", err=True)
        return INTERRUPTED
    summary = {
        "output": str(found.out),
        "people": found.people,
        "crops": found.crops,
        "left_out": dict(found.left_out),
    }
    if as_json:
        click.echo(json.dumps(summary))
    else:
        _print(found)
    return 0


def _with_bar(
    run: Path,
    output: Path,
    options: HarvestOptions,
    name: str | None,
    stop: Callable[[], bool],
    keep_days: float | None,
) -> Harvest:
    from rich.console import Console
    from rich.progress import Progress

    from crosscam_edge.harvest import harvest

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task("taking pictures", total=None)

        def tell(done: int, total: int) -> None:
            bars.update(bar, completed=done, total=total)

        return harvest(
            run, output, options, name=name, progress=tell, stop=stop, keep_days=keep_days
        )


def _print(found: Harvest) -> None:
    pictures, people = sum(found.crops.values()), sum(found.people.values())
    click.echo(f"{pictures} pictures of {people} people, counted in each camera, in {found.out}")
    for camera, number in found.crops.items():
        click.echo(f"  {camera}: {number} pictures of {found.people[camera]} people")
    for reason, number in sorted(found.left_out.items()):
        click.echo(f"  left out: {number} {reason}")
    click.echo(f"look at it: crosscam data check {found.out}")
    click.echo(f"train with it: crosscam train own-site data.path={found.out} --output my-model")
