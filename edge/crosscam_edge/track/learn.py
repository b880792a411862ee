"""What the tracker learns from the crops of a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.track import doubt
from crosscam_edge.types import TrackState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crosscam_edge.track.appearance import AppearanceScale
    from crosscam_edge.track.looks import LazyEmbeddings
    from crosscam_edge.track.person import Person

_MET_IOU = 0.25  # boxes that overlap this much may be mixed up ...
_APART_IOU = 0.1  # ... and below this much the crop shows one person again


def fetch_due(
    people: Sequence[Person],
    match: NDArray[np.intp],
    looks: LazyEmbeddings,
    closeness: NDArray[np.float64],
    now: int,
    every_s: float,
) -> None:
    """Embed the people of whom another crop is wanted.

    Args:
        people: `T` tracks.
        match: `(T,)` detection of each; -1 where there is none.
        looks: Of the frame.
        closeness: `(N,)` overlap (IoU) of each detection with whoever is nearest.
        now: Time in nanoseconds.
        every_s: Seconds between the first crops of a track.
    """
    due = np.zeros(len(looks.quality), np.bool_)
    for person, index in zip(people, match.tolist(), strict=True):
        if index < 0:
            continue
        near = float(closeness[index])
        person.close_to(near, now, met=near > _MET_IOU)
        due[index] = person.is_due(now, every_s, apart=near < _APART_IOU)
    looks.fetch(due)


def learn(
    people: Sequence[Person],
    match: NDArray[np.intp],
    looks: LazyEmbeddings,
    closeness: NDArray[np.float64],
    now: int,
    scale: AppearanceScale,
) -> list[int]:
    """Update similarity distributions and memories with all crops that are known.

    Crops that do not look like the person of their track are marked in `LazyEmbeddings.doubted`.

    Args:
        people: `T` tracks.
        match: `(T,)` detection of each; -1 where there is none.
        looks: Of the frame.
        closeness: `(N,)` overlap (IoU) of each detection with whoever is nearest.
        now: Time in nanoseconds.
        scale: What similarities are worth; learns too.

    Returns:
        The tracks that show somebody else now.
    """
    if not looks.known.any():
        return []
    matched = [i for i in np.flatnonzero(match >= 0).tolist() if looks.known[match[i]]]
    _learn_scale([(people[i], looks.rows[match[i]]) for i in matched], scale)
    for i in matched:
        person, index = people[i], int(match[i])
        row, quality = looks.rows[index], float(looks.quality[index])
        person.met &= bool(closeness[index] >= _APART_IOU)
        unclear = doubt.is_unclear(person, quality)
        if not unclear and not doubt.contradicts(person, row, scale):
            person.remember(row, quality, now)
            continue
        person.embedded_ns = now
        looks.doubted[index] = True
        if not unclear:
            person.suspect(row, now)
    return [i for i in matched if doubt.has_changed(people[i], scale)]


def _learn_scale(
    seen: Sequence[tuple[Person, NDArray[np.float32]]], scale: AppearanceScale
) -> None:
    """Take crops of people who are known: each against its own memory and those of the others.

    Crops that will be doubted are learned from as well: a network whose similarities are lower
    than expected would otherwise be doubted for ever.
    """
    known = [
        (person, row[None])
        for person, row in seen
        if person.state is TrackState.CONFIRMED and len(person.memory) >= 2
    ]
    for person, row in known:
        scale.learn_genuine(person.memory.similarity(row))
        others = [other.memory.similarity(row) for other, _ in known if other is not person]
        if others:
            scale.learn_impostor(np.concatenate(others))
