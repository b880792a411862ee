"""`crosscam process`: give every person in recorded videos one id."""

from __future__ import annotations

import json
import os
import signal
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from crosscam_edge.config import SiteConfig
    from crosscam_edge.offline import ProcessResult

INTERRUPTED = 130


@click.command(name="process")
@click.argument("videos", nargs=-1, metavar="[VIDEO]...", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the results."
)
@click.option(
    "-c", "--config", "config_file", type=click.Path(path_type=Path), help="Site file (YAML)."
)
@click.option("--detector", help="Detector: a model name or 'motion'. Default: best available.")
@click.option("--embedder", help="ReID: a model name or 'colour'. Default: best available.")
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
    """
    from crosscam_edge.offline import ProcessOptions, SilentProgress, process

    settings = _settings(config_file, flags)
    with _stop_on_signals() as stop, _progress(as_json) as progress:
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
    return INTERRUPTED if result.run.status == "interrupted" else 0


def _settings(config_file: Path | None, flags: dict[str, Any]) -> SiteConfig:
    """Put the command line on top of the site file; checked again as a whole."""
    from pydantic import ValidationError

    from crosscam_edge.config import SiteConfig, load_config
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
            f"--{name} is {first['input']}",
            expected=first["msg"].removeprefix("Input should be "),
            fix="correct the flag",
        ) from None


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """Give an event that the first SIGINT or SIGTERM sets; a second one quits at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(_number: int, _frame: object) -> None:
        if stop.is_set():
            os._exit(INTERRUPTED)  # checkpoints are whole files: nothing can be left half written
        stop.set()
        click.echo("stopping: writing what is done (again to quit at once)", err=True)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(as_json: bool) -> Iterator[RichProgress | None]:
    """Show bars on standard error when people watch it."""
    from rich.console import Console

    console = Console(stderr=True)
    if as_json or not console.is_terminal:
        yield None
        return
    with RichProgress(console) as progress:
        yield progress


class RichProgress:
    """A bar per camera and one for all, with frames per second and the time left."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.fields[of]}"),
            TextColumn("{task.fields[fps]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._tasks: dict[str, Any] = {}
        self._done: dict[str, int] = {}
        self._resumed: dict[str, int] = {}
        self._started = 0.0
        self._lock = threading.Lock()

    def __enter__(self) -> RichProgress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def start(self, cameras: Sequence[tuple[str, int | None]]) -> None:
        """Make the bars."""
        import time

        self._started = time.monotonic()
        for name, frames in cameras:
            self._tasks[name] = self._bars.add_task(name, total=frames, of=frames or "?", fps="")
        if len(cameras) > 1:
            known = [frames for _, frames in cameras if frames is not None]
            total = sum(known) if len(known) == len(cameras) else None
            self._tasks[""] = self._bars.add_task("all", total=total, of=total or "?", fps="")

    def frames(self, camera_id: str, done: int, *, resumed: bool) -> None:
        """Move the bars."""
        import time

        with self._lock:
            self._done[camera_id] = done
            if resumed:
                self._resumed[camera_id] = done
            fresh = sum(self._done.values()) - sum(self._resumed.values())
            seconds = max(time.monotonic() - self._started, 1e-3)
            rate = f"{fresh / seconds:.1f} frames/s"
            self._bars.update(self._tasks[camera_id], completed=done)
            last = self._tasks.get("", self._tasks[camera_id])
            self._bars.update(last, completed=sum(self._done.values()), fps=rate)

    def finished(self, camera_id: str, error: str | None) -> None:
        """Fill or mark the bar."""
        done = self._done.get(camera_id, 0)
        text = camera_id if error is None else f"{camera_id} [red]failed[/red]"
        self._bars.update(self._tasks[camera_id], total=done, of=done, description=text)

    def stage(self, text: str) -> None:
        """Say what happens after the frames."""
        self._bars.console.print(f"{text} …")


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
        "warnings": run.warnings,
    }


def _print_summary(result: ProcessResult) -> None:
    data = _summary(result)
    state = {"interrupted": "Interrupted; the same command goes on from here."}
    click.echo(state.get(data["status"], "Done."))
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
