"""One page that shows a run to people: who was where, why the ids are what they are, and figures.

The page is a single file without outside references (the videos beside it are linked); everything
a user could have typed (camera names, paths) is escaped by the template.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from crosscam_deploy.redact import redact
from crosscam_edge.report.colours import camera_hex, hex_of, identity_rgb, readable_on
from crosscam_edge.report.journeys import (
    NONE,
    Span,
    Stay,
    bars_of,
    duration,
    span_of,
    stays_of,
    steps_of,
    timeline,
)
from crosscam_edge.report.sections import (
    calibration_view,
    camera_rows,
    scores_view,
    stage_view,
    transit_rows,
)
from crosscam_edge.report.thumbs import thumbs_of
from crosscam_edge.sinks.atomic import write_text
from crosscam_edge.sinks.run_file import read_identities, read_run
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from crosscam_edge.sinks.run_file import IdentityRecord, RunFile, TrackletRecord
    from crosscam_edge.sinks.schema import CameraInfo

_MAX_STEPS = 8
_MAX_LINEAGE = 40
_MAX_BARS = 60
_LOW_MARGIN = 0.05


def write_report(out: Path) -> Path:
    """Write `report.html` of a run.

    Reads `run.json` and `identities.json`, and where present `crops/`, `video/` and `eval.json`.

    Args:
        out: Folder that `crosscam process` wrote.

    Returns:
        Path of the page.

    Raises:
        InputError: A file of the run is missing or broken, or the folder cannot be written.
        RunError: The disk is full.
    """
    run, identities = read_run(out), read_identities(out).identities
    page = out / "report.html"
    write_text(page, _render(_view(out, run, identities)))
    return page


def _render(view: dict[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("crosscam_edge.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["redact"] = redact
    loader = environment.loader
    assert loader is not None
    script = loader.get_source(environment, "report.js")[0]
    style = loader.get_source(environment, "report.css")[0]
    digest = hashlib.sha256(script.encode()).digest()
    # Our own files, free of anything a user gave.
    own = {"script": Markup(script), "style": Markup(style)}  # noqa: S704
    template = environment.get_template("report.html.j2")
    return template.render(**view, **own, script_hash=base64.b64encode(digest).decode())


def _view(out: Path, run: RunFile, identities: list[IdentityRecord]) -> dict[str, Any]:
    cameras = run.camera_infos()
    numbers = {camera.camera_id: camera.number for camera in cameras}
    for identity in identities:
        for t in identity.tracklets:
            if t.camera_id not in numbers:
                raise InputError(
                    f"identity {identity.global_id} of identities.json was in camera "
                    f"{t.camera_id!r}",
                    expected=f"one of the cameras in run.json: {sorted(numbers)}",
                )
    span = span_of(identities, cameras)
    stays = {i.global_id: stays_of(i) for i in identities}
    ranked = sorted(identities, key=lambda i: (-len(i.cameras), i.start_ns, i.global_id))
    thumbs = thumbs_of(out, ranked, cameras)
    tracks = dict.fromkeys(numbers, 0)
    for identity in identities:
        for t in identity.tracklets:
            tracks[t.camera_id] += 1
    return {
        "run": run,
        "cameras": cameras,
        "span": span,
        "figures": _figures(run, identities),
        "crossing": sum(len(i.cameras) > 1 for i in identities),
        "videos": _videos(out, cameras),
        "timeline": timeline(stays, cameras, span),
        "identities": [
            _person(i, stays[i.global_id], thumbs.by_id[i.global_id], span, numbers) for i in ranked
        ],
        "thumbs": thumbs,
        "transits": {"rows": transit_rows(run, cameras)},
        "camera_rows": camera_rows(stays, tracks, cameras),
        "scores": scores_view(out),
        "calibration": calibration_view(run.calibration),
        "stages": stage_view(run),
        "models": list(run.models.items()),
        "inputs": [_input(i.path, i.bytes, i.codec) for i in run.inputs[:200]],
        "dropped": [(reason, n) for reason, n in run.figures.dropped.items() if n],
    }


def _figures(run: RunFile, identities: Sequence[IdentityRecord]) -> list[tuple[str, str, str]]:
    f = run.figures
    videos = len(run.inputs) or len(run.cameras)
    rows = [
        ("People", str(len(identities)), f"in {f.tracklets} tracks"),
        ("Videos", str(videos), f"{duration(f.video_seconds)} of footage"),
        ("Frames", f"{f.frames:,}".replace(",", "\N{NARROW NO-BREAK SPACE}"), ""),
        ("Took", duration(f.wall_seconds), ""),
        ("Speed", f"{f.fps:.1f} fps", _times(f.video_seconds, f.wall_seconds)),
    ]
    if f.peak_memory_bytes:
        rows.append(("Peak memory", f"{f.peak_memory_bytes / 2**20:.0f} MiB", ""))
    return rows


def _times(footage: float, wall: float) -> str:
    return f"{footage / wall:.1f} times real time" if wall > 0 and footage > 0 else ""


def _videos(out: Path, cameras: Sequence[CameraInfo]) -> dict[str, Any]:
    mosaic = "video/mosaic.mp4" if (out / "video" / "mosaic.mp4").is_file() else ""
    each = [
        {
            "name": camera.camera_id,
            "url": "video/" + quote(f"{camera.stem}.mp4"),
            "colour": camera_hex(camera.number),
        }
        for camera in cameras
        if (out / "video" / f"{camera.stem}.mp4").is_file()
    ]
    return {"mosaic": mosaic, "cameras": each}


def _person(
    identity: IdentityRecord,
    stays: list[Stay],
    thumbs: list[dict[str, Any]],
    span: Span,
    numbers: dict[str, int],
) -> dict[str, Any]:
    rgb = identity_rgb(identity.global_id)
    seconds = sum(stay.seconds for stay in stays)
    margins = [t.margin for t in identity.tracklets if t.margin is not None]
    return {
        "id": identity.global_id,
        "colour": hex_of(rgb),
        "ink": hex_of(readable_on(rgb)),
        "names": identity.cameras,
        "numbers": sorted(numbers[name] for name in identity.cameras),
        "seconds": round(seconds, 1),
        "duration": duration(seconds),
        "start": identity.start_ns // 1_000_000,
        "margin": round(min(margins), 4) if margins else None,
        "thumbs": thumbs,
        "bars": bars_of(stays[:_MAX_BARS], span, numbers),
        "steps": steps_of(stays[:_MAX_STEPS], span, numbers),
        "more_steps": max(0, len(stays) - _MAX_STEPS),
        "lineage": [_lineage(t, span) for t in identity.tracklets[:_MAX_LINEAGE]],
        "more_lineage": max(0, len(identity.tracklets) - _MAX_LINEAGE),
    }


def _lineage(t: TrackletRecord, span: Span) -> dict[str, Any]:
    reason = "first seen" if t.matched_to is None else "joined to "
    if t.matched_to is not None:
        reason += f"{t.matched_to.camera_id} #{t.matched_to.track_id}"
    runner_up = _number(t.runner_up)
    if t.runner_up is not None and t.runner_up_id:
        runner_up += f" (id {t.runner_up_id})"
    return {
        "camera": t.camera_id,
        "track": t.track_id,
        "start": span.clock(t.start_ns),
        "reason": reason,
        "score": _number(t.score),
        "runner_up": runner_up,
        "margin": _number(t.margin),
        "low": t.margin is not None and t.margin < _LOW_MARGIN,
    }


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"


def _input(path: str, size: int | None, codec: str | None) -> dict[str, str]:
    parts = [codec or "", f"{size / 1e6:.1f} MB" if size is not None else ""]
    return {"path": path, "note": ", ".join(part for part in parts if part)}
