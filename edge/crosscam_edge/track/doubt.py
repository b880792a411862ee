"""Notices that a track goes on with another person than it began with.

Where two people meet, position cannot tell who comes out on which side, and a detector that saw one
box for both cannot either. So whoever met somebody is looked at again as soon as the two are apart.
One crop that contradicts what is remembered may be a bad crop; it is kept out of the memory, and
several that agree with each other are somebody else: the two exchange their ids when each looks
like the other, the id of a lost track is given back when it fits, or a new one is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.types import TrackState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.track.appearance import AppearanceScale
    from crosscam_edge.track.person import Person

DOUBT = -2.0  # nats below which a crop contradicts the memory
CROPS = 3  # that must contradict it, one after the other
UNCLEAR = 0.6  # of the best remembered crop's quality: below, a crop is not learned from
_SURE = 1.0  # nats above which a memory explains the crops that another one does not
_MARGIN = 2.0  # nats by which the best of several must be ahead


def is_unclear(person: Person, quality: float) -> bool:
    """Return whether a crop is too poor, next to those remembered, to say whose it is.

    Half a person behind a shelf looks more like other halves than like the whole person.
    """
    memory = person.memory
    return len(memory) > 0 and quality < UNCLEAR * float(memory.qualities.max())


def contradicts(person: Person, embedding: NDArray[np.float32], scale: AppearanceScale) -> bool:
    """Return whether a crop does not look like the person of the track that it belongs to."""
    if person.state is not TrackState.CONFIRMED or len(person.memory) < 2:
        return False
    return float(scale.evidence(person.memory.similarity(embedding[None]))[0]) < DOUBT


def has_changed(person: Person, scale: AppearanceScale) -> bool:
    """Return whether the latest crops agree that they show somebody else.

    Crops that contradict each other too say nothing; the oldest of them is dropped.
    """
    if len(person.doubts) < CROPS:
        return False
    rows = np.stack(person.doubts)
    pairs = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
    if float(scale.evidence(pairs).mean()) > 0:
        return True
    del person.doubts[0]
    return False


def look(person: Person) -> NDArray[np.float32]:
    """Return the `(D,)` mean of the doubted crops, of length 1."""
    mean = np.mean(person.doubts, axis=0)
    out: NDArray[np.float32] = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
    return out


def who_is_it(changed: Person, people: list[Person], scale: AppearanceScale) -> Person | None:
    """Find whom a track shows now.

    Args:
        changed: The track; `has_changed`.
        people: All living tracks of the camera.
        scale: What similarities are worth.

    Returns:
        A track that is lost, or one that has changed too and looks like `changed` did; None when
        the person is nobody that is known.
    """
    now = look(changed)[None]
    found: list[tuple[float, Person]] = []
    for other in people:
        if other is changed or not len(other.memory):
            continue
        exchange = bool(other.doubts) and other.state is TrackState.CONFIRMED
        if other.state is not TrackState.LOST and not exchange:
            continue
        fit = float(scale.evidence(other.memory.similarity(now))[0])
        if exchange:
            back = scale.evidence(changed.memory.similarity(look(other)[None]))
            fit = min(fit, float(back[0]))
        found.append((fit, other))
    found.sort(key=lambda pair: -pair[0])
    if not found or found[0][0] < _SURE:
        return None
    if len(found) > 1 and found[0][0] - found[1][0] < _MARGIN and found[1][0] >= _SURE:
        return None
    return found[0][1]
