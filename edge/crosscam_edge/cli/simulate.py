"""`crosscam simulate`: render a multi-camera site with exact ground truth."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crosscam_edge.cli import simulate_serve
from crosscam_edge.cli.progress import INTERRUPTED, counting_bar, stop_on_signals
from crosscam_kernels.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from pydantic import ValidationError


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{2,5})[xX](\d{2,5})", text)
    if match is None:
        raise UsageError(f"size '{text}'", expected="WIDTHxHEIGHT", fix="--size 640x480")
    return int(match[1]), int(match[2])


def _usage(error: ValidationError) -> UsageError:
    first = error.errors()[0]
    found = first["msg"].removeprefix("Value error, ").lower()
    if first["loc"]:
        found = f"--{str(first['loc'][0]).replace('_', '-')} {first['input']}: {found}"
    return UsageError(found, fix="see --help")


@click.group("simulate", invoke_without_command=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder to write. [required]")
@click.option("--people", default=20, show_default=True, help="Number of identities.")
@click.option("--cameras", default=4, show_default=True, help="Number of cameras.")
@click.option("--seconds", default=180.0, show_default=True, help="Length of each video.")
@click.option("--fps", default=10.0, show_default=True, help="Frames per second.")
@click.option("--size", default="640x480", show_default=True, help="Of the pictures.")
@click.option("--seed", default=0, show_default=True, help="Equal seeds give equal sites.")
@click.option("--days", default=1, show_default=True, help="Days; clothes change between them.")
@click.option(
    "--start-time",
    default="2026-01-05T09:00:00Z",
    show_default=True,
    help="UTC time of the first frame; of the first day, where there are several.",
)
@click.option(
    "--crowding", default=0.75, show_default=True, help="Share of people on site at once."
)
@click.option("--groups", default=0.2, show_default=True, help="Share of people in pairs.")
@click.option("--lookalikes", default=0.0, show_default=True, help="Share of people in uniform.")
@click.option("--overlap", is_flag=True, help="The last camera shares the first one's view.")
@click.option("--crops", is_flag=True, help="Also write Market-1501 style crops.")
@click.option("--masks", is_flag=True, help="Also write a PNG of person ids per frame.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier site.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def command(
    context: click.Context,
    output: Path | None,
    people: int,
    cameras: int,
    seconds: float,
    fps: float,
    size: str,
    seed: int,
    days: int,
    start_time: str,
    crowding: float,
    groups: float,
    lookalikes: float,
    *,
    overlap: bool,
    crops: bool,
    masks: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Render a site of several cameras with people who walk through it, and the exact truth.

    Writes videos, ground truth (MOT, MTMC), calibration, descriptions of the people, and a
    site.yaml for `crosscam process`. `crosscam simulate serve` plays it as cameras,
    `crosscam simulate people` renders crops for training.
    """
    if context.invoked_subcommand is not None:
        return
    if output is None:
        raise UsageError(
            "no --output", expected="a folder to write", fix="crosscam simulate -o SITE"
        )
    from pydantic import ValidationError

    from crosscam_edge.simulate import SiteConfig, simulate

    width, height = _size(size)
    try:
        config = SiteConfig(
            people=people, cameras=cameras, seconds=seconds, fps=fps, width=width, height=height,
            seed=seed, days=days, crowding=crowding, groups=groups, lookalikes=lookalikes,
            overlap=overlap, crops=crops, masks=masks,
            start_time=start_time,  # type: ignore[arg-type]  # text, which pydantic reads
        )  # fmt: skip
    except ValidationError as error:
        raise _usage(error) from error
    with counting_bar("rendering", "frames", rate="FPS", silent=as_json) as bar:
        site = simulate(config, output, bar, overwrite=overwrite)
    if as_json:
        record = {
            "output": str(site.root), "days": [str(d) for d in site.days], "cameras": site.cameras,
            "frames": site.frames, "people": site.people,
        }  # fmt: skip
        click.echo(json.dumps(record))
        return
    click.echo(
        f"{len(site.cameras)} cameras, {site.frames} frames each, "
        f"{site.people} people seen: {site.root}"
    )
    for day in site.days:
        click.echo(f"next: crosscam process {day / 'site.yaml'} -o RESULTS")


