"""Records as Parquet, a file for each type and quarter of an hour: for DuckDB, pandas and Spark."""

from __future__ import annotations

import os
import queue
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from crosscam_deploy.log import get_logger
from crosscam_edge.sinks.atomic import atomic_path
from crosscam_edge.sinks.base import Health
from crosscam_edge.sinks.forget import Erasure, without
from crosscam_edge.sinks.shelf import Bounds, Shelf
from crosscam_kernels.errors import CrosscamError, RunError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from crosscam_edge.sinks.forget import Seen

_log = get_logger("parquet")
_WAITING = 20_000
_BATCH = 1000
_MOST_BYTES = 64 << 20  # of a type, in memory
_ERASE_S = 120.0
_AGAIN_S = 10.0

_PERSON = pa.struct(
    [
        pa.field("track", pa.int64(), nullable=False),
        pa.field("global_id", pa.int64()),
        pa.field("xyxy", pa.list_(pa.float32(), 4), nullable=False),
        pa.field("confidence", pa.float32(), nullable=False),
    ]
)
SCHEMAS: dict[str, pa.Schema] = {
    "identity": pa.schema(
        [
            pa.field("type", pa.string(), nullable=False),
            pa.field("kind", pa.string(), nullable=False),
            pa.field("time_ns", pa.int64(), nullable=False),
            pa.field("global_id", pa.int64(), nullable=False),
            pa.field("camera", pa.string()),
            pa.field("track", pa.int64()),
            pa.field("other_id", pa.int64()),
            pa.field("odds", pa.float64()),
            pa.field("runner_up", pa.float64()),
            pa.field("runner_up_id", pa.int64()),
            pa.field("cause", pa.string()),
        ]
    ),
    "camera": pa.schema(
        [
            pa.field("type", pa.string(), nullable=False),
            pa.field("camera", pa.string(), nullable=False),
            pa.field("state", pa.string(), nullable=False),
            pa.field("fault", pa.string()),
            pa.field("detail", pa.string(), nullable=False),
            pa.field("since_ns", pa.int64(), nullable=False),
            pa.field("size", pa.list_(pa.int32(), 2)),
            pa.field("connections", pa.int64(), nullable=False),
            pa.field("pace", pa.string(), nullable=False),
            pa.field("look_rate", pa.float64(), nullable=False),
        ]
    ),
    "model": pa.schema(
        [
            pa.field("type", pa.string(), nullable=False),
            pa.field("state", pa.string(), nullable=False),
            pa.field("time_ns", pa.int64(), nullable=False),
            pa.field("old", pa.string(), nullable=False),
            pa.field("new", pa.string()),
            pa.field("reason", pa.string()),
            pa.field("people", pa.int64(), nullable=False),
            pa.field("lost", pa.int64(), nullable=False),
        ]
    ),
    "tracks": pa.schema(
        [
            pa.field("type", pa.string(), nullable=False),
            pa.field("camera", pa.string(), nullable=False),
            pa.field("frame", pa.int64(), nullable=False),
            pa.field("time_ns", pa.int64(), nullable=False),
            pa.field("people", pa.list_(pa.field("item", _PERSON, nullable=False)), nullable=False),
        ]
    ),
}
"""Columns, by type of record: the keys of the records as `events.jsonl` has them."""


