"""`crosscam verify`: how models answer and how fast, engine by engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from crosscam_edge.cli.models import parse_size
from crosscam_edge.cli.pictures import PictureOptions, picture_options, pictures_of
from crosscam_edge.cli.progress import counting_bar
from crosscam_edge.cli.timing import checked_gates, default_batches, timing_options
from crosscam_kernels.errors import RunError

if TYPE_CHECKING:
    from crosscam_deploy.verify import Candidate, Report

_ENGINES = (
    "onnxruntime",
    "openvino",
    "onnxruntime-cuda",
    "onnxruntime-tensorrt",
    "tensorrt",
    "tensorrt-rtx",
    "torch",
    "torch-inductor",
)
_OUT = click.Path(path_type=Path, allow_dash=True, dir_okay=False)


@click.command("verify")
@click.argument("model")
@click.argument("candidates", nargs=-1)
@picture_options
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    type=click.Choice(_ENGINES),
    help="Engine; ONNX Runtime, OpenVINO and TensorRT, as far as installed and run here, if not "
    "given; repeatable.",
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(["f32", "bf16", "auto"]),
    help="What the engine computes in; all it knows here if not given; repeatable.",
)
@click.option(
    "--threads", multiple=True, type=click.IntRange(min=0), help="Threads; 0: all; repeatable."
)
@click.option(
    "--streams", multiple=True, type=click.IntRange(min=1), help="Batches at a time; repeatable."
)
@click.option("--size", callback=parse_size, metavar="HxW", help="Input size of a detector.")
@timing_options
@click.option(
    "--baseline/--no-baseline",
    default=True,
    show_default=True,
    help="Also time ONNX Runtime with none of its options set, and tell speed in multiples of it "
    "(not with --size, which it does not know).",
)
@click.option(
    "--limit-seconds",
    type=click.FloatRange(min=1),
    default=600.0,
    show_default=True,
    help="Longest wait for an answer of a candidate.",
)
@click.option("--report-only", is_flag=True, help="Status 0 even when a candidate is refused.")
@click.option("--json", "json_file", type=_OUT, help="Also write the report; - prints it instead.")
@click.option("--markdown", "markdown_file", type=_OUT, help="Also write Markdown; - prints it.")
@click.option("--html", "html_file", type=_OUT, help="Also write a page.")
@click.option(
    "--save/--no-save",
    default=True,
    show_default=True,
    help="Keep the report beside each bundle, for `crosscam models show`.",
)
def command(
    model: str,
    candidates: tuple[str, ...],
    crops: tuple[Path, ...],
    pattern: str | None,
    frames: tuple[Path, ...],
    truth: tuple[Path, ...],
    every: int | None,
    limit: int | None,
    json_file: Path | None,
    markdown_file: Path | None,
    html_file: Path | None,
    batches: tuple[int, ...],
    rounds: int,
    seconds: float,
    limit_seconds: float,
    gates: dict[str, Any],
    *,
    baseline: bool,
    report_only: bool,
    save: bool,
    **settings: Any,
) -> int:
    """Compare MODEL in float32 with other ways of running it, and with CANDIDATEs.

    Each bundle is run by each engine, precision and number of threads, each in a process of its
    own: what it answers to real pictures is compared first, then it is timed, in turns with the
    others. Status 4 when one is refused or fails.
    """
    from crosscam_deploy.verify import verify
    from crosscam_deploy.verify.engine_rows import with_engines
    from crosscam_deploy.verify.settings import plain, reference_for
    from crosscam_deploy.verify.store import save_for_all
    from crosscam_deploy.zoo import resolve

    limits = checked_gates(gates)
    bundle = resolve(model)
    bundles = [bundle, *map(resolve, candidates)]
    task = bundle.manifest.task
    outputs = _Outputs(json_file, markdown_file, html_file)
    reference = reference_for(bundle, input_size=settings["size"])
    with (
        pictures_of(task, PictureOptions(crops, pattern, frames, truth, every, limit)) as data,
        counting_bar("verifying", "steps", silent=outputs.printed) as bar,
    ):
        report = verify(
            reference,
            _candidates(bundles, reference, settings),
            data,
            batches=batches or default_batches(task),
            gates=limits,
            baseline=plain(bundle) if baseline and settings["size"] is None else None,
            rounds=rounds,
            seconds=seconds,
            limit_s=limit_seconds,
            progress=lambda _, done, total: bar(done, total),
        )
    distinct = {each.model_id: each for each in bundles}.values()
    report = with_engines(report, distinct)
    outputs.deliver(report)
    if save:
        save_for_all(report, distinct)
    return 0 if report.passed or report_only else RunError.exit_code


def _candidates(
    bundles: list[Any], reference: Candidate, settings: dict[str, Any]
) -> list[Candidate]:
    from crosscam_deploy.verify.settings import combinations

    found: list[Candidate] = []
    for bundle in bundles:
        for each in combinations(
            bundle,
            runtimes=settings["runtimes"],
            precisions=settings["precisions"],
            threads=settings["threads"] or (0,),
            streams=settings["streams"] or (1,),
            input_size=settings["size"],
        ):
            if each != reference and each not in found:
                found.append(each)
    return found


class _Outputs(NamedTuple):
    """Where the report goes, beside the table; ``-`` is standard output, instead of it."""

    json: Path | None
    markdown: Path | None
    html: Path | None

    @property
    def printed(self) -> bool:
        """Whether one of them is standard output."""
        return any(file is not None and str(file) == "-" for file in self)

    def deliver(self, report: Report) -> None:
        """Write what was asked for, and print."""
        from crosscam_deploy.verify.html import html
        from crosscam_deploy.verify.markdown import markdown
        from crosscam_edge.cli.verify_print import print_report
        from crosscam_edge.sinks.atomic import write_text

        for file, render in zip(self, (_json, markdown, html), strict=True):
            if file is not None and str(file) == "-":
                click.echo(render(report), nl=False)
            elif file is not None:
                write_text(file, render(report))
        if not self.printed:
            print_report(report)


def _json(report: Report) -> str:
    return report.model_dump_json(indent=1) + "\n"