@command.command("people")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write."
)
@click.option("--people", default=1000, show_default=True, help="Number of identities.")
@click.option("--cameras", default=32, show_default=True, help="Number of cameras.")
@click.option(
    "--cameras-per-person",
    type=int,
    help="Cameras that see each person; if not given 4, or all where there are fewer.",
)
@click.option("--views", default=3, show_default=True, help="Pictures of a visit to a camera.")
@click.option("--outfits", default=2, show_default=True, help="Clothes of each person, 1 to 3.")
@click.option(
    "--sober",
    default=0.0,
    show_default=True,
    help="Share of outfits that are dark and mostly plain: people look alike.",
)
@click.option(
    "--test-share", default=0.1, show_default=True, help="Share of people for query and gallery."
)
@click.option("--frame", default=640, show_default=True, help="Width of a camera's picture, about.")
@click.option("--max-height", default=256, show_default=True, help="Of a crop, pixels.")
@click.option(
    "--frames", default=0, show_default=True, help="Full pictures with a box for everybody, in all."
)
@click.option("--seed", default=0, show_default=True, help="Equal seeds give equal sets.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes; one a core if not given.")
@click.option(
    "--sheet", type=click.Path(path_type=Path), help="Also write a contact sheet, .png or .jpg."
)
@click.option("--resume", is_flag=True, help="Go on with a set that was stopped.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier set.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def people_command(
    output: Path,
    people: int,
    cameras: int,
    cameras_per_person: int | None,
    views: int,
    outfits: int,
    sober: float,
    test_share: float,
    frame: int,
    max_height: int,
    frames: int,
    seed: int,
    workers: int | None,
    sheet: Path | None,
    *,
    resume: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Render crops of people who do not exist, to train a model on.

    Writes pictures named like those of Market-1501, masks of clothes, and a table with the person,
    camera, outfit and caption of each picture. Needs the extra `synth`.
    """
    if find_spec("anny") is None:
        raise MissingExtraError("generating people", "synth")
    from pydantic import ValidationError

    from crosscam_trainer.people.config import PeopleConfig
    from crosscam_trainer.people.run import generate
    from crosscam_trainer.people.sheet import contact_sheet

    try:
        config = PeopleConfig(
            people=people, cameras=cameras, views=views, outfits=outfits, sober=sober,
            test_share=test_share, frame=frame, max_height=max_height, frames=frames, seed=seed,
            **({} if cameras_per_person is None else {"cameras_per_person": cameras_per_person}),
        )  # fmt: skip
    except ValidationError as error:
        raise _usage(error) from error
    if resume and overwrite:
        raise UsageError("--resume with --overwrite", expected="one of them")
    with (
        stop_on_signals() as stop,
        counting_bar("rendering", "blocks", rate="blocks/s", silent=as_json) as bar,
    ):
        made = generate(
            config, output, bar, workers=workers, resume=resume, overwrite=overwrite, stop=stop
        )
    if made.finished and sheet is not None:
        contact_sheet(output, sheet)
    rate = made.rendered / max(made.seconds, 1e-9)
    if as_json:
        record = {
            "output": str(made.root), "pictures": made.pictures, "frames": made.frames,
            "rendered": made.rendered, "seconds": round(made.seconds, 2),
            "images_per_second": round(rate, 2), "finished": made.finished,
        }  # fmt: skip
        click.echo(json.dumps(record))
    else:
        told = f"{made.rendered} pictures in {made.seconds:.0f} s, {rate:.1f} images/s"
        if made.finished:
            click.echo(f"{told}; {made.pictures} in all: {made.root}")
            click.echo(f"next: crosscam data check {made.root}")
        else:
            click.echo(f"stopped after {told}; go on with --resume")
    if not made.finished:
        raise SystemExit(INTERRUPTED)


command.add_command(simulate_serve.command)
