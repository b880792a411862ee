"""The parts of the page below the people: transits, cameras, calibration, scores, stages."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any

from crosscam_edge.report.colours import camera_hex
from crosscam_edge.report.journeys import NONE, duration
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from crosscam_edge.report.journeys import Stay
    from crosscam_edge.sinks.run_file import CalibrationRecord, RunFile
    from crosscam_edge.sinks.schema import CameraInfo

_WIDTH, _HEIGHT, _BASE = 720, 250, 220
_SCORES = {
    "MOTA": ("clear", "mota"),
    "IDF1": ("identity", "idf1"),
    "HOTA": ("hota", "hota"),
    "DetA": ("hota", "deta"),
    "AssA": ("hota", "assa"),
    "Recall": ("clear", "recall"),
    "Precision": ("clear", "precision"),
}
_COUNTS = {"FP": "fp", "FN": "fn", "IDSW": "idsw", "Frag": "frag"}


def transit_rows(run: RunFile, cameras: Sequence[CameraInfo]) -> list[dict[str, Any]]:
    """Return the transit matrix; no rows when nobody moved."""
    seconds = {(t.from_camera, t.to_camera): t.seconds for t in run.transits if t.seconds}
    most = max((len(s) for s in seconds.values()), default=0)
    rows = []
    for a in cameras if seconds else ():
        cells = []
        for b in cameras:
            times = seconds.get((a.camera_id, b.camera_id), [])
            median = duration(statistics.median(times)) if times else ""
            heat = round(8 + 37 * len(times) / most)
            cells.append({"count": len(times), "median": median, "heat": heat})
        rows.append({"name": a.camera_id, "cells": cells})
    return rows


def camera_rows(
    stays: dict[int, list[Stay]], tracks: dict[str, int], cameras: Sequence[CameraInfo]
) -> list[dict[str, Any]]:
    """Return one line of figures per camera."""
    where = {gid: {s.camera_id for s in list_} for gid, list_ in stays.items()}
    rows = []
    for camera in cameras:
        name = camera.camera_id
        mine = [s for list_ in stays.values() for s in list_ if s.camera_id == name]
        people = [gid for gid, names in where.items() if name in names]
        length = camera.frames / camera.frame_rate
        rows.append(
            {
                "name": name,
                "colour": camera_hex(camera.number),
                "people": len(people),
                "only": sum(len(where[gid]) == 1 for gid in people),
                "peak": _peak(mine),
                "tracks": tracks.get(name, 0),
                "median": duration(statistics.median(s.seconds for s in mine)) if mine else NONE,
                "footage": f"{duration(length)} ({camera.frames} frames)",
                "picture": f"{camera.width} by {camera.height}, {camera.frame_rate:g} frames/s",
            }
        )
    return rows


def calibration_view(record: CalibrationRecord | None) -> dict[str, Any] | None:
    """Return the histogram of scores; None when there is nothing to show."""
    if record is None or len(record.bin_edges) < 2:
        return None
    low, high = record.bin_edges[0], record.bin_edges[-1]

    def x(value: float) -> float:
        return round(20 + (value - low) / (high - low) * (_WIDTH - 40), 1)

    def outline(counts: list[int]) -> str:
        total, top = sum(counts), max(counts, default=0)
        if not total or not top:
            return ""
        parts = [f"M{x(low)} {_BASE}"]
        for edge, after, count in zip(record.bin_edges, record.bin_edges[1:], counts, strict=False):
            y = round(_BASE - count / top * (_BASE - 24), 1)
            parts.append(f"V{y}H{x(after)}" if edge != low else f"H{x(edge)}V{y}H{x(after)}")
        return "".join(parts) + f"V{_BASE}Z"

    learned = record.source == "run"
    text = (
        "Learned from this footage: two people seen at once in one camera are certainly different, "
        "two halves of a track are certainly one."
        if learned
        else "Too few certain pairs in this footage; the threshold comes with the model."
    )
    rates = []
    if record.fmr is not None:
        rates.append(f"false match rate {100 * record.fmr:.2f} %")
    if record.fnmr is not None:
        rates.append(f"false non-match rate {100 * record.fnmr:.2f} %")
    return {
        "text": f"{text} Each curve is scaled to its own peak; the dashed line is the threshold.",
        "width": _WIDTH,
        "height": _HEIGHT,
        "base": _BASE,
        "genuine": outline(record.genuine),
        "impostor": outline(record.impostor),
        "genuines": sum(record.genuine),
        "impostors": sum(record.impostor),
        "threshold": f"{record.threshold:.3f}",
        "threshold_x": min(max(x(record.threshold), 20.0), _WIDTH - 20.0),
        "ticks": [
            {"x": x(low + (high - low) * k / 6), "text": f"{low + (high - low) * k / 6:.2f}"}
            for k in range(7)
        ],
        "rates": rates,
    }


def scores_view(out: Path) -> dict[str, Any] | None:
    """Return the scores of `eval.json`, or None when the folder has none.

    Raises:
        InputError: The file is there but does not hold scores of `crosscam eval`.
    """
    path = out / "eval.json"
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if "union" not in data:
            rows, lines = [_score_row("all", data, total=False)], []
        else:
            rows = [_score_row(n, s, total=False) for n, s in data["cameras"].items()]
            rows.append(_score_row("all cameras", data["union"], total=True))
            lines = _score_lines(data)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(
            f"{path} does not hold scores ({error!r})",
            expected="what `crosscam eval … --save` writes",
            fix="delete it or run `crosscam eval` again",
        ) from error
    return {"columns": [*_SCORES, *_COUNTS], "rows": rows, "lines": lines}


def _score_row(name: str, scores: dict[str, Any], *, total: bool) -> dict[str, Any]:
    cells = [f"{100 * float(scores[part][key]):.1f}" for part, key in _SCORES.values()]
    cells += [str(int(scores["clear"][key])) for key in _COUNTS.values()]
    return {"name": name, "cells": cells, "total": total}


def _score_lines(data: dict[str, Any]) -> list[str]:
    x, p = data["cross_camera"], data["pairs"]
    return [
        f"Identity across cameras: IDF1 {100 * x['idf1']:.1f}, precision {100 * x['idp']:.1f}, "
        f"recall {100 * x['idr']:.1f}, of {int(data['cross_camera_people'])} people in two or "
        "more cameras.",
        f"Pairs of tracks across cameras: F1 {100 * p['f1']:.1f}, precision "
        f"{100 * p['precision']:.1f}, recall {100 * p['recall']:.1f} ({int(p['joined'])} joined, "
        f"{int(p['same'])} true).",
    ]


def stage_view(run: RunFile) -> list[dict[str, Any]]:
    """Return the stages with their share of the summed time."""
    stages = {n: s for n, s in run.figures.stage_seconds.items() if n != "inference"}
    total = sum(stages.values())  # inference is a part of detect and embed
    return [
        {
            "name": name,
            "weight": round(seconds / total, 5),
            "share": f"{100 * seconds / total:.1f} %",
            "seconds": duration(seconds),
        }
        for name, seconds in stages.items()
        if total > 0 and seconds > 0
    ]


def _peak(stays: list[Stay]) -> int:
    events = sorted([(s.start_ns, 1) for s in stays] + [(s.end_ns + 1, -1) for s in stays])
    most = now = 0
    for _, change in events:
        now += change
        most = max(most, now)
    return most
