"""The report as one page without outside references and without scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jinja2

from crosscam_deploy.verify.markdown import footer, named
from crosscam_deploy.verify.table import columns

if TYPE_CHECKING:
    from crosscam_deploy.verify.types import Report

_WORDS = {
    "passed": "may be used",
    "refused": "refused",
    "failed": "failed",
    "built": "built, not run",
}


def html(report: Report) -> str:
    """Return the page; whatever a bundle or a folder is called is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("crosscam_deploy.verify"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(**_view(report))


def _view(report: Report) -> dict[str, Any]:
    wanted = columns(report)
    machine = report.machine
    return {
        "title": report.reference.model,
        "task": "embedder" if report.task == "embed" else "detector",
        "created": report.created,
        "verdict": _verdict(report),
        "footer": footer(report),
        "columns": wanted,
        "rows": [
            {
                "status": row.status,
                "role": row.role,
                "cells": [(column.cell(row), column.number) for column in wanted],
            }
            for row in report.rows
        ],
        "reasons": [(named(report, row), row.reasons) for row in report.rows if row.reasons],
        "charts": [_bars(report, batch) for batch in report.batches],
        "gates": [
            (name.replace("_", " "), "not asked for" if value is None else f"{value:g}")
            for name, value in report.gates.model_dump().items()
        ],
        "facts": [
            ("processor", f"{machine.processor}, {machine.cores} cores"),
            ("memory", f"{machine.memory_bytes / 2**30:.1f} GiB"),
            ("system", machine.system),
            *machine.versions.items(),
        ],
        "sets": list(report.data.sets.items()),
        "things": report.data.kind,
    }


def _verdict(report: Report) -> str:
    parts = []
    for status, words in _WORDS.items():
        number = sum(row.status == status for row in report.candidates)
        if number:
            parts.append(f"{number} {words}")
    return ", ".join(parts) or "only the reference was measured"


def _bars(report: Report, batch: int) -> dict[str, Any]:
    """Return how long the bar of each timed row is, in per cent of the longest."""
    timed = [(row, speed) for row in report.rows if (speed := row.at(batch)) is not None]
    longest = max((speed.each_per_second for _, speed in timed), default=1.0)
    return {
        "batch": batch,
        "bars": [
            {
                "name": named(report, row),
                "status": row.status if row.role == "candidate" else row.role,
                "share": round(100 * speed.each_per_second / longest, 2),
                "rate": f"{speed.each_per_second:.4g}",
                "ratio": f"{speed.ratio:.2f}x" if speed.ratio is not None else "",
            }
            for row, speed in sorted(timed, key=lambda pair: -pair[1].each_per_second)
        ],
    }
