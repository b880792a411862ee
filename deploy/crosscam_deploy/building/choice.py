"""Which of what was built is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam_kernels.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscam_deploy.building.graphs import Graph
    from crosscam_deploy.verify import Report, Row

# Of two that are as fast within what a measurement tells, the one that is nearer to the original.
_AS_FAST = 0.97
_GRAPH_ORDER = ("f32", "f16", "bf16", "mixed", "fp8", "int8")
# Where nothing is timed: float16 is half the work of float32 on every GPU that is built for, and
# its answers are the same but for rounding; what int8 gains or loses beyond that must be measured.
_UNTIMED_ORDER = ("f16", "bf16", "f32", "int8", "fp8")


def choose(report: Report) -> Row:
    """Return the fastest row that may be used, at the largest batch size.

    Of rows within 3 % of it, the one whose numbers are nearest to the original's.

    Raises:
        RunError: None may be used.
    """
    best = report.fastest()
    if best is None:
        raise _nothing(report)
    size = max(report.batches)
    rows = [row for row in report.rows if row.status == "passed" and row.role != "baseline"]
    top = best.at(size)
    assert top is not None
    close = [
        row
        for row in rows
        if (speed := row.at(size)) and speed.each_per_second >= _AS_FAST * top.each_per_second
    ]
    return min(
        close,
        key=lambda row: (_GRAPH_ORDER.index(row.graph_precision), row.candidate.precision != "f32"),
    )


def choose_untimed(report: Report, graphs: Sequence[Graph]) -> list[tuple[Graph, Row]]:
    """Return the graph of each precision that may be used, with its row; the default one first.

    Of several graphs of a precision it is the first: that with the fewest nodes in float. The model
    as it is was not compared with itself: its row is the reference's.

    Raises:
        RunError: None may be used.
    """
    rows = {row.candidate.bundle: row for row in report.candidates if row.status == "passed"}
    kept: dict[str, tuple[Graph, Row]] = {}
    for graph in graphs:
        whole = graph.step.precision == "f32"
        row = report.reference if whole else rows.get(graph.bundle.path)
        if row is not None:
            kept.setdefault(graph.step.precision, (graph, row))
    if not kept:
        raise _nothing(report)
    return [kept[each] for each in sorted(kept, key=_UNTIMED_ORDER.index)]


def _nothing(report: Report) -> RunError:
    reasons = "; ".join(f"{row.candidate.how()}: {', '.join(row.reasons)}" for row in report.rows)
    return RunError(
        f"nothing that was built may be used ({reasons})", fix="loosen a gate with --gate"
    )
