"""Tracklets as rows of a database, and back; what a damaged file holds is refused, not believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_edge.types import Tracklet

if TYPE_CHECKING:
    from collections.abc import Mapping

COLUMNS = (
    "camera", "track", "global_id", "start_ns", "end_ns", "start_frame", "end_frame",
    "observations", "sure_first_ns", "sure_last_ns", "width", "height", "boxes", "model_id",
    "embeddings", "times", "qualities",
)  # fmt: skip
_BOXES = 12


def row_of(tracklet: Tracklet, global_id: int, model_id: str) -> dict[str, Any]:
    """Return a tracklet as a row, in the columns of `COLUMNS`."""
    boxes = (
        tracklet.entry_box, tracklet.exit_box, tracklet.entry_velocity, tracklet.exit_velocity,
    )  # fmt: skip
    sure = tracklet.sure_ns or (None, None)
    return {
        "camera": tracklet.camera_id,
        "track": tracklet.track_id,
        "global_id": global_id,
        "start_ns": tracklet.start_ns,
        "end_ns": tracklet.end_ns,
        "start_frame": tracklet.start_frame,
        "end_frame": tracklet.end_frame,
        "observations": tracklet.observations,
        "sure_first_ns": sure[0],
        "sure_last_ns": sure[1],
        "width": tracklet.image_size[0],
        "height": tracklet.image_size[1],
        "boxes": np.concatenate(boxes).astype("<f4").tobytes(),
        "model_id": model_id,
        "embeddings": tracklet.embeddings.astype("<f4").tobytes(),
        "times": tracklet.embedding_times_ns.astype("<i8").tobytes(),
        "qualities": tracklet.qualities.astype("<f4").tobytes(),
    }


def tracklet_of(row: Mapping[str, Any], dim: int) -> Tracklet:
    """Return the tracklet of a row that has embeddings.

    Args:
        row: Columns of `COLUMNS`.
        dim: Length of an embedding.

    Raises:
        ValueError: The row does not fit together.
    """
    boxes = np.frombuffer(row["boxes"], "<f4").astype(np.float32)
    times = np.frombuffer(row["times"], "<i8").astype(np.int64)
    qualities = np.frombuffer(row["qualities"], "<f4").astype(np.float32)
    flat = np.frombuffer(row["embeddings"], "<f4").astype(np.float32)
    count = len(times)
    if len(boxes) != _BOXES or len(qualities) != count or len(flat) != count * dim or not count:
        raise ValueError(f"tracklet {row['camera']}/{row['track']} does not fit together")
    embeddings = flat.reshape(count, dim)
    length = np.linalg.norm(embeddings, axis=1)
    if not (np.isfinite(boxes).all() and (np.abs(length - 1) < 1e-3).all()):
        raise ValueError(f"tracklet {row['camera']}/{row['track']} has broken numbers")
    first, last = row["sure_first_ns"], row["sure_last_ns"]
    return Tracklet(
        camera_id=row["camera"],
        track_id=row["track"],
        start_ns=row["start_ns"],
        end_ns=row["end_ns"],
        start_frame=row["start_frame"],
        end_frame=row["end_frame"],
        observations=row["observations"],
        entry_box=boxes[0:4],
        exit_box=boxes[4:8],
        image_size=(row["width"], row["height"]),
        embeddings=embeddings,
        embedding_times_ns=times,
        qualities=qualities,
        exit_velocity=boxes[10:12],
        entry_velocity=boxes[8:10],
        sure_ns=None if first is None or last is None else (first, last),
    )
