"""What a live run tells, as records for programs: flat, with UTC in nanoseconds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from crosscam_edge.associate.online import IdentityEvent
    from crosscam_edge.live.camera import CameraHealth, Picture
    from crosscam_edge.track.gaps import TrackRow


def identity_record(event: IdentityEvent) -> dict[str, Any]:
    """Return what happened to an identity; numbers that are not known are null."""
    key = event.key
    return {
        "type": "identity",
        "kind": event.kind.value,
        "time_ns": event.time_ns,
        "global_id": event.global_id,
        "camera": None if key is None else key.camera_id,
        "track": None if key is None else key.track_id,
        "other_id": event.other_id or None,
        "odds": _number(event.odds),
        "runner_up": _number(event.runner_up),
        "runner_up_id": event.runner_up_id or None,
        "cause": event.cause or None,
    }


def camera_record(health: CameraHealth) -> dict[str, Any]:
    """Return how a camera is."""
    return {
        "type": "camera",
        "camera": health.camera_id,
        "state": health.state.value,
        "fault": None if health.fault is None else health.fault.value,
        "detail": health.detail,
        "since_ns": health.since_ns,
        "size": health.size,
        "connections": health.connections,
        "pace": health.pace.value,
        "look_rate": round(health.look_rate, 2),
    }


def track_record(
    picture: Picture, rows: Iterable[TrackRow], ids: Mapping[int, int | None]
) -> dict[str, Any]:
    """Return who was seen in a picture.

    Args:
        picture: It.
        rows: Boxes of its tracks.
        ids: Global id of each track; None while it is not known.
    """
    return {
        "type": "tracks",
        "camera": picture.camera_id,
        "frame": picture.index,
        "time_ns": picture.time_ns,
        "people": [
            {
                "track": row.track_id,
                "global_id": ids[row.track_id],
                "xyxy": [round(float(v), 1) for v in row.xyxy],
                "confidence": round(row.confidence, 3),
            }
            for row in rows
        ],
    }


def _number(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None
