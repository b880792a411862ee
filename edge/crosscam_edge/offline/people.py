"""From the tracks of single cameras to rows with global ids, in bounded memory."""

from __future__ import annotations

import heapq
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from crosscam_edge.offline.handover import one_each
from crosscam_edge.sinks.schema import EMBEDDINGS_SCHEMA, TRACKS_SCHEMA
from crosscam_edge.track.gaps import fill
from crosscam_edge.track.refine import RefineConfig
from crosscam_edge.track.tracklets import ExemplarSet
from crosscam_edge.types import Tracklet, TrackletKey

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from crosscam_edge.offline.camera import CameraResult
    from crosscam_edge.track.gaps import TrackRow
    from crosscam_edge.track.runner import Verdict

_EXEMPLARS = 32
_ROWS = 8192
# Rows that fill a gap come after the gap is closed, so at most this much later than their time.
_LATE_NS = round((RefineConfig().max_gap_s + 1.0) * 1e9)


def joined_tracklets(verdict: Verdict, dim: int) -> list[Tracklet]:
    """Return one tracklet for each person of a camera as far as the camera alone can tell.

    Fragments that were joined become one tracklet under the id of the first. A tracklet of which
    nothing could be embedded has embeddings of shape `(0, dim)`.
    """
    groups: dict[int, list[Tracklet]] = {}
    for tracklet in verdict.tracklets:
        groups.setdefault(verdict.joined[tracklet.track_id], []).append(tracklet)
    merged = [_merged(track_id, groups[track_id]) for track_id in sorted(groups)]
    for tracklet in merged:
        if not len(tracklet.embeddings):
            tracklet.embeddings = np.zeros((0, dim), np.float32)
    return merged


def _merged(track_id: int, parts: list[Tracklet]) -> Tracklet:
    if len(parts) == 1 and parts[0].track_id == track_id:
        return parts[0]
    parts = sorted(parts, key=lambda t: (t.start_ns, t.track_id))
    first, last = parts[0], max(parts, key=lambda t: t.end_ns)
    sure = [part.sure_ns for part in parts if part.sure_ns is not None]
    kept = ExemplarSet(_EXEMPLARS)
    for part in parts:
        for row, quality, time in zip(
            part.embeddings, part.qualities.tolist(), part.embedding_times_ns.tolist(), strict=True
        ):
            kept.add(row, quality, time)
    return Tracklet(
        camera_id=first.camera_id,
        track_id=track_id,
        start_ns=first.start_ns,
        end_ns=last.end_ns,
        start_frame=first.start_frame,
        end_frame=last.end_frame,
        observations=sum(part.observations for part in parts),
        entry_box=first.entry_box,
        exit_box=last.exit_box,
        image_size=last.image_size,
        embeddings=kept.embeddings,
        embedding_times_ns=kept.times_ns,
        qualities=kept.qualities,
        exit_velocity=last.exit_velocity,
        entry_velocity=first.entry_velocity,
        sure_ns=(min(s[0] for s in sure), max(s[1] for s in sure)) if sure else None,
    )


def in_order(rows: Iterable[TrackRow], late_ns: int = _LATE_NS) -> Iterator[TrackRow]:
    """Sort rows by frame and track that are at most `late_ns` out of order.

    Memory holds the rows of that span of time, however long the video.
    """
    heap: list[tuple[int, int, int, TrackRow]] = []
    newest = None
    for count, row in enumerate(rows):
        newest = row.time_ns if newest is None else max(newest, row.time_ns)
        heapq.heappush(heap, (row.frame_index, row.track_id, count, row))
        while heap[0][3].time_ns < newest - late_ns:
            yield heapq.heappop(heap)[3]
    while heap:
        yield heapq.heappop(heap)[3]


def judged(
    rows: Iterable[TrackRow], verdict: Verdict, max_gap_s: float = RefineConfig().max_gap_s
) -> Iterator[TrackRow]:
    """Yield the rows of people only, joined fragments under one id, gaps between them filled.

    The streaming form of `crosscam_edge.track.runner.apply_verdict`.
    """

    def filled() -> Iterator[TrackRow]:
        last: dict[int, TrackRow] = {}
        for _, frame in groupby(in_order(rows), key=lambda row: row.frame_index):
            people: dict[int, TrackRow] = {}
            for row in frame:  # where fragments overlap, the later one has the person
                target = verdict.owner(row.track_id, row.frame_index)
                if target is not None:
                    people[target] = replace(row, track_id=target)
            for target, own in people.items():
                if target in last:
                    yield from fill(last[target], own, max_gap_s)
                last[target] = own
                yield own

    return in_order(filled())


def track_batches(
    results: Iterable[CameraResult],
    global_ids: Mapping[TrackletKey, int],
    tracklets: Mapping[TrackletKey, Tracklet],
    dropped: Counter[str],
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of ``tracks.parquet``: camera by camera, frames ascending.

    Args:
        results: One for each camera.
        global_ids: Identity of each tracklet.
        tracklets: All of them.
        dropped: Counts rows left out, by reason.
    """
    for result in results:
        camera_id = result.plan.camera_id
        here = {key.track_id: t for key, t in tracklets.items() if key.camera_id == camera_id}
        ids = {track: global_ids[t.key] for track, t in here.items() if t.key in global_ids}
        columns: list[list[object]] = [[] for _ in TRACKS_SCHEMA]
        rows = judged(result.tracks.rows(), result.verdict)
        for row, global_id in one_each(rows, here, ids, dropped):
            x1, y1, x2, y2 = row.xyxy.tolist()
            values = (camera_id, row.frame_index, row.time_ns, row.track_id, global_id)
            values += (x1, y1, x2, y2, row.confidence, row.interpolated)  # type: ignore[assignment]
            for column, value in zip(columns, values, strict=True):
                column.append(value)
            if len(columns[0]) >= _ROWS:
                yield _batch(columns, TRACKS_SCHEMA)
                columns = [[] for _ in TRACKS_SCHEMA]
        if columns[0]:
            yield _batch(columns, TRACKS_SCHEMA)


def embedding_batches(
    results: Iterable[CameraResult], global_ids: Mapping[TrackletKey, int], model_id: str
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of ``embeddings.parquet``: crops of people, camera by camera."""
    for result in results:
        camera_id, verdict = result.plan.camera_id, result.verdict
        for batch in result.embeddings.batches():
            tracks = [
                verdict.owner(track, frame)
                for track, frame in zip(
                    batch.column("track_id").to_pylist(),
                    batch.column("frame").to_pylist(),
                    strict=True,
                )
            ]
            ids = [None if t is None else global_ids.get(TrackletKey(camera_id, t)) for t in tracks]
            keep = np.array([i for i, g in enumerate(ids) if g is not None], np.int64)
            if not len(keep):
                continue
            kept = batch.take(pa.array(keep))
            columns = [
                [camera_id] * len(keep),
                [tracks[i] for i in keep.tolist()],
                [ids[i] for i in keep.tolist()],
                kept.column("frame"),
                kept.column("time_ns"),
                kept.column("quality"),
                [model_id] * len(keep),
                # Stays in Arrow: as Python floats, a batch would take ten times the memory.
                kept.column("embedding").cast(EMBEDDINGS_SCHEMA.field("embedding").type),
            ]
            yield _batch(columns, EMBEDDINGS_SCHEMA)


def _batch(columns: Sequence[list[Any] | pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        pa.array(c, f.type) if isinstance(c, list) else c
        for c, f in zip(columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
