"""The report as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam_deploy.verify.table import columns

if TYPE_CHECKING:
    from crosscam_deploy.verify.types import Report, Row

_BUSY = 0.1  # share of the processor that others may use before it is told


def markdown(report: Report) -> str:
    """Return the table, why rows were refused, and what was measured on what."""
    wanted = columns(report)
    lines = [
        "| " + " | ".join(column.heading for column in wanted) + " |",
        "| " + " | ".join("---:" if column.number else "---" for column in wanted) + " |",
    ]
    lines += [
        "| " + " | ".join(_escaped(column.cell(row)) for column in wanted) + " |"
        for row in report.rows
    ]
    reasons = [
        f"* {named(report, row)}: {'; '.join(row.reasons)}" for row in report.rows if row.reasons
    ]
    parts = [
        "\n".join(lines),
        *(["\n".join(map(_escaped, reasons))] if reasons else []),
        footer(report),
    ]
    return "\n\n".join(parts) + "\n"


def named(report: Report, row: Row) -> str:
    """Return what a row is called where it stands alone."""
    how = row.how()
    if len({(each.model, each.model_id) for each in report.rows}) == 1:
        return how
    built = any(each.graph_precision != "f32" for each in report.rows)
    return f"{row.model} {row.graph()}, {how}" if built else f"{row.model}, {how}"


def footer(report: Report) -> str:
    """Return on what and where was measured, in a sentence or two."""
    data, machine = report.data, report.machine
    pictures = sum(data.sets.values())
    things = "crops" if data.kind == "crops" else "frames"
    known = {
        ("crops", True): f"{data.people} people",
        ("frames", True): f"{data.people} labelled boxes",
    }.get((data.kind, data.labelled), "no labels")
    cores = f"{machine.cores} core{'s' if machine.cores > 1 else ''}"
    sets = f" in {len(data.sets)} sets" if len(data.sets) > 1 else ""
    rounds = (
        f"{report.rounds} round{'s' if report.rounds > 1 else ''}"
        if report.rounds
        else ("answers only, nothing was timed")
    )
    text = (
        f"{pictures} {things}{sets} ({known}); {machine.processor}, {cores}; {rounds}; "
        f"{report.created}."
    )
    busy = machine.busy is not None and machine.busy >= _BUSY
    waiting = machine.load is not None and machine.load >= 0.5 * machine.cores
    if report.rounds and (busy or waiting):
        text += " The machine was busy"
        if busy:
            text += f" (others used {machine.busy:.0%} of its processor)"
        elif waiting:
            text += f" (a load of {machine.load:.1f} before the run)"
        text += ": these times are not those of a quiet one."
    return text


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
