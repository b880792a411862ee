"""`crosscam doctor`: what is installed, what is missing, what runs where, and how to mend it."""

from __future__ import annotations

import dataclasses
import json

import click

_SIGNS = {"ok": "[green]ok[/]", "info": "[dim]-[/]"}
_SIGNS |= {"warning": "[yellow]warn[/]", "problem": "[red]FAIL[/]"}
_CANNOT_RUN = 4


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Check this machine: engines and decoders are really tried, each problem comes with its fix.

    Status 0 when the main job can run, 4 when it cannot.
    """
    from crosscam_deploy.health import can_run, run_checks

    results = run_checks()
    good = can_run(results)
    if as_json:
        checks = [dataclasses.asdict(result) for result in results]
        click.echo(json.dumps({"can_run": good, "checks": checks}, indent=2, ensure_ascii=False))
    else:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        console = Console()
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(width=4)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        area = None
        for result in results:
            if result.area != area:
                area = result.area
                table.add_row("", f"[bold]{area}[/]", "")
            table.add_row(_SIGNS[result.status], escape(result.name), escape(result.found))
            if result.fix:
                table.add_row("", "", f"[cyan]{escape('-> ' + result.fix)}[/]")
        console.print(table)
        verdict = "the main job can run" if good else "the main job cannot run yet"
        console.print(f"\n[bold {'green' if good else 'red'}]{verdict}[/]")
    if not good:
        ctx.exit(_CANNOT_RUN)
