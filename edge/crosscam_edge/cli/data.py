"""`crosscam data`: check data sets for training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crosscam_edge.cli.progress import counting_bar
from crosscam_kernels.errors import InputError, UsageError

if TYPE_CHECKING:
    from crosscam_trainer.data.readers.generic import GenericLayout


@click.group("data", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Check data sets for training and testing re-identification."""


def _layout(
    pattern: str | None,
    train_share: float,
    split_seed: int,
    query: str,
    query_cameras: tuple[str, ...],
    *,
    intra_camera: bool,
) -> GenericLayout | None:
    from crosscam_trainer.data.readers.generic import GenericLayout
    from crosscam_trainer.data.splits import PersonSplit

    if pattern is None:
        context = click.get_current_context()
        for name in ("train_share", "split_seed", "query", "query_cameras", "intra_camera"):
            if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
                option = "query-camera" if name == "query_cameras" else name.replace("_", "-")
                raise UsageError(f"--{option} without --pattern", fix="give --pattern as well")
        return None
    if query_cameras:
        query = "cameras"
    split = PersonSplit(train_share, split_seed, query, query_cameras)  # type: ignore[arg-type]
    return GenericLayout(pattern, split, intra_camera)


@command.command("check")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--kind", help="Kind of the set; recognised by its folders if not given.")
@click.option(
    "--pattern",
    help="How pictures are named in any other set: '{person}/{camera}_{view}.png'. Fields: person, "
    "camera, clothes, tracklet, frame, split; view, ext and _ match anything.",
)
@click.option(
    "--train-share",
    default=0.5,
    show_default=True,
    help="With --pattern without {split}: share of the people to train on.",
)
@click.option("--split-seed", default=0, show_default=True, help="Chooses these people.")
@click.option(
    "--query",
    type=click.Choice(["one", "all"]),
    default="one",
    show_default=True,
    help="Queries: one picture of each person and camera, or every test picture.",
)
@click.option(
    "--query-camera",
    "query_cameras",
    multiple=True,
    help="Queries: all test pictures of this camera, the gallery the rest; repeatable.",
)
@click.option("--intra-camera", is_flag=True, help="Names of people hold inside a camera only.")
@click.option(
    "--pictures",
    type=click.Choice(["none", "sample", "all"]),
    default="sample",
    show_default=True,
    help="How many pictures are decoded; copies are looked for only among all.",
)
@click.option("--part", is_flag=True, help="It is a part of a set: do not compare counts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check_command(
    ctx: click.Context,
    /,
    path: Path,
    kind: str | None,
    pictures: Any,
    *,
    part: bool,
    as_json: bool,
    **layout: Any,
) -> None:
    """Say what a data set holds, against what it should hold.

    Reads folders, lists and names of Market-1501, DukeMTMC-reID, MSMT17, CUHK03, PRCC, LTCC,
    VC-Clothes, Celeb-reID, DeepChange, LaST, CCVID, of harvested and simulated sites, and of any
    folder with --pattern. Status 3 when it is broken.
    """
    from crosscam_trainer.data.check import check

    how = _layout(**layout)
    with counting_bar("reading", "pictures", silent=as_json) as bar:
        report = check(path, kind, how, pictures=pictures, published=not part, progress=bar)
    if as_json:
        click.echo(json.dumps(report.json(), ensure_ascii=False, indent=2))
    else:
        from rich.console import Console

        from crosscam_trainer.data.table import render

        console = Console()
        if not console.is_terminal:
            console = Console(width=200)  # a file or a pipe has no edge to fold at
        console.print(render(report), highlight=False)
    if not report.ok:
        ctx.exit(InputError.exit_code)
