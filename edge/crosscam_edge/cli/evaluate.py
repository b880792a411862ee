"""`crosscam eval`: score tracks against ground truth, and models on data sets."""

from __future__ import annotations

import json
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crosscam_edge.cli.evaluate_reid import command as reid

if TYPE_CHECKING:
    from collections.abc import Callable

    from crosscam_edge.evaluate import MtmcScores, TrackScores

_PATH = click.Path(path_type=Path)


@click.group(name="eval", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Score tracks against ground truth, and models on the pictures of a data set.

    Tracks: CLEAR, HOTA, identity, as TrackEval computes them. Models: mAP, rank-k, mINP.
    """


command.add_command(reid)


def _common(function: Callable[..., None]) -> Callable[..., None]:
    options = (
        click.argument("gt", type=_PATH),
        click.argument("pred", type=_PATH),
        click.option("--iou", default=0.5, show_default=True, help="Least overlap of a match."),
        click.option(
            "--min-visibility",
            default=0.0,
            show_default=True,
            help="Do not ask for people less visible than this (0 to 1).",
        ),
        click.option(
            "--ignore-below-height",
            default=0.0,
            show_default=True,
            help="Do not ask for people lower than this many pixels.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print JSON with full precision."),
        click.option(
            "--save",
            is_flag=True,
            help="Also write eval.json into PRED, a folder of `process`, and renew its report.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def _with_options(function: Callable[..., None]) -> Callable[..., None]:
    @wraps(function)
    def run(iou: float, min_visibility: float, ignore_below_height: float, **rest: Any) -> None:
        from crosscam_edge.evaluate import EvalOptions

        function(options=EvalOptions(iou, min_visibility, ignore_below_height), **rest)

    return run


@command.command()
@_common
@click.option("--camera", help="Which camera, when a folder has several.")
@_with_options
def tracks(
    gt: Path, pred: Path, camera: str | None, options: Any, as_json: bool, save: bool
) -> None:
    """Score the tracks of one camera.

    GT and PRED are MOT files, or folders (of MOT files, of `crosscam process`, of a simulated
    site); --camera chooses when a folder has several cameras.
    """
    from crosscam_edge.evaluate import evaluate_mot
    from crosscam_edge.evaluate.load import load_one

    truth = load_one(gt, camera, ground_truth=True)
    scores = evaluate_mot(truth, load_one(pred, camera), options)
    _deliver(scores, pred, as_json=as_json, save=save)


@command.command()
@_common
@_with_options
def mtmc(gt: Path, pred: Path, options: Any, as_json: bool, save: bool) -> None:
    """Score tracks with global ids over several cameras.

    GT is a folder of MOT files, an MTMC file, or a simulated site; PRED is one of these or a
    folder of `crosscam process`.
    """
    from crosscam_edge.evaluate import evaluate_mtmc
    from crosscam_edge.evaluate.load import load_cameras, match_names

    truth, found = match_names(load_cameras(gt, ground_truth=True), load_cameras(pred))
    scores = evaluate_mtmc(truth, found, options)
    _deliver(scores, pred, as_json=as_json, save=save)
    if scores.missing:
        click.echo(f"note: no tracks for {', '.join(scores.missing)}; all missed", err=True)
    if scores.left_out:
        click.echo(f"note: no ground truth for {', '.join(scores.left_out)}; left out", err=True)


def _deliver(scores: TrackScores | MtmcScores, pred: Path, *, as_json: bool, save: bool) -> None:
    from rich.console import Console

    if save:
        from crosscam_edge.evaluate.save import save_scores

        save_scores(pred, scores)
    if as_json:
        click.echo(json.dumps(scores.json(), allow_nan=False))
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a file or a pipe has no edge to fold at
    console.print(scores.table())
