"""`crosscam calibrate`: measure a model's scores on a site's own footage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections import Counter

    from crosscam_edge.calibration.file import SiteCalibration


@click.command(name="calibrate")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder. Default: RUN.")
@click.option(
    "--fmr",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Most false matches among certain impostors. Default: what is learned.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(run: Path, output: Path | None, fmr: float | None, as_json: bool) -> int:
    """Learn how alike people look to the model at your site, from RUN.

    RUN is a folder of `crosscam process`, or of `crosscam run`, also while it goes on. Nobody has
    to label anything. Later runs begin from what was learned: `--calibration` of `process` and
    `run` takes calibration.json; calibration.html shows it to people.
    """
    from crosscam_edge.calibration.file import write_calibration
    from crosscam_edge.calibration.footage import read_footage
    from crosscam_edge.calibration.measure import calibrate
    from crosscam_edge.calibration.page import page
    from crosscam_edge.sinks.atomic import write_text

    footage = read_footage(run)
    found = calibrate(footage, run=run.absolute().name, fmr=fmr)
    folder = output or run
    write_text(folder / "calibration.html", page(found))
    write_calibration(folder / "calibration.json", found)
    if as_json:
        point = found.operating_point.model_dump()
        pairs = {"genuine": sum(found.genuine), "impostor": sum(found.impostor)}
        summary = {"output": str(folder / "calibration.json"), "model_id": found.model_id}
        click.echo(json.dumps({**summary, "pairs": pairs, "operating_point": point}))
    else:
        _print(found, footage.left_out, folder)
    return 0


def _print(found: SiteCalibration, left_out: Counter[str], folder: Path) -> None:
    point = found.operating_point
    click.echo(
        f"{sum(found.impostor)} certain pairs of two people, {sum(found.genuine)} of one, "
        f"in {len(found.cameras)} camera(s)"
    )
    click.echo(
        f"  threshold across cameras: {point.threshold:.3f} "
        f"({'learned' if point.chosen == 'learned' else 'for the rate asked for'})"
    )
    click.echo(
        f"  of these pairs {point.fmr:.1%} false matches, {point.fnmr:.1%} false non-matches"
    )
    for reason, number in sorted(left_out.items()):
        click.echo(f"  left out: {number} {reason}")
    click.echo(f"look at it: {folder / 'calibration.html'}")
    click.echo(f"use it: --calibration {folder / 'calibration.json'}")
