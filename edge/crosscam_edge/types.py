"""The data that passes between the stages of the edge.

One vocabulary for all of them (design: frame, detections, track, tracklet, identity). Times are UTC
in integer nanoseconds, boxes are ``x1, y1, x2, y2`` in pixels of the full camera image, embeddings
are float32 and L2-normalised.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crosscam_deploy.detections import Detections

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Detections", "Frame", "TrackState", "Tracklet", "TrackletKey", "Tracks"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of one camera.

    Attributes:
        camera_id: Name of the camera; unique in a run.
        index: Number of the frame in its source, from 0.
        time_ns: Capture time, UTC nanoseconds.
        image: `(H, W, 3)` uint8, BGR.
    """

    camera_id: str
    index: int
    time_ns: int
    image: NDArray[np.uint8]


class TrackState(StrEnum):
    """Life of a track in one camera."""

    TENTATIVE = "tentative"
    CONFIRMED = "confirmed"
    LOST = "lost"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Tracks:
    """The confirmed tracks seen in one frame.

    Attributes:
        track_id: `(N,)` int64, unique in the camera for ever, from 1.
        xyxy: `(N, 4)` float32 pixels.
        confidence: `(N,)` float32 of the detection behind the box.
        detection_index: `(N,)` int64 into the frame's detections; -1 when the box is predicted.
    """

    track_id: NDArray[np.int64]
    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    detection_index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.track_id)

    @classmethod
    def empty(cls) -> Tracks:
        """Return the tracks of a frame without people."""
        return cls(
            np.zeros(0, np.int64),
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.int64),
        )


class TrackletKey(NamedTuple):
    """Name of a tracklet: unique in a run."""

    camera_id: str
    track_id: int


@dataclass(slots=True)
class Tracklet:
    """A finished (or maturing) track with what association needs; its size is bounded.

    Attributes:
        camera_id: Camera of the track.
        track_id: Id of the track in that camera.
        start_ns: UTC time of the first observation.
        end_ns: UTC time of the last observation.
        start_frame: Frame index of the first observation.
        end_frame: Frame index of the last observation.
        observations: Number of frames with a detection.
        entry_box: `(4,)` float32, first box.
        exit_box: `(4,)` float32, last box.
        image_size: `(width, height)` of the camera in pixels.
        embeddings: `(M, D)` float32, L2-normalised; a bounded, diverse sample of the good crops.
            In float16 where a live run keeps it, see `crosscam_edge.track.tracklets.at_rest`.
        embedding_times_ns: `(M,)` int64, when each was taken.
        qualities: `(M,)` float32 in (0, 1], weight of each embedding.
        exit_velocity: `(2,)` float32, pixels per second of the box centre at the end.
        entry_velocity: `(2,)` float32, pixels per second of the box centre at the start.
        sure_ns: First and last time at which a crop confirmed whose track it is; before and after,
            where people meet, it may have been on somebody else. None when nothing is doubted.
    """

    camera_id: str
    track_id: int
    start_ns: int
    end_ns: int
    start_frame: int
    end_frame: int
    observations: int
    entry_box: NDArray[np.float32]
    exit_box: NDArray[np.float32]
    image_size: tuple[int, int]
    embeddings: NDArray[np.float32]
    embedding_times_ns: NDArray[np.int64]
    qualities: NDArray[np.float32]
    exit_velocity: NDArray[np.float32] = field(default_factory=lambda: np.zeros(2, np.float32))
    entry_velocity: NDArray[np.float32] = field(default_factory=lambda: np.zeros(2, np.float32))
    sure_ns: tuple[int, int] | None = None

    @property
    def key(self) -> TrackletKey:
        """Name of this tracklet in the run."""
        return TrackletKey(self.camera_id, self.track_id)
