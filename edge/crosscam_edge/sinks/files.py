"""The tracks of a run as files: MOT, MTMC, JSON lines, Parquet, in one pass over the rows."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crosscam_edge.sinks.atomic import atomic_path
from crosscam_edge.sinks.mot import mot_line
from crosscam_edge.sinks.mtmc import mtmc_line
from crosscam_edge.sinks.run_file import utc
from crosscam_edge.sinks.schema import TRACKS_SCHEMA, CameraInfo
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_ROW_GROUP = 65_536  # rows: a few MB, and a day of footage skips quickly to one camera


def write_outputs(
    out: Path, batches: Iterable[pa.RecordBatch], cameras: Sequence[CameraInfo]
) -> None:
    """Write `mot/<camera>.txt`, `mtmc.txt`, `tracks.jsonl` and `tracks.parquet`.

    MOT files carry track ids: that benchmark gives a new id to who leaves and returns. MTMC lines
    carry global ids, which survive every absence; the other two carry both.

    One pass in bounded memory (one batch and one row group). Each file appears whole or not at all;
    older ones stay when something goes wrong.

    Args:
        out: Folder of the run.
        batches: Rows with the columns of `TRACKS_SCHEMA`. The rows of a frame are together and the
            frames of a camera ascend: sorted by camera then frame (best for readers of one camera),
            or by frame then camera.
        cameras: All cameras of the run; those without people get an empty file.

    Raises:
        InputError: A row is of an unknown camera, out of order, or has an id twice in a frame;
            or `out` cannot be written.
        RunError: The disk is full or fails.
    """
    known = {camera.camera_id: camera for camera in cameras}
    with ExitStack() as stack:

        def text(name: str) -> TextIO:
            temporary = stack.enter_context(atomic_path(out / name))
            return stack.enter_context(temporary.open("w", encoding="utf-8", newline="\n"))

        mtmc, lines = text("mtmc.txt"), text("tracks.jsonl")
        mot = {camera.camera_id: text(f"mot/{camera.stem}.txt") for camera in cameras}
        place = stack.enter_context(atomic_path(out / "tracks.parquet"))
        parquet = stack.enter_context(_parquet(place))
        for camera_id, frame, rows in _frames(_rechunk(batches, parquet), known):
            number = known[camera_id].number
            boxes = np.array([[r["x1"], r["y1"], r["x2"], r["y2"]] for r in rows], np.float64)
            for row, box in zip(rows, boxes, strict=True):
                head = mot_line(frame, row["track_id"], box, row["confidence"])
                mot[camera_id].write(head + ",-1,-1,-1\n")
                mtmc.write(mtmc_line(number, row["global_id"], frame, box) + "\n")
            lines.write(_json_line(camera_id, frame, rows) + "\n")


def write_parquet(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    """Write one Parquet file in bounded memory, atomically.

    Args:
        path: Where.
        batches: Rows; cast to `schema`.
        schema: `TRACKS_SCHEMA` or `EMBEDDINGS_SCHEMA`.

    Returns:
        Number of rows.
    """
    rows = 0
    with atomic_path(path) as temporary, _parquet(temporary, schema) as writer:
        for batch in batches:
            table = _cast(batch, schema)
            writer.write_table(table, row_group_size=_ROW_GROUP)
            rows += table.num_rows
    return rows


def _parquet(path: Path, schema: pa.Schema = TRACKS_SCHEMA) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=["camera_id"])


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    missing = [name for name in schema.names if name not in batch.schema.names]
    if missing:
        raise InputError(
            f"rows without the column {missing[0]!r}", expected=f"the columns {schema.names}"
        )
    return pa.Table.from_batches([batch]).select(schema.names).cast(schema)


def _rechunk(batches: Iterable[pa.RecordBatch], writer: pq.ParquetWriter) -> Iterator[pa.Table]:
    """Pass tables on while writing them in row groups of an even size."""
    held: list[pa.Table] = []
    count = 0
    for batch in batches:
        table = _cast(batch, TRACKS_SCHEMA)
        held.append(table)
        count += table.num_rows
        if count >= _ROW_GROUP:
            writer.write_table(pa.concat_tables(held), row_group_size=_ROW_GROUP)
            held, count = [], 0
        yield table
    if count:
        writer.write_table(pa.concat_tables(held), row_group_size=_ROW_GROUP)


def _frames(
    tables: Iterable[pa.Table], known: dict[str, CameraInfo]
) -> Iterator[tuple[str, int, list[dict[str, Any]]]]:
    """Group rows by camera and frame, checking the order on the way."""
    last: dict[str, int] = {}
    key: tuple[str, int] | None = None
    rows: list[dict[str, Any]] = []
    for table in tables:
        for row in table.to_pylist():
            here = (row["camera_id"], row["frame"])
            if here == key:
                rows.append(row)
                continue
            if key is not None:
                yield _whole_frame(key, rows)
            camera_id, frame = here
            if camera_id not in known:
                raise InputError(
                    f"a track of camera {camera_id!r}", expected=f"one of {sorted(known)}"
                )
            if frame <= last.get(camera_id, -1):
                raise InputError(
                    f"frame {frame} of camera {camera_id!r} after frame {last[camera_id]}",
                    expected="the rows of a frame together and ascending frames in each camera",
                )
            last[camera_id] = frame
            key, rows = here, [row]
    if key is not None:
        yield _whole_frame(key, rows)


def _whole_frame(
    key: tuple[str, int], rows: list[dict[str, Any]]
) -> tuple[str, int, list[dict[str, Any]]]:
    ids = [row["global_id"] for row in rows]
    if len(set(ids)) != len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise InputError(
            f"global id {twice} is twice in frame {key[1]} of camera {key[0]!r}",
            expected="one box per identity and frame",
        )
    return (*key, rows)


def _json_line(camera_id: str, frame: int, rows: list[dict[str, Any]]) -> str:
    objects = [
        {
            "global_id": row["global_id"],
            "track_id": row["track_id"],
            "xyxy": [round(row[name], 2) for name in ("x1", "y1", "x2", "y2")],
            "confidence": round(row["confidence"], 4),
            "interpolated": row["interpolated"],
        }
        for row in rows
    ]
    time = utc(rows[0]["time_ns"]).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    data = {"time": time, "camera_id": camera_id, "frame": frame, "objects": objects}
    return json.dumps(data, ensure_ascii=False, allow_nan=False)
