"""`crosscam demo`: the main job from end to end on a site that is rendered for it."""

from __future__ import annotations

import json
import time
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crosscam_edge.cli.progress import (
    INTERRUPTED,
    counting_bar,
    live_progress,
    stop_on_signals,
)

if TYPE_CHECKING:
    from crosscam_deploy.zoo.entries import Task
    from crosscam_edge.evaluate import MtmcScores
    from crosscam_edge.simulate import SimulatedSite


@click.command(name="demo")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("crosscam-demo"),
    show_default=True,
    help="Folder for the site and the results.",
)
@click.option("--people", default=12, show_default=True, help="Number of people on the site.")
@click.option("--cameras", default=4, show_default=True, help="Number of cameras.")
@click.option("--seconds", default=40.0, show_default=True, help="Length of each video.")
@click.option("--seed", default=7, show_default=True, help="Equal seeds give equal sites.")
@click.option("--detector", help="Detector: a model name or 'motion'. Default: best available.")
@click.option("--embedder", help="ReID: a model name or 'colour'. Default: best available.")
@click.option("--open", "show", is_flag=True, help="Open the report in a browser.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier demo.")
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON.")
def command(
    output: Path,
    people: int,
    cameras: int,
    seconds: float,
    seed: int,
    detector: str | None,
    embedder: str | None,
    *,
    show: bool,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Simulate a site, find every person in it, score the result, show the report."""
    from rich.console import Console

    from crosscam_edge.config import load_config
    from crosscam_edge.offline import ProcessOptions, SilentProgress, process
    from crosscam_edge.simulate import SiteConfig, simulate

    say = Console(stderr=as_json)
    if not say.is_terminal:
        say = Console(stderr=as_json, width=160)  # a file or a pipe has no edge to fold at
    began = time.perf_counter()
    say.print(f"[bold]1[/bold] rendering {cameras} cameras, {people} people, {seconds:g} s each")
    config = SiteConfig(people=people, cameras=cameras, seconds=seconds, seed=seed)
    with counting_bar("rendering", "frames", rate="FPS", silent=as_json) as bar:
        site = simulate(config, output / "site", bar, overwrite=overwrite)

    say.print("[bold]2[/bold] processing: detect, track, embed, associate")
    settings = load_config(site.root / "site.yaml")
    models = {
        "detector": detector or _packaged("detect"),
        "embedder": embedder or _packaged("embed"),
    }
    settings = settings.model_copy(update={k: v for k, v in models.items() if v is not None})
    run_folder = output / "run"
    with stop_on_signals() as stop, live_progress(silent=as_json) as progress:
        result = process(
            [],
            run_folder,
            settings,
            options=ProcessOptions(overwrite=overwrite),
            progress=progress or SilentProgress(),
            stop=stop,
        )
    if result.run.status == "interrupted":
        say.print(
            f"interrupted; finish with: crosscam process -c {site.root / 'site.yaml'} "
            f"-o {run_folder}"
        )
        return INTERRUPTED
    for kind, model in result.run.models.items():
        say.print(f"  {kind}: {model.name} — {model.source}")

    say.print("[bold]3[/bold] scoring against the exact truth")
    scores = _score(site, run_folder)
    report = run_folder / "report.html"
    figures = result.run.figures
    if as_json:
        click.echo(json.dumps({"scores": scores.json(), "report": str(report)}))
    else:
        say.print(scores.table())
        say.print(
            f"{figures.people} identities for {site.people} people, {result.shared_identities} of "
            f"them in more than one camera; {figures.frames} frames at {figures.fps:.0f} frames/s; "
            f"{time.perf_counter() - began:.0f} s in all"
        )
        say.print(f"[bold]report[/bold]  {report.resolve()}")
    if show:
        webbrowser.open(report.resolve().as_uri())
    return 0


def _packaged(task: Task) -> str | None:
    """What comes with crosscam for a task, where nothing else is at hand: no need to download."""
    from crosscam_deploy.zoo import best_available

    bundle = None if best_available(task, packaged=False) else best_available(task)
    return bundle.manifest.name if bundle else None


def _score(site: SimulatedSite, run_folder: Path) -> MtmcScores:
    """Score a run against the truth of its site and keep the scores beside the run."""
    from crosscam_edge.evaluate import evaluate_mtmc
    from crosscam_edge.evaluate.load import load_cameras
    from crosscam_edge.evaluate.save import save_scores

    truth = load_cameras(site.root, ground_truth=True).tracks
    scores = evaluate_mtmc(truth, load_cameras(run_folder).tracks)
    save_scores(run_folder, scores)
    return scores
