"""A check's report as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from crosscam_trainer.data.figures import SPLIT_GROUPS

if TYPE_CHECKING:
    from rich.console import RenderableType

    from crosscam_trainer.data.check import Report

_COLUMNS = ("people", "pictures", "cameras", "clothes", "tracklets", "distractors")
_MARKS = {"error": "[red]error[/]", "warning": "[yellow]warning[/]", "note": "[cyan]note[/]"}


def render(report: Report) -> RenderableType:
    """Return a table of figures, each with what it should be where that differs, and findings."""
    parts: list[RenderableType] = [f"[bold]{escape(report.kind)}[/] {escape(str(report.root))}\n"]
    if report.figures["pictures"]:
        parts.append(_figures(report))
    if report.pictures_read:
        parts.append(_pictures(report))
    if report.findings.items:
        parts += ["", _findings(report)]
    return Group(*parts, "", _verdict(report))


def _figures(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    used = [c for c in _COLUMNS if any(n.split(".")[-1] == c for n in report.figures)]
    for column in used:
        table.add_column(column, justify="right")
    for group in SPLIT_GROUPS:
        if f"{group}.pictures" in report.figures:
            table.add_row(group, *(_cell(report, f"{group}.{column}") for column in used))
    table.add_row("all", *(_cell(report, column) for column in used), style="bold")
    if report.figures.get("junk") or "junk" in report.expected:
        row = ["junk, left out", "", _cell(report, "junk")]
        table.add_row(*row, *([""] * (len(used) - 2)))
    return table


def _cell(report: Report, name: str) -> str:
    number = report.figures.get(name)
    wanted = report.expected.get(name)
    if wanted is None:
        return "" if number is None else f"{number:,}"
    if number == wanted.number:
        return f"[green]{number:,}[/]"
    colour = "red" if wanted.sure else "yellow"
    return f"[{colour}]{number or 0:,}[/] [dim]of {wanted.number:,}[/]"


def _pictures(report: Report) -> str:
    total = report.figures["pictures"]
    text = f"\n{report.pictures_read:,} of {total:,} pictures read"
    if report.sizes:
        small, middle, large = (f"{w}x{h}" for w, h in report.sizes)
        text += f"; smallest {small}, median {middle}, largest {large} (width x height)"
    return text


def _findings(report: Report) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    order = {"error": 0, "warning": 1, "note": 2}
    for finding in sorted(report.findings.items, key=lambda item: order[item.severity]):
        table.add_row(_MARKS[finding.severity], escape(finding.found))
        if finding.expected:
            table.add_row("", f"[dim]expected:[/] {escape(finding.expected)}")
        if finding.fix:
            table.add_row("", f"[cyan]{escape('-> ' + finding.fix)}[/]")
    return table


def _verdict(report: Report) -> str:
    errors = len(report.findings.errors)
    if errors:
        return f"[bold red]{errors} {'error' if errors == 1 else 'errors'}[/]"
    if report.expected:
        return "[bold green]complete and sound[/]"
    return "[bold green]sound[/]"
