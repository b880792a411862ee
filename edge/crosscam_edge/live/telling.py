"""What a live run tells: records of boxes, people and cameras, as they come up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from crosscam_edge.live.camera import CameraState
from crosscam_edge.live.records import camera_record, identity_record, track_record
from crosscam_edge.types import TrackletKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from crosscam_edge.associate.online import IdentityEvent
    from crosscam_edge.live.camera import Picture
    from crosscam_edge.live.identities import Identities
    from crosscam_edge.live.pacing import Pacing
    from crosscam_edge.live.ring import Rings
    from crosscam_edge.live.roster import Roster
    from crosscam_edge.live.watched import Watched
    from crosscam_edge.track.live import LiveFrame

_EVERY_S = 0.1
"""Every picture wakes the run; a hundred cameras are not asked how they are with each."""


class Telling:
    """Makes the records of a run; of its thread alone.

    Args:
        emit: Gets every record; must not wait.
        tracks: Whether boxes are among the records.
        identities: Who is who.
        roster: The cameras.
        pacing: Knows how the cameras are.
        rings: Forget cameras that have left.
    """

    def __init__(
        self,
        emit: Callable[[Mapping[str, Any]], None],
        *,
        tracks: bool,
        identities: Identities,
        roster: Roster,
        pacing: Pacing,
        rings: Rings | None,
    ) -> None:
        self._emit, self._tracks, self._identities = emit, tracks, identities
        self._roster, self._pacing, self._rings = roster, pacing, rings
        self._asked_s = 0.0

    def boxes(self, watched: Watched, picture: Picture, seen: LiveFrame) -> None:
        """Tell who is where in a picture, if that is wanted, and before that its camera is back."""
        if CameraState.RUNNING not in watched.state:
            self._camera(watched)
        if self._tracks:
            ids = {
                row.track_id: self._identities.id_of(TrackletKey(picture.camera_id, row.track_id))
                for row in seen.rows
            }
            self._emit(track_record(picture, seen.rows, ids))

    def people(self, events: Iterable[IdentityEvent]) -> None:
        """Tell what was decided about people."""
        for event in events:
            self._emit(identity_record(event))

    def cameras(self, *, at_once: bool = False) -> None:
        """Tell of each camera whose state has changed; ten times a second at most.

        Args:
            at_once: Now, whenever that was done last.
        """
        now = time.perf_counter()
        if not at_once and now - self._asked_s < _EVERY_S:
            return
        self._asked_s = now
        for each in self._roster.watched:
            self._camera(each)
        for health in self._roster.left():
            self._emit(camera_record(health))
            if self._rings is not None:
                self._rings.drop(health.camera_id)

    def _camera(self, watched: Watched) -> None:
        health = self._pacing.health(watched)
        state = (health.state, health.fault, health.size, health.pace)
        if state != watched.state:
            watched.state = state
            self._emit(camera_record(health))
