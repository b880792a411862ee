"""`crosscam build`: from a model to the file that runs best on a box."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crosscam_edge.cli.pictures import PictureOptions, picture_options, pictures_of
from crosscam_edge.cli.timing import checked_gates, default_batches, timing_options
from crosscam_kernels.errors import CrosscamError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosscam_deploy.building import Built, Plan
    from crosscam_deploy.manifest import EngineFor
    from crosscam_deploy.verify.run import Progress

_TARGETS = (
    "cpu",
    "cpu-avx512",
    "gpu",
    "jetson-orin",
    "jetson-thor",
    "rtx-30",
    "rtx-40",
    "rtx-50",
    "h200",
)
_LARGEST, _MOST = 4096, 16  # pictures at a time, profiles of an engine
_SHARE = 0.25  # of the people or frames, to calibrate with where no others are given
_TASK_OPTIONS: dict[str, dict[str, Any]] = {
    "embed": {"frames": (), "truth": ()},
    "detect": {"crops": (), "pattern": None},
}


def _parse_buckets(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[int, ...] | None:
    """Read ``1,4,8``."""
    if value is None:
        return None
    parts = value.split(",")
    numbers = all(part.strip().isdigit() and 0 < int(part) <= _LARGEST for part in parts)
    if not numbers or len(parts) > _MOST:
        raise click.BadParameter(
            f"{value!r} is not up to {_MOST} numbers from 1 to {_LARGEST}, as in 1,4,8"
        )
    return tuple(sorted({int(part) for part in parts}))


@click.command("build")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option(
    "--target",
    "targets",
    multiple=True,
    type=click.Choice(_TARGETS),
    default=("cpu",),
    show_default=True,
    help="The box that it is for: cpu is this machine's processor, gpu its GPU; repeatable.",
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(["f32", "f16", "bf16", "int8", "fp8"]),
    help="Of graphs to build; f32, f16 and int8 if not given. bf16 and fp8 are for GPUs that have "
    "them; repeatable.",
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
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder of the bundle; of several, the folder that they go into. MODEL-TARGET if not "
    "given.",
)
@click.option("--plan", "only_plan", is_flag=True, help="Print what would be done, and stop.")
@click.option(
    "--buckets",
    callback=_parse_buckets,
    metavar="N,N,...",
    help="Numbers of crops or frames that TensorRT makes profiles for; those of the target if not "
    "given.",
)
@click.option(
    "--hardware",
    type=click.Choice(["this", "same-capability", "ampere-and-later"]),
    help="GPUs that an engine of TensorRT runs on: the kind it is made on, all of its compute "
    "capability, or all since Ampere, somewhat slower. Not for TensorRT-RTX.",
)
@click.option(
    "--version-compatible",
    is_flag=True,
    help="Engines that later versions of TensorRT run as well, somewhat slower.",
)
@timing_options
@click.option("--seed", default=0, show_default=True, help="Chooses the calibration pictures.")
def command(
    models: tuple[str, ...],
    targets: tuple[str, ...],
    precisions: tuple[Any, ...],
    output: Path | None,
    gates: dict[str, Any],
    buckets: tuple[int, ...] | None,
    hardware: Any,
    *,
    version_compatible: bool,
    only_plan: bool,
    **settings: Any,
) -> int:
    """Build each MODEL for each target: the fastest way to run it that keeps its accuracy.

    Prints the plans, writes the graphs of each, compares every way of running them with MODEL in
    float32 on pictures that nothing was calibrated with, and writes the fastest that passes the
    gates as a bundle, with the report beside it (OUTPUT.verify.json).

    For a GPU that is not in this machine the answers of the graphs are compared here, and every
    precision that passes is written, with TensorRT-RTX's engines where they can be built here
    (OUTPUT.engines); TensorRT builds its own on the box, on first use. Nothing is timed then.

    Of several, one that fails does not keep the others from being built.
    """
    from crosscam_deploy.zoo import resolve

    limits = checked_gates(gates)
    bundles = [resolve(model) for model in models]
    told = {"buckets": buckets, "hardware": hardware, "version_compatible": version_compatible}
    told = {key: value for key, value in told.items() if value}
    if told and set(targets) <= {"cpu", "cpu-avx512"}:
        option = "--" + next(iter(told)).replace("_", "-")
        raise UsageError(f"{option} for {', '.join(targets)}", expected="a GPU: it is TensorRT's")
    plans: list[tuple[Plan, Path]] = []
    several = len(bundles) * len(targets) > 1
    problems: list[CrosscamError] = []
    for bundle in bundles:
        for name in targets:
            default = f"{bundle.manifest.name}-{name}"
            out = (output or Path()) / default if several else output or Path(default)
            with _one_of(several, default, problems):
                plan = _plan(bundle, name, precisions, told)
                click.echo("\n".join(plan.lines()))
                if not only_plan:
                    plan.check()
                plans.append((plan, out))
    for plan, out in () if only_plan else plans:
        with _one_of(several, f"{plan.bundle.manifest.name} for {plan.target.name}", problems):
            _build(plan, out, limits, several=several, **settings)
    return problems[0].exit_code if problems else 0


def _plan(bundle: Any, name: str, precisions: tuple[Any, ...], told: dict[str, Any]) -> Plan:
    from crosscam_deploy.building import find_target, make_plan
    from crosscam_deploy.manifest import EngineFor

    target = find_target(name)
    engine: EngineFor | None = None
    if told and target.is_gpu:
        engine = EngineFor(**({"buckets": target.buckets_for(bundle.manifest.task)} | told))
    return make_plan(bundle, target, precisions, engine)


def _build(
    plan: Plan,
    out: Path,
    limits: Any,
    *,
    several: bool,
    calibration: tuple[str, ...],
    batches: tuple[int, ...],
    seed: int,
    rounds: int,
    seconds: float,
    **pictures: Any,
) -> None:
    """Carry out a plan and tell what came of it."""
    from crosscam_deploy.building import build
    from crosscam_deploy.precision.calibration import divide
    from crosscam_deploy.verify.store import save_for_all
    from crosscam_edge.cli.range_pictures import calibration_files, check_apart
    from crosscam_edge.cli.verify_print import print_report

    task = plan.bundle.manifest.task
    if several:  # of both tasks, maybe
        pictures |= _TASK_OPTIONS[task]
    options = PictureOptions(**pictures)
    check_apart(calibration, (*options.crops, *options.frames))
    with (
        pictures_of(task, options) as data,
        calibration_files(calibration, task, pattern=options.pattern, seed=seed) as files,
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
            batches=batches or default_batches(task),
            rounds=rounds,
            seconds=seconds,
            progress=tell,
        )
    print_report(built.report)
    save_for_all(built.report, (built.bundle, *built.others))
    for line in _result(plan, built, max(built.report.batches)):
        click.echo(line)


def _result(plan: Plan, built: Built, batch: int) -> list[str]:
    """Say what was chosen."""
    row = built.row
    speed = row.at(batch)
    graph = f"{built.bundle.manifest.precision} graph"
    if speed is None:
        return [*built.notes, *_unmeasured(plan, built, graph)]
    faster = "" if speed.ratio is None else f", {speed.ratio:.2f} times plain ONNX Runtime"
    return [
        *built.notes,
        f"wrote {built.bundle.path}: {graph} in {row.candidate.how()}, "
        f"{speed.each_per_second:.0f} a second at batch {batch}{faster}",
    ]


def _unmeasured(plan: Plan, built: Built, graph: str) -> list[str]:
    """Say what was written for a box that is not here, and what is left to do there."""
    said = [f"wrote {built.bundle.path}: {graph}; nothing ran on {plan.target.about}"]
    said += [f"wrote {b.path}: {b.manifest.precision} graph, to compare" for b in built.others]
    said += [way.line(plan.bundle.manifest.task) for way in plan.engines]
    paths = " ".join(str(each.path) for each in (built.bundle, *built.others))
    pictures = "--crops" if plan.bundle.manifest.task == "embed" else "--frames"
    return [
        *said,
        f"on the box: crosscam verify {plan.bundle.manifest.name} {paths} {pictures} ...",
    ]


@contextmanager
def _one_of(several: bool, what: str, problems: list[CrosscamError]) -> Iterator[None]:
    """Keep an error to one of several builds; of a single one it is the command's."""
    try:
        yield
    except CrosscamError as error:
        if not several:
            raise
        problems.append(error)
        click.echo(f"{what}: {error}", err=True)


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
