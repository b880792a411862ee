"""The tracklets that a run has left, recorded or live, with the looks of one model."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from crosscam_edge.associate.config import AssociationConfig
from crosscam_edge.gallery.rows import tracklet_of
from crosscam_edge.gallery.schema import APPLICATION_ID
from crosscam_edge.report.rows import tables_of
from crosscam_edge.sinks.run_file import RunStatus, read_run
from crosscam_edge.track.tracklets import ExemplarSet
from crosscam_edge.types import Tracklet
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GALLERY = "gallery.db"
_EXEMPLARS = 16
_MOST = 2500  # tracklets, the latest: beyond, more of them teach nothing


@dataclass(slots=True)
class Footage:
    """What a run has seen.

    Attributes:
        model_id: The model of all embeddings.
        tracklets: In order of time, at most 2,500: the latest.
        site: What was known of the site.
        left_out: Tracklets that were not taken, by reason.
    """

    model_id: str
    tracklets: list[Tracklet]
    site: AssociationConfig = field(default_factory=AssociationConfig)
    left_out: Counter[str] = field(default_factory=Counter)


def read_footage(run: Path) -> Footage:
    """Read the tracklets of a folder of `crosscam process`, or of `crosscam run`.

    Raises:
        InputError: It is neither, it is not finished or cannot be read, or nobody was seen.
    """
    live = (run / GALLERY).is_file() and not (run / "run.json").is_file()
    footage = _of_gallery(run / GALLERY) if live else _of_run(run)
    if not footage.tracklets:
        raise InputError(
            f"'{run}' holds nobody's looks", expected="a run in which people were seen"
        )
    footage.tracklets.sort(key=lambda t: (t.start_ns, t.camera_id, t.track_id))
    surplus = len(footage.tracklets) - _MOST
    if surplus > 0:
        footage.left_out["tracklets too many"] += surplus
        del footage.tracklets[:surplus]
    return footage


def _of_run(run: Path) -> Footage:
    record = read_run(run)
    if record.status is RunStatus.RUNNING:
        raise InputError(
            f"the run in '{run}' is not finished",
            expected="one that is complete, or was interrupted",
            fix="wait for it, or repeat its command",
        )
    models: set[str] = set()
    tracklets = []
    for camera in record.camera_infos():
        looks = _looks(run, camera.camera_id, models)
        size = (camera.width, camera.height)
        tracklets += list(_tracks(run, camera.camera_id, size, looks))
    if len(models) > 1:
        raise InputError(
            f"'{run}' holds embeddings of {len(models)} models", expected="those of one model"
        )
    return Footage(next(iter(models), ""), tracklets)


def _looks(run: Path, camera_id: str, models: set[str]) -> dict[int, ExemplarSet]:
    """Return a bounded, diverse sample of each track's crops, as a live tracklet keeps one."""
    columns = ("track_id", "time_ns", "quality", "model_id", "embedding")
    out: dict[int, ExemplarSet] = {}
    for table in tables_of(run / "embeddings.parquet", camera_id, columns):
        models.update(table["model_id"].unique().to_pylist())
        values = (table[name].to_pylist() for name in ("track_id", "time_ns", "quality"))
        for track, time_ns, quality, row in zip(*values, table["embedding"], strict=True):
            found = out.setdefault(track, ExemplarSet(_EXEMPLARS))
            found.add(row.values.to_numpy(), quality, time_ns)
    return out


def _tracks(
    run: Path, camera_id: str, size: tuple[int, int], looks: dict[int, ExemplarSet]
) -> Iterator[Tracklet]:
    columns = ("track_id", "frame", "time_ns", "interpolated")
    spans: dict[int, list[int]] = {}  # first and last time, first and last frame, sights
    for table in tables_of(run / "tracks.parquet", camera_id, columns):
        for track, frame, time_ns, guessed in zip(
            *(table[name].to_pylist() for name in columns), strict=True
        ):
            if guessed:
                continue
            span = spans.setdefault(track, [time_ns, time_ns, frame, frame, 0])
            span[0], span[1] = min(span[0], time_ns), max(span[1], time_ns)
            span[2], span[3] = min(span[2], frame), max(span[3], frame)
            span[4] += 1
    nowhere = np.zeros(4, np.float32)
    for track, (start, end, first, last, sights) in spans.items():
        seen = looks.get(track)
        if seen is None:
            continue
        order = np.argsort(seen.times_ns, kind="stable")
        yield Tracklet(
            camera_id, track, start, end, first, last, sights, nowhere, nowhere, size,
            seen.embeddings[order], seen.times_ns[order], seen.qualities[order],
        )  # fmt: skip


def _of_gallery(path: Path) -> Footage:
    """Read what a live run keeps, also while it goes on; of several models the one used last."""
    try:
        connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)
    except sqlite3.Error as error:
        raise _unusable(path, str(error)) from error
    try:
        connection.row_factory = sqlite3.Row
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise _unusable(path, "it is a database of something else")
        rows: list[Any] = connection.execute(
            "SELECT * FROM tracklets WHERE embeddings NOT NULL AND model_id = (SELECT model_id "
            "FROM tracklets WHERE embeddings NOT NULL ORDER BY end_ns DESC LIMIT 1) "
            "ORDER BY end_ns DESC LIMIT ?",
            (_MOST,),
        ).fetchall()
    except sqlite3.Error as error:
        raise _unusable(path, str(error)) from error
    finally:
        connection.close()
    out = Footage(rows[0]["model_id"] if rows else "", [])
    for row in rows:
        # bytes of float32 rows, and of one int64 for each
        count = len(row["times"]) // 8
        dim = len(row["embeddings"]) // 4 // max(count, 1)
        try:
            out.tracklets.append(tracklet_of(row, dim))
        except (ValueError, TypeError):
            out.left_out["tracklets that are damaged"] += 1
    return out


def _unusable(path: Path, why: str) -> InputError:
    return InputError(f"{path} cannot be read ({why})", expected="a gallery of `crosscam run`")