class _Held:
    """Records of one type that wait for their file.

    Args:
        schema: Their columns.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.batches: list[pa.RecordBatch] = []
        self._rows: list[Mapping[str, Any]] = []

    @property
    def bytes(self) -> int:
        return sum(int(each.nbytes) for each in self.batches)

    @property
    def count(self) -> int:
        return len(self._rows) + sum(int(each.num_rows) for each in self.batches)

    def add(self, record: Mapping[str, Any]) -> int:
        """Take a record; returns how many could not be taken."""
        self._rows.append(record)
        return self.pack() if len(self._rows) >= _BATCH else 0

    def pack(self) -> int:
        """Make columns of the rows; returns how many do not fit into them."""
        rows, self._rows = self._rows, []
        lost = 0
        if rows:
            try:
                self.batches.append(_columns(rows, self.schema))
            except (pa.ArrowException, TypeError, ValueError):
                for row in rows:  # one of them: the others shall stay
                    try:
                        self.batches.append(_columns([row], self.schema))
                    except (pa.ArrowException, TypeError, ValueError):
                        lost += 1
        return lost


def _columns(rows: list[Mapping[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    found = pa.RecordBatch.from_pylist(rows, schema=schema)
    for name, column in zip(schema.names, found.columns, strict=True):
        if column.null_count and not schema.field(name).nullable:
            raise ValueError(f"'{name}' is missing")
    return found


class ParquetSink:
    """Writes records to ``TIME_TYPE.parquet``; files are whole or absent.

    Records are held in memory until a file is due: after some minutes, or when they are many. So a
    crash loses those that were held, and `events.jsonl` has them. While the disk is full they are
    held for longer, within a bound; then the oldest are dropped and counted.

    Args:
        folder: Gets the files.
        every_s: Seconds after which a file is written.
        bounds: How much is kept; the oldest files make room.

    Attributes:
        written: Records in files.
        dropped: Records that will be in none.
        health: Whether the disk takes them.

    Raises:
        CrosscamError: The folder cannot be made.
    """

    def __init__(self, folder: Path, *, every_s: float, bounds: Bounds) -> None:
        self.written = 0
        self.health = Health.OK
        self._late = self._lost = 0  # counted by those who put, and by the thread
        self._every_s = every_s
        self._shelf = Shelf(folder, ".parquet", bounds)
        self._held = {kind: _Held(schema) for kind, schema in SCHEMAS.items()}
        self._waiting: queue.Queue[Mapping[str, Any] | Erasure | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._work, name="parquet", daemon=True)
        self._thread.start()

    def put(self, record: Mapping[str, Any]) -> None:
        """Take a record; never waits."""
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            self._late += 1

    @property
    def dropped(self) -> int:
        """Records that will be in no file."""
        return self._late + self._lost

    def erase(self, names: Collection[int], seen: Collection[Seen]) -> int:
        """Take somebody out of all files and of what is held, and wait until that is done.

        Args:
            names: Their global ids.
            seen: Where they were.

        Returns:
            Number of records that were changed or left out.

        Raises:
            RunError: It cannot be done now; asking again does it.
        """
        asked = Erasure.of(names, seen)
        try:
            self._waiting.put(asked, timeout=_ERASE_S)
            return asked.done.result(_ERASE_S)
        except (queue.Full, TimeoutError):
            raise RunError("Parquet files are not written", fix="check the disk") from None

    def close(self) -> None:
        """Write what is held."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        due = time.monotonic() + self._every_s
        while True:
            try:
                item = self._waiting.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                due = time.monotonic() + (self._every_s if self._write() else _AGAIN_S)
                continue
            if item is None:
                self._write()
                self._lost += sum(each.count for each in self._held.values())
                return
            if isinstance(item, Erasure):
                self._erase(item)
                continue
            held = self._held[item["type"]]
            self._lost += held.add(item)
            if len(held.batches) % 16 == 0 and held.bytes >= _MOST_BYTES and not self._write():
                while held.bytes >= _MOST_BYTES:
                    self._lost += held.batches.pop(0).num_rows

    def _write(self) -> bool:
        """Write a file of each type that has records; returns whether the disk took them."""
        try:
            self._shelf.tidy()
            for kind, held in self._held.items():
                self._lost += held.pack()
                if not held.batches:
                    continue
                stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
                path = self._shelf.folder / f"{stamp}_{kind}.parquet"
                _write_file(path, held.schema, held.batches)
                self.written += held.count
                held.batches = []
        except (CrosscamError, OSError) as error:
            if self.health is Health.OK:
                _log.warning("records wait for Parquet", reason=str(error))
            self.health = Health.FAILING
            return False
        self.health = Health.OK
        return True

    def _erase(self, asked: Erasure) -> None:
        changed = 0
        try:
            for held in self._held.values():
                self._lost += held.pack()
                left = [_without(each, asked) for each in held.batches]
                changed += sum(count for _, count in left)
                held.batches = [each for each, _ in left if each.num_rows]
            for path in self._shelf.files():
                changed += _rewrite(path, asked)
        except (CrosscamError, OSError, pa.ArrowException) as error:
            asked.done.set_exception(
                RunError(f"a Parquet file cannot be written anew ({error})", fix="check the disk")
            )
        else:
            asked.done.set_result(changed)


def _without(batch: pa.RecordBatch, asked: Erasure) -> tuple[pa.RecordBatch, int]:
    """Return what may stay of records, and how many were changed or left out."""
    rows = batch.to_pylist()
    left = [without(row, asked) for row in rows]
    changed = sum(after is not before for before, after in zip(rows, left, strict=True))
    if not changed:
        return batch, 0
    kept = [row for row in left if row is not None]
    return pa.RecordBatch.from_pylist(kept, schema=batch.schema), changed


def _rewrite(path: Path, asked: Erasure) -> int:
    """Write a file anew without somebody; one that would be empty is removed."""
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        found = [_without(batch, asked) for batch in file.iter_batches(_BATCH)]
    changed = sum(count for _, count in found)
    if changed:
        left = [batch for batch, _ in found if batch.num_rows]
        if left:
            times = path.stat()
            _write_file(path, schema, left)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # it is as old as it was
        else:
            path.unlink()
    return changed


def _write_file(path: Path, schema: pa.Schema, batches: list[pa.RecordBatch]) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_batches(batches, schema), temporary, compression="zstd")
