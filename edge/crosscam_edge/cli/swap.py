"""`crosscam swap`: change the model of a live run while it runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

REFUSED = 4


@click.command(name="swap")
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.argument("model")
@click.option(
    "--beside",
    type=click.FloatRange(0, 86_400),
    default=60.0,
    show_default=True,
    help="Seconds during which both models see everybody.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="File of `crosscam calibrate` for the new model.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(run: Path, model: str, beside: float, calibration: Path | None, as_json: bool) -> int:
    """Have the `crosscam run` in folder RUN go over to MODEL, a ReID bundle, without a stop.

    The new model is checked and tried, then it sees everybody beside the old one for a while, and
    takes over between two pictures. Everybody keeps their ids. Known again is who was seen in
    that time, and of whom the gallery keeps pictures.

    Exit status 0: swapped. 4: refused; the old model serves on.
    """
    from crosscam_edge.live.swap import SwapState
    from crosscam_edge.live.swap_files import SwapRequest, ask_for_swap

    # The run has a working folder of its own.
    name = str(Path(model).absolute()) if Path(model).exists() else model
    file = None if calibration is None else str(calibration.absolute())
    report = ask_for_swap(run, SwapRequest.of(name, beside, file))
    swapped = report.state is SwapState.SWAPPED
    if as_json:
        click.echo(json.dumps(asdict(report)))
    elif swapped:
        click.echo(f"swapped: {report.people} people are known, {report.lost} are not any more")
    else:
        click.echo(f"refused, the old model serves on: {report.reason}", err=True)
    return 0 if swapped else REFUSED
