"""What can only be known afterwards: which tracks were no people.

The verdict on a track follows from its running figures, so nothing has to be read again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from crosscam_edge.track.summary import StillRun, TrackSummary

_MIN_WALKERS = 3


@dataclass(frozen=True, slots=True)
class RefineConfig:
    """When a track is dropped and which gaps are filled.

    Attributes:
        min_seconds: Shorter tracks are dropped.
        min_hits: Tracks with fewer detections are dropped.
        min_density: Least share of the looks at its life in which a track was detected.
        faint_seconds: A track shorter than this must also be convincing ...
        faint_confidence: ... its median confidence must reach this.
        still_seconds: Only what stays in its place for this long can be furniture.
        furniture_margin: It is furniture when its median confidence is lower, by this much, than
            that of nearly all who walk in this camera.
        walk_extent: A track that gets about by more than this many of its heights walks.
        double_share: A track whose box lies on that of a longer one for more than this share of
            its life is a second box of the same person.
        max_gap_s: Longer gaps inside a track are not filled.
    """

    min_seconds: float = 0.5
    min_hits: int = 4
    min_density: float = 0.25
    faint_seconds: float = 2.0
    faint_confidence: float = 0.45
    still_seconds: float = 10.0
    furniture_margin: float = 0.05
    walk_extent: float = 1.0
    double_share: float = 0.5
    max_gap_s: float = 2.0


def spurious(
    summaries: Mapping[int, TrackSummary],
    config: RefineConfig | None = None,
    *,
    two_people: Callable[[int, int], bool] = lambda _a, _b: False,
) -> dict[int, str]:
    """Return the tracks that were no people, with the reason.

    Args:
        summaries: Figures of the confirmed tracks of one camera by track id.
        config: Limits.
        two_people: Says of two track ids whether their looks tell them apart: people who walk arm
            in arm lie on each other too.

    Returns:
        Reason ``"short"``, ``"double"``, ``"sparse"``, ``"faint"`` or ``"furniture"`` by track id;
        all others are kept.
    """
    config = config or RefineConfig()
    still = furniture(summaries, config)
    out: dict[int, str] = {}
    for track_id, s in summaries.items():
        frozen = sum(last - first + 1 for first, last in still.get(track_id, []))
        if s.hits < config.min_hits or s.seconds < config.min_seconds:
            out[track_id] = "short"
        elif any(
            not two_people(track_id, other)
            for other in _doubled(track_id, summaries, config.double_share)
        ):
            out[track_id] = "double"
        elif s.density < config.min_density:
            out[track_id] = "sparse"
        elif s.seconds < config.faint_seconds and s.confidence < config.faint_confidence:
            out[track_id] = "faint"
        elif frozen > 0.9 * (s.last_frame - s.first_frame + 1):
            out[track_id] = "furniture"
    return out


def _doubled(track_id: int, summaries: Mapping[int, TrackSummary], share: float) -> list[int]:
    """Return the longer tracks on whose boxes those of a track lie for most of its life."""
    own = summaries[track_id]
    return [
        other
        for other, count in own.doubled.items()
        if count > share * own.hits
        and other in summaries
        and (summaries[other].hits, -other) > (own.hits, -track_id)
    ]


def furniture(
    summaries: Mapping[int, TrackSummary], config: RefineConfig | None = None
) -> dict[int, list[tuple[int, int]]]:
    """Return the stretches of tracks in which a thing, not a person, was detected.

    A post, a poster or a coat on a hook stays exactly where it is for long, which people who
    stand or sit hardly do, *and* looks less like a person than those who walk here. The bound on
    confidence is learned from this camera's walkers, so it holds for any detector; without
    walkers nothing is judged. A stretch and not a track is judged because a detector's favourite
    post catches the track of a person who passes by it.

    Args:
        summaries: Figures of the tracks of one camera by track id.
        config: Limits.

    Returns:
        First and last frame of each stretch by track id.
    """
    config = config or RefineConfig()
    bound = least_of_walkers(summaries, config)
    if bound is None:
        return {}
    out: dict[int, list[tuple[int, int]]] = {}
    for track_id, s in summaries.items():
        things = [(run.first_frame, run.last_frame) for run in things_of(s, bound, config)]
        if things:
            out[track_id] = things
    return out


def least_of_walkers(summaries: Mapping[int, TrackSummary], config: RefineConfig) -> float | None:
    """Return the confidence that nearly all who walk in this camera reach, less the margin.

    None where too few walk to tell.
    """
    walkers = [
        s.confidence
        for s in summaries.values()
        if s.travel > config.walk_extent
        and s.seconds >= config.faint_seconds
        # A walker's track that went on to stick to a post would lower the bound for posts.
        and all(run.seconds < config.still_seconds for run in s.runs)
    ]
    if len(walkers) < _MIN_WALKERS:
        return None
    return float(np.quantile(walkers, 0.1)) - config.furniture_margin


def things_of(summary: TrackSummary, bound: float, config: RefineConfig) -> list[StillRun]:
    """Return the stretches of a track in which it was on a thing; see `furniture`."""
    return [
        run
        for run in summary.runs
        if run.seconds >= config.still_seconds and run.confidences.median < bound
    ]
