"""`crosscam data`: check data sets for training, and make masks for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from crosscam_edge.cli.layout import layout_of, layout_options, pattern_option
from crosscam_edge.cli.progress import counting_bar
from crosscam_kernels.errors import InputError, UsageError


@click.group("data", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Check data sets for training and testing re-identification, and make masks for them."""


@command.command("check")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--kind", help="Kind of the set; recognised by its folders if not given.")
@layout_options
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

    how = layout_of(**layout)
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


@command.command("masks")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the masks; those that are in it are kept.",
)
@click.option("--kind", help="Kind of the set; recognised by its folders if not given.")
@pattern_option
def masks_command(path: Path, output: Path, kind: str | None, pattern: str | None) -> None:
    """Make clothes masks for the training pictures of a data set, without any model.

    Where a recipe says who is trained on (--pattern without {split}), all pictures get one: they
    fit whatever it says.

    For methods that hide clothes (ccaf, ccafl+ccaf; data.masks=FOLDER) where nothing better is at
    hand: a rectangle where a standing person's clothes are. Pictures are to be tight boxes. Masks
    of a human parser, one PNG for each picture under its name, do better.
    """
    from crosscam_trainer.data import GenericLayout, PersonSplit, load
    from crosscam_trainer.data.masks import write_masks
    from crosscam_trainer.data.silhouette import BoxParser

    everybody = PersonSplit(train_share=1.0)
    layout = None if pattern is None else GenericLayout(pattern, everybody)
    data = load(path, kind, layout)
    if output.resolve().is_relative_to(data.root.resolve()):
        raise UsageError(
            f"masks in {output}, inside the data set",
            expected="a folder of their own: there they could be taken for pictures",
            fix=f"--output {data.root.resolve().name}-masks",
        )
    made = write_masks(data, BoxParser(), output)
    click.echo(f"{made} masks made, {len(data.train) - made} were there: {output}")
