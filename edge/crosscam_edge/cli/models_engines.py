"""TensorRT's engines of a model, for `crosscam models show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.engines import Engine


def engines_of(bundle: Bundle) -> list[Engine]:
    """Return the engines beside a bundle, then those that this machine has built of it."""
    from crosscam_deploy.engines import EngineStore
    from crosscam_deploy.engines.beside import engines_beside

    built = [each for each in EngineStore() if each.manifest.model_id == bundle.model_id]
    return [*engines_beside(bundle), *built]


def engine_fields(engines: Sequence[Engine]) -> list[dict[str, Any]]:
    """Return what is told of engines in JSON."""
    return [
        {"path": str(engine.path), "manifest": engine.manifest.model_dump(mode="json")}
        for engine in engines
    ]


def print_engines(engines: Sequence[Engine]) -> None:
    """Print a line for each engine."""
    from rich.console import Console
    from rich.table import Table

    from crosscam_deploy.verify.engine_rows import facts

    if not engines:
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("engine", "for", "pictures", "size", "computes in", "folder"):
        table.add_column(heading, overflow="fold")
    for engine in engines:
        told, manifest = facts(engine.manifest), engine.manifest
        table.add_row(
            f"{manifest.flavour} {told.version}",
            told.built_for,
            ", ".join(map(str, told.buckets)),
            f"{told.plan_bytes / 1e6:.3g} MB",
            told.computes_in(),
            str(engine.path),
        )
    click.echo()
    console = Console()
    Console(width=None if console.is_terminal else 200).print(table, highlight=False)
