"""The report as a table: what each cell says, for the console, Markdown and HTML alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from crosscam_deploy.verify.types import DetectAccuracy, EmbedAccuracy

if TYPE_CHECKING:
    from collections.abc import Callable

    from crosscam_deploy.verify.types import Report, Row

NONE = "\N{EN DASH}"


class Column(NamedTuple):
    """A column.

    Attributes:
        heading: Its title.
        meaning: What it tells, in a sentence.
        cell: What it says of a row.
        number: Whether it is aligned as a number.
        part: What it belongs to, where one table is too wide: which row it is, what it answers, or
            what it costs.
    """

    heading: str
    meaning: str
    cell: Callable[[Row], str]
    number: bool = True
    part: Literal["row", "answer", "cost"] = "row"


def columns(report: Report) -> list[Column]:
    """Return the columns that a report has something to say in."""
    several = len({(row.model, row.model_id) for row in report.rows}) > 1
    out = []
    if several:
        out.append(Column("model", "name of the bundle", lambda row: row.model, number=False))
    if any(row.graph_precision != "f32" for row in report.rows):
        out.append(
            Column(
                "graph",
                "numbers the graph was written for",
                lambda row: row.graph(),
                number=False,
            )
        )
    out.append(Column("runs in", "engine and its settings", lambda row: row.how(), number=False))
    out.append(Column("verdict", "whether it may be used", _verdict, number=False))
    answers = _embed(report) if report.task == "embed" else _detect(report)
    costs: list[Column] = []
    for batch in report.batches if report.rounds else ():
        costs += _speed(report, batch, "crops" if report.task == "embed" else "frames")
    costs += [
        Column(
            "memory",
            "most that its process held while running",
            lambda row: _mega(row.running_memory_bytes),
        ),
        Column("file", "size of the bundle's files", lambda row: _mega(row.file_bytes)),
    ]
    if any(row.engine for row in report.rows):
        costs += _engine()
    out += [column._replace(part="answer") for column in answers]
    return out + [column._replace(part="cost") for column in costs]


def _verdict(row: Row) -> str:
    if row.status == "built":
        return "built, not run"
    return row.role if row.role != "candidate" and row.status == "passed" else row.status


def _engine() -> list[Column]:
    return [
        Column(
            "engine",
            "size of TensorRT's engine",
            lambda row: _mega(row.engine.plan_bytes if row.engine else None),
        ),
        Column(
            "computes in",
            "layers of the finished engine, as TensorRT's inspector tells, or, where there was no "
            "GPU to open it on, convolutions and products that TensorRT read from the graph",
            lambda row: row.engine.computes_in() if row.engine else NONE,
            number=False,
        ),
    ]


def _mega(size: int | None) -> str:
    return (
        NONE if size is None else f"{size / 1e6:.3g} MB" if size < 1e8 else f"{size / 1e6:.0f} MB"
    )


def _embed(report: Report) -> list[Column]:
    def cell(name: str, digits: int, factor: float = 1.0) -> Callable[[Row], str]:
        def text(row: Row) -> str:
            found = row.accuracy
            value = getattr(found, name) if isinstance(found, EmbedAccuracy) else None
            return NONE if value is None else f"{factor * value:.{digits}f}"

        return text

    def changed(name: str) -> Callable[[Row], str]:
        return lambda row: _with_change(row, name, f"{name}_change")

    out = [
        Column("cos mean", "mean cosine to the reference", cell("cosine_mean", 4)),
        Column("cos min", "cosine of the worst crop", cell("cosine_min", 4)),
        Column(
            "top-1 same",
            "queries whose nearest crop is the reference's, in per cent",
            cell("top1_agreement", 1, 100),
        ),
    ]
    if report.data.labelled:
        out += [
            Column("mAP", "mean average precision, change in points", changed("mean_ap")),
            Column("R1", "rank-1, change in points", changed("rank1")),
        ]
    return out


def _detect(report: Report) -> list[Column]:
    def common(row: Row) -> str:
        found = row.accuracy
        return f"{100 * found.agreement:.1f}" if isinstance(found, DetectAccuracy) else NONE

    truth = "labels" if report.data.labelled else "the reference's boxes"
    return [
        Column(
            "AP50",
            f"average precision at IoU 0.5 against {truth}, change in points",
            lambda row: _with_change(row, "average_precision", "average_precision_change"),
        ),
        Column(
            "recall",
            "with at most one false box a frame, change in points",
            lambda row: _with_change(row, "recall", "recall_change"),
        ),
        Column("in common", "boxes that the reference and it both have, in per cent", common),
    ]


def _with_change(row: Row, name: str, change: str) -> str:
    value = getattr(row.accuracy, name, None)
    if value is None:
        return NONE
    moved = getattr(row.accuracy, change)
    if row.role == "reference" or moved is None:
        return f"{100 * value:.2f}"
    return f"{100 * value:.2f} ({100 * moved:+.2f})"


def _speed(report: Report, batch: int, things: str) -> list[Column]:
    def cell(text: Callable[[Row], str | None]) -> Callable[[Row], str]:
        return lambda row: (text(row) if row.at(batch) else None) or NONE

    def times(row: Row) -> str | None:
        speed = row.at(batch)
        return f"{_ms(speed.ms_median)} / {_ms(speed.ms_p95)}" if speed else None

    def rate(row: Row) -> str | None:
        speed = row.at(batch)
        return f"{speed.each_per_second:.4g}" if speed else None

    def ratio(row: Row) -> str | None:
        speed = row.at(batch)
        return f"{speed.ratio:.2f}x" if speed and speed.ratio is not None else None

    out = [
        Column(
            f"ms, batch {batch}", f"of a batch of {batch}: median / 95th percentile", cell(times)
        ),
        Column(f"{things}/s, batch {batch}", "median over rounds", cell(rate)),
    ]
    if any(ratio(row) for row in report.rows):
        meaning = "times as fast as the baseline, median over rounds"
        out.append(Column(f"x, batch {batch}", meaning, cell(ratio)))
    return out


def _ms(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
