"""Rows on their way to the end of the run: appended to disk, read back once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from crosscam_edge.sinks.atomic import output_error
from crosscam_edge.track.gaps import TrackRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_TRACKS = pa.schema(
    [
        ("frame", pa.int64()),
        ("time_ns", pa.int64()),
        ("track_id", pa.int64()),
        ("xyxy", pa.list_(pa.float32(), 4)),
        ("confidence", pa.float64()),
        ("interpolated", pa.bool_()),
    ]
)


class _Spool:
    """An Arrow stream that is written, closed, and then read.

    Attributes:
        batch_rows: Rows held in memory before they are written.
    """

    batch_rows = 4096

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self._schema = schema
        self._columns: list[list[object]] = [[] for _ in schema]
        try:
            self._sink = pa.OSFile(str(path), "wb")
            self._writer = pa.ipc.new_stream(self._sink, schema)
        except OSError as error:
            raise output_error(path, error) from error

    def _append(self, values: Iterable[object]) -> None:
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)
        if len(self._columns[0]) >= self.batch_rows:
            self._flush()

    def _flush(self) -> None:
        if not self._columns[0]:
            return
        arrays = [
            pa.array(column, field.type)
            for column, field in zip(self._columns, self._schema, strict=True)
        ]
        try:
            self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        except OSError as error:
            raise output_error(self.path, error) from error
        self._columns = [[] for _ in self._schema]

    def close(self) -> None:
        """Write what is held; reading is possible afterwards."""
        if self._sink.closed:
            return
        try:
            self._flush()
            self._writer.close()
        except OSError as error:
            raise output_error(self.path, error) from error
        finally:
            self._sink.close()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield what was written, batch by batch."""
        self.close()
        with pa.OSFile(str(self.path), "rb") as source, pa.ipc.open_stream(source) as reader:
            yield from reader


class TrackSpool(_Spool):
    """Rows of the tracks of one camera."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _TRACKS)

    def add(self, rows: Iterable[TrackRow]) -> None:
        """Append rows."""
        for row in rows:
            self._append(
                (
                    row.frame_index,
                    row.time_ns,
                    row.track_id,
                    row.xyxy.tolist(),
                    row.confidence,
                    row.interpolated,
                )
            )

    def rows(self) -> Iterator[TrackRow]:
        """Yield the rows in the order in which they were added."""
        for batch in self.batches():
            boxes = batch.column(3).flatten().to_numpy().reshape(-1, 4)
            columns = [batch.column(i).to_pylist() for i in (0, 1, 2, 4, 5)]
            for i, (frame, time_ns, track, confidence, filled) in enumerate(
                zip(*columns, strict=True)
            ):
                yield TrackRow(frame, time_ns, track, boxes[i], confidence, filled)


class EmbeddingSpool(_Spool):
    """Embeddings of the crops of one camera that belong to a track.

    Args:
        path: File to write.
        dim: Length D of an embedding.
    """

    batch_rows = 512  # a row is a hundred times one of a track

    def __init__(self, path: Path, dim: int) -> None:
        schema = pa.schema(
            [
                ("track_id", pa.int64()),
                ("frame", pa.int64()),
                ("time_ns", pa.int64()),
                ("quality", pa.float32()),
                ("embedding", pa.list_(pa.float32(), dim)),
            ]
        )
        super().__init__(path, schema)

    def add(
        self,
        track_id: int,
        frame: int,
        time_ns: int,
        quality: float,
        embedding: NDArray[np.float32],
    ) -> None:
        """Append one embedding `(D,)`."""
        self._append((track_id, frame, time_ns, quality, embedding))
