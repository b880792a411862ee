"""`crosscam process`: give every person in recorded videos one id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crosscam_edge.cli.progress import INTERRUPTED, live_progress, stop_on_signals

if TYPE_CHECKING:
    from crosscam_edge.config import SiteConfig
    from crosscam_edge.offline import ProcessResult

INCOMPLETE = 4


class _Given(click.Path):
    """A path; not the empty text, which would silently mean the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty; give a path (is a shell variable unset?)", param, ctx)
        if "\0" in str(value):
            self.fail("it holds a zero byte, which no path can", param, ctx)
        return super().convert(value, param, ctx)


_PATH = _Given(path_type=Path)


@click.command(name="process")
@click.argument("videos", nargs=-1, metavar="[VIDEO]...", type=_PATH)
@click.option("-o", "--output", required=True, type=_PATH, help="Folder for the results.")
@click.option("-c", "--config", "config_file", type=_PATH, help="Site file (YAML).")
@click.option("--detector", help="Detector: a model name or 'motion'. Default: best available.")
@click.option("--embedder", help="ReID: a model name or 'colour'. Default: best available.")
@click.option("--calibration", help="File of `crosscam calibrate` for this embedder.")
@click.option("--min-confidence", type=float, help="Drop detections below this.")
@click.option("--fps", type=float, help="Process at most this many frames per second of video.")
@click.option("--threads", type=int, help="Threads for the models. Default: all cores.")
@click.option(
    "--batch",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Images per call of the detector (more helps accelerators only).",
)
@click.option("--video/--no-video", default=None, help="Draw annotated videos and a mosaic.")
@click.option("--report/--no-report", default=None, help="Write the HTML report.")
@click.option("--crops/--no-crops", default=None, help="Save pictures of each identity.")
@click.option("--cache/--no-cache", default=None, help="Keep checkpoints after a complete run.")
@click.option("--overwrite", is_flag=True, help="Start over: delete what is in the folder.")
@click.option("--keep-going", is_flag=True, help="Leave out videos that cannot be opened.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    videos: tuple[Path, ...],
    output: Path,
    config_file: Path | None,
    as_json: bool,
    overwrite: bool,
    keep_going: bool,
    batch: int,
    **flags: Any,
) -> int:
    """Give every person in VIDEOs one id across all of them.

    A VIDEO is a file or a folder of pictures. An unfinished run in the output folder is resumed.
    Ctrl-C ends early: what is done is written, and the same command goes on later.

    Exit status 0: all is done. 4: the run failed, or some camera, the videos or the report could
    not be finished (all else is kept). 2, 3: wrong flags, bad input. 130: interrupted.
    """
    from crosscam_edge.offline import ProcessOptions, SilentProgress, process

    settings = _settings(config_file, flags)
    with stop_on_signals() as stop, live_progress(silent=as_json) as progress:
        result = process(
            videos,
            output,
            settings,
            options=ProcessOptions(overwrite=overwrite, keep_going=keep_going, batch=batch),
            progress=progress or SilentProgress(),
            stop=stop,
        )
    if as_json:
        click.echo(json.dumps(_summary(result)))
    else:
        _print_summary(result)
    if result.run.status == "interrupted" or (result.run.missing and stop.is_set()):
        return INTERRUPTED
    return INCOMPLETE if result.failed or result.run.missing else 0


def _settings(config_file: Path | None, flags: dict[str, Any]) -> SiteConfig:
    """Put the command line on top of the site file; checked again as a whole."""
    from pydantic import ValidationError

    from crosscam_edge.config import SiteConfig, load_config
    from crosscam_edge.config.load import describe, expectation
    from crosscam_kernels.errors import UsageError

    config = load_config(config_file) if config_file else SiteConfig()
    outputs = {k: flags.pop(k) for k in ("video", "report", "crops", "cache")}
    changes = {"process_fps" if k == "fps" else k: v for k, v in flags.items() if v is not None}
    data = config.model_dump()
    data |= changes
    data["outputs"] |= {k: v for k, v in outputs.items() if v is not None}
    try:
        return SiteConfig.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]).replace("process_fps", "fps").replace("_", "-")
        raise UsageError(
            f"--{name} is {describe(first['input'])}",
            expected=expectation(first),
            fix="correct the flag",
        ) from None


def _summary(result: ProcessResult) -> dict[str, Any]:
    run, figures = result.run, result.run.figures
    report = result.out / "report.html"
    return {
        "status": run.status.value,
        "output": str(result.out),
        "cameras": len(run.cameras),
        "failed": result.failed,
        "frames": figures.frames,
        "people": figures.people,
        "tracklets": figures.tracklets,
        "cross_camera": result.shared_identities,
        "seconds": figures.wall_seconds,
        "fps": figures.fps,
        "report": str(report) if report.exists() else None,
        "models": {kind: f"{m.name}: {m.source}" for kind, m in run.models.items()},
        "missing": run.missing,
        "warnings": run.warnings,
    }


def _print_summary(result: ProcessResult) -> None:
    from crosscam_edge.offline.finish import PICTURES

    data = _summary(result)
    state = "Done."
    if data["status"] == "interrupted":
        state = "Interrupted; the same command goes on from here."
    elif result.failed:
        names = ", ".join(result.failed)
        state = f"Done, except {names}: see the warnings; the same command tries the rest again."
    elif data["missing"]:
        names = " and ".join(PICTURES[name] for name in data["missing"])
        state = f"The tables are done, {names} are missing: the same command makes them."
    click.echo(state)
    click.echo(
        f"  {data['people']} people in {data['cameras']} camera(s), {data['cross_camera']} of them "
        f"in more than one ({data['tracklets']} tracklets)"
    )
    click.echo(f"  {data['frames']} frames in {data['seconds']:.1f} s ({data['fps']:.1f} frames/s)")
    for kind, text in data["models"].items():
        click.echo(f"  {kind}: {text}")
    click.echo(f"  results: {data['output']}")
    if data["report"]:
        click.echo(f"  report: {data['report']}")
    for warning in data["warnings"]:
        click.echo(f"  warning: {warning}", err=True)
