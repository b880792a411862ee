"""The report of `crosscam verify` on the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from crosscam_deploy.verify import Report
    from crosscam_deploy.verify.table import Column


def print_report(report: Report) -> None:
    """Print the table, the reasons of refusals, and what was measured where.

    On a terminal that is too narrow for it, the table comes in two: answers, then costs.
    """
    from rich.console import Console

    from crosscam_deploy.verify.markdown import footer, named
    from crosscam_deploy.verify.table import columns

    console = Console()
    wanted = columns(report)
    width = _width(report, wanted)
    if not console.is_terminal:
        console = Console(width=max(width, 200))  # a file or a pipe has no edge to fold at
    if width <= console.width:
        _print_table(console, report, wanted)
    else:
        _print_table(console, report, [c for c in wanted if c.part != "cost"])
        console.print()
        _print_table(console, report, [c for c in wanted if c.part != "answer"])
    for row in report.rows:
        for reason in row.reasons:
            console.print(f"{named(report, row)}: {reason}", markup=False, highlight=False)
    console.print(footer(report), markup=False, highlight=False)


def _width(report: Report, wanted: Sequence[Column]) -> int:
    texts = ([c.heading, *(c.cell(row) for row in report.rows)] for c in wanted)
    return sum(max(map(len, column)) + 2 for column in texts)


def _print_table(console: Console, report: Report, wanted: Sequence[Column]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in wanted:
        table.add_column(column.heading, justify="right" if column.number else "left")
    styles = {"refused": "yellow", "failed": "red", "built": "cyan"}
    for row in report.rows:
        cells = (Text(column.cell(row)) for column in wanted)  # a name may look like markup
        table.add_row(*cells, style=styles.get(row.status))
    console.print(table, highlight=False)
