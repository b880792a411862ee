"""`crosscam simulate`: render a multi-camera site with exact ground truth."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

from crosscam_edge.cli.progress import counting_bar
from crosscam_kernels.errors import UsageError


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{2,5})[xX](\d{2,5})", text)
    if match is None:
        raise UsageError(f"size '{text}'", expected="WIDTHxHEIGHT", fix="--size 640x480")
    return int(match[1]), int(match[2])


@click.command("simulate")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write."
)
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
def command(
    output: Path,
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
    site.yaml for `crosscam process`.
    """
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
        first = error.errors()[0]
        found = first["msg"].removeprefix("Value error, ").lower()
        if first["loc"]:
            found = f"--{str(first['loc'][0]).replace('_', '-')} {first['input']}: {found}"
        raise UsageError(found, fix="see --help") from error
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
