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
    live_progress,
    rendering_bar,
    stop_on_signals,
)

if TYPE_CHECKING:
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
@click.option("--people", default=8, show_default=True, help="Number of people on the site.")
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
    from crosscam_edge.report.html import write_report
    from crosscam_edge.simulate import SiteConfig, simulate

    say = Console(stderr=as_json)
    began = time.perf_counter()
    say.print(f"[bold]1[/bold] rendering {cameras} cameras, {people} people, {seconds:g} s each")
    config = SiteConfig(people=people, cameras=cameras, seconds=seconds, seed=seed)
    with rendering_bar(silent=as_json) as bar:
        site = simulate(config, output / "site", bar, overwrite=overwrite)

    say.print("[bold]2[/bold] processing: detect, track, embed, associate")
    settings = load_config(site.root / "site.yaml")
    models = {"detector": detector, "embedder": embedder}
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
    report = write_report(run_folder)  # again: it shows the scores when there are some
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


def _score(site: SimulatedSite, run_folder: Path) -> MtmcScores:
    """Score a run against the truth of its site and keep the scores beside the run."""
    from crosscam_edge.evaluate import evaluate_mtmc
    from crosscam_edge.sinks.atomic import write_text
    from crosscam_edge.sinks.mot import read_mot
    from crosscam_edge.sinks.mtmc import read_mtmc

    truth = {name: read_mot(site.root / "gt" / "mot" / f"{name}.txt") for name in site.cameras}
    numbered = read_mtmc(run_folder / "mtmc.txt")
    found = {name: numbered[n] for n, name in enumerate(site.cameras, 1) if n in numbered}
    scores = evaluate_mtmc(truth, found)
    write_text(run_folder / "eval.json", json.dumps(scores.json(), indent=1) + "\n")
    return scores
