"""`crosscam build`: from a model to the file that runs best on a box."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crosscam_edge.cli.pictures import PictureOptions, picture_options, pictures_of
from crosscam_edge.cli.timing import checked_gates, default_batches, timing_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosscam_deploy.building import Built
    from crosscam_deploy.verify.run import Progress

_TARGETS = ("cpu", "cpu-avx512", "jetson-orin", "jetson-thor", "rtx-40", "rtx-50", "h200")
_SHARE = 0.25  # of the people or frames, to calibrate with where no others are given


@click.command("build")
@click.argument("model")
@click.option(
    "--target",
    type=click.Choice(_TARGETS),
    default="cpu",
    show_default=True,
    help="The box that it is for; cpu is this machine's processor. For GPUs there is only a plan "
    "yet.",
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(["f32", "f16", "int8"]),
    help="Of graphs to build; all that the target has a use for if not given; repeatable.",
)
@picture_options
@click.option(
    "--calibration",
    multiple=True,
    metavar="PATH|simulated",
    help="Pictures to choose the ranges of int8 and fp8 from: a folder of crops or frames, a data "
    "set, a simulated site, a video, or the word simulated; a quarter of the people in --crops (or "
    "of the time in --frames) if not given, on whom nothing is judged then; repeatable.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder of the bundle.")
@click.option("--plan", "only_plan", is_flag=True, help="Print what would be done, and stop.")
@timing_options
@click.option("--seed", default=0, show_default=True, help="Chooses the calibration pictures.")
def command(
    model: str,
    target: str,
    precisions: tuple[Any, ...],
    crops: tuple[Path, ...],
    pattern: str | None,
    frames: tuple[Path, ...],
    truth: tuple[Path, ...],
    every: int | None,
    limit: int | None,
    calibration: tuple[str, ...],
    output: Path | None,
    batches: tuple[int, ...],
    gates: dict[str, Any],
    seed: int,
    *,
    only_plan: bool,
    **timing: Any,
) -> None:
    """Build MODEL for a box: the fastest way to run it that keeps its accuracy.

    Prints a plan, writes the graphs of it, compares every way of running each with MODEL in float32
    on pictures that nothing was calibrated with, and writes the fastest that passes the gates as a
    bundle, with the report beside it (OUTPUT.verify.json).
    """
    from crosscam_deploy.building import build, find_target, make_plan
    from crosscam_deploy.precision.calibration import divide
    from crosscam_deploy.verify.store import save_report
    from crosscam_deploy.zoo import resolve
    from crosscam_edge.cli.calibration import calibration_files, check_apart
    from crosscam_edge.cli.verify_print import print_report

    limits = checked_gates(gates)
    bundle = resolve(model)
    plan = make_plan(bundle, find_target(target), precisions)
    for line in plan.lines():
        click.echo(line)
    if only_plan:
        return
    plan.check()
    manifest = bundle.manifest
    out = output or Path(f"{manifest.name}-{target}")
    options = PictureOptions(crops, pattern, frames, truth, every, limit)
    check_apart(calibration, (*crops, *frames))
    with (
        pictures_of(manifest.task, options) as data,
        calibration_files(calibration, manifest.task, pattern=pattern, seed=seed) as files,
        _telling() as tell,
    ):
        if not files:
            files, data = divide(data, _SHARE, seed)
        built = build(
            plan,
            data,
            files,
            out,
            gates=limits,
            batches=batches or default_batches(manifest.task),
            progress=tell,
            **timing,
        )
    print_report(built.report)
    save_report(built.report, built.bundle)
    for line in _result(built, max(built.report.batches)):
        click.echo(line)


def _result(built: Built, batch: int) -> list[str]:
    """Say what was chosen."""
    row = built.row
    speed = row.at(batch)
    assert speed is not None
    faster = "" if speed.ratio is None else f", {speed.ratio:.2f} times plain ONNX Runtime"
    graph = f"{built.bundle.manifest.precision} graph"
    return [
        *built.notes,
        f"wrote {built.bundle.path}: {graph} in {row.candidate.how()}, "
        f"{speed.each_per_second:.0f} a second at batch {batch}{faster}",
    ]


@contextmanager
def _telling() -> Iterator[Progress]:
    """Show what is being done, on a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("building") as status:
        if not console.is_terminal:
            status.stop()

        def tell(what: str, done: int, total: int) -> None:
            status.update(f"{what}: {done}/{total}")

        yield tell
