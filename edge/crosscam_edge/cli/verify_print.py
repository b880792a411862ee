"""The report of `crosscam verify` on the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crosscam_deploy.verify import Report


def print_report(report: Report) -> None:
    """Print the table, the reasons of refusals, and what was measured where."""
    from rich.console import Console
    from rich.table import Table

    from crosscam_deploy.verify.markdown import footer, named
    from crosscam_deploy.verify.table import columns

    console = Console()
    if not console.is_terminal:
        console = Console(width=300)  # a file or a pipe has no edge to fold at
    wanted = columns(report)
    table = Table(box=None, pad_edge=False)
    for column in wanted:
        table.add_column(column.heading, justify="right" if column.number else "left")
    styles = {"refused": "yellow", "failed": "red"}
    for row in report.rows:
        table.add_row(*(column.cell(row) for column in wanted), style=styles.get(row.status))
    console.print(table, highlight=False)
    for row in report.rows:
        for reason in row.reasons:
            console.print(f"{named(report, row)}: {reason}", markup=False, highlight=False)
    console.print(footer(report), markup=False, highlight=False)
