"""``python -m crosscam_kernels.aot``."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from crosscam_kernels.aot import ARCHITECTURES, compile_kernels
from crosscam_kernels.aot.tables import resource_page, resource_table
from crosscam_kernels.errors import CrosscamError


@click.command(name="python -m crosscam_kernels.aot")
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of PTX, cubins and manifest.json; made when missing.",
)
@click.option(
    "--arch",
    "architectures",
    multiple=True,
    type=click.Choice(list(ARCHITECTURES)),
    help="Architecture to compile for; may be repeated. Default: all.",
)
@click.option(
    "--kernel", "kernels", multiple=True, help="Name of a kernel; may be repeated. Default: all."
)
@click.option(
    "--module",
    "modules",
    multiple=True,
    help="Module that lists kernels in AOT_KERNELS; may be repeated. Default: those of crosscam.",
)
@click.option(
    "--table",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the resources of the kernels to this file, as Markdown.",
)
@click.option("--jobs", default=2, show_default=True, help="Compilations at a time.")
def main(
    out: Path,
    architectures: tuple[str, ...],
    kernels: tuple[str, ...],
    modules: tuple[str, ...],
    table: Path | None,
    jobs: int,
) -> None:
    """Compile the Triton kernels to PTX and cubins, without a GPU."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    try:
        with Progress(*columns, TimeElapsedColumn(), console=console) as bar:
            task = bar.add_task("starting", total=None)
            manifest = compile_kernels(
                out,
                architectures=architectures or None,
                kernels=kernels or None,
                modules=modules or None,
                jobs=jobs,
                progress=lambda done, total, name: bar.update(
                    task, completed=done, total=total, description=name
                ),
            )
    except CrosscamError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    if table is not None:
        table.write_text(resource_page(manifest), encoding="utf-8")
    Console().print(resource_table(manifest))


if __name__ == "__main__":
    main()
