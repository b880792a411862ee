"""``python -m crosscam_kernels.aot``."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from crosscam_kernels.aot import ARCHITECTURES, Manifest, compile_kernels
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
@click.option("--jobs", default=2, show_default=True, help="Compilations at a time.")
def main(
    out: Path,
    architectures: tuple[str, ...],
    kernels: tuple[str, ...],
    modules: tuple[str, ...],
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
    Console().print(resource_table(manifest))


def resource_table(manifest: Manifest) -> Table:
    """What each kernel takes on each architecture."""
    longest = max(len(kernel.name) for kernel in manifest.kernels)
    table = Table(
        Column("kernel", min_width=longest),
        "arch",
        "threads",
        "registers",
        "spills",
        "shared",
        "cubin",
    )
    for kernel in manifest.kernels:
        for binary in kernel.binaries:
            table.add_row(
                kernel.name,
                binary.architecture,
                str(binary.block_threads),
                str(binary.registers),
                str(binary.spill_store_bytes + binary.spill_load_bytes),
                str(binary.shared_bytes),
                str(binary.cubin.size),
            )
    return table


if __name__ == "__main__":
    main()
