"""What a resumed run needs of a camera: detections and embeddings, frame by frame, on disk.

Each part file holds some seconds of work and appears whole or not at all. A resumed run replays the
parts through a fresh tracker, which is deterministic, and goes on decoding behind them, so it ends
with the same results as a run that was never stopped.
"""

from __future__ import annotations

import json
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crosscam_deploy.log import get_logger
from crosscam_edge.sinks.atomic import atomic_path, output_error, write_text
from crosscam_edge.types import Detections

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_log = get_logger("checkpoint")
_PART = re.compile(r"^part-(\d{6})\.parquet$")
_SCHEMA = pa.schema(
    [
        ("frame", pa.int64()),
        ("time_ns", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("xyxy", pa.binary()),
        ("confidence", pa.binary()),
        ("embedded", pa.binary()),
        ("embeddings", pa.binary()),
    ]
)


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """One processed frame.

    Attributes:
        index: Number of the frame in its source.
        time_ns: Capture time.
        size: `(width, height)` in pixels.
        detections: People found, after the camera's region and masks.
        embedded: `(K,)` indices into the detections, ascending.
        embeddings: `(K, D)` float32; zero rows where no embedding could be made.
    """

    index: int
    time_ns: int
    size: tuple[int, int]
    detections: Detections
    embedded: NDArray[np.int64]
    embeddings: NDArray[np.float32]


class CameraCache:
    """The part files of one camera.

    Args:
        folder: ``cache/<camera>`` of the run; made when missing.
        dim: Length D of an embedding.
        every_frames: A part is written after so many frames at the latest: bounds memory.
    """

    def __init__(self, folder: Path, dim: int, *, every_frames: int = 600) -> None:
        self._folder = folder
        self._dim = dim
        self._every = every_frames
        self._held: list[FrameRecord] = []
        self._next_part = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in folder.glob(".part-*"):
                leftover.unlink()
        except OSError as error:
            raise output_error(folder, error) from error

    @property
    def done(self) -> dict[str, Any] | None:
        """What `finish` noted, or None while the camera is not finished."""
        try:
            data = json.loads((self._folder / "done.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return data if isinstance(data, dict) else None

    def replay(self) -> Iterator[FrameRecord]:
        """Yield the stored frames in order; a damaged part and those behind it are dropped."""
        last = -1
        for path in self._parts():
            number = int(path.stem.removeprefix("part-"))
            try:
                if number != self._next_part:
                    raise ValueError(f"part {self._next_part} is missing")
                records = self._read(path)
                if not records or records[0].index <= last:
                    raise ValueError("frames are out of order")
            except (OSError, ValueError, KeyError, pa.ArrowException) as error:
                _log.warning("checkpoint dropped", file=str(path), reason=str(error))
                self._drop_from(number)
                return
            self._next_part += 1
            last = records[-1].index
            yield from records

    def add(self, record: FrameRecord) -> None:
        """Keep a frame; writes a part when enough are held."""
        self._held.append(record)
        if len(self._held) >= self._every:
            self.flush()

    def flush(self) -> None:
        """Write what is held as a part.

        Raises:
            RunError: The disk is full or fails; nothing that was written before is lost.
        """
        if not self._held:
            return
        rows = self._held
        columns = [
            [r.index for r in rows],
            [r.time_ns for r in rows],
            [r.size[0] for r in rows],
            [r.size[1] for r in rows],
            [r.detections.xyxy.astype("<f4").tobytes() for r in rows],
            [r.detections.confidence.astype("<f4").tobytes() for r in rows],
            [r.embedded.astype("<i4").tobytes() for r in rows],
            [r.embeddings.astype("<f4").tobytes() for r in rows],
        ]
        arrays = [pa.array(c, f.type) for c, f in zip(columns, _SCHEMA, strict=True)]
        table = pa.Table.from_arrays(arrays, schema=_SCHEMA)
        with (
            atomic_path(self._folder / f"part-{self._next_part:06d}.parquet") as temporary,
            # a file that pyarrow opens itself stays open when the disk is full
            pa.OSFile(str(temporary), "wb") as file,
        ):
            pq.write_table(table, file, compression="zstd", use_dictionary=False)
        self._next_part += 1
        self._held = []

    def finish(self, note: dict[str, Any]) -> None:
        """Write the last part and note that the camera is finished."""
        self.flush()
        write_text(self._folder / "done.json", json.dumps(note) + "\n")

    def remove(self) -> None:
        """Delete everything of this camera."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _parts(self) -> list[Path]:
        return sorted(p for p in self._folder.iterdir() if _PART.match(p.name))

    def _drop_from(self, number: int) -> None:
        for path in self._parts():
            if int(path.stem.removeprefix("part-")) >= number:
                path.unlink()
        with suppress(FileNotFoundError):
            (self._folder / "done.json").unlink()

    def _read(self, path: Path) -> list[FrameRecord]:
        table = pq.read_table(path, schema=_SCHEMA)
        columns = [table.column(name).to_pylist() for name in _SCHEMA.names]
        return [self._record(*row) for row in zip(*columns, strict=True)]

    def _record(
        self,
        index: int,
        time_ns: int,
        width: int,
        height: int,
        xyxy: bytes,
        confidence: bytes,
        embedded: bytes,
        embeddings: bytes,
    ) -> FrameRecord:
        boxes = np.frombuffer(xyxy, "<f4").reshape(-1, 4).astype(np.float32)
        rows = np.frombuffer(embedded, "<i4").astype(np.int64)
        return FrameRecord(
            index,
            time_ns,
            (width, height),
            Detections(
                boxes,
                np.frombuffer(confidence, "<f4").astype(np.float32),
                np.zeros(len(boxes), np.int32),
            ),
            rows,
            np.frombuffer(embeddings, "<f4").reshape(len(rows), self._dim).astype(np.float32),
        )
