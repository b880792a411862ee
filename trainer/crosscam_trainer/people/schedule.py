"""Who is seen where, in what, and with whom; all of it follows from the seed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from crosscam_trainer.people.config import PeopleConfig

_COMPANY = (2, 5)  # people in a scene, the last excluded
_REVISIT = 0.3  # share of visits after which the person comes again in other clothes
BLOCK = 8  # scenes that are finished together


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody in front of a camera.

    Attributes:
        person: Number, from 1.
        outfit: From 0.
    """

    person: int
    outfit: int


def visits_of(person: int, config: PeopleConfig) -> list[tuple[int, Visit]]:
    """Cameras (from 1) that see a person, with what is worn there.

    Outfits take turns over the cameras, so each is seen by several where there are enough.
    """
    rng = np.random.default_rng([config.seed, 4, person])
    cameras = rng.choice(config.cameras, config.cameras_per_person, replace=False) + 1
    first = int(rng.integers(config.outfits))
    out = []
    for k, camera in enumerate(cameras.tolist()):
        outfit = (first + k) % config.outfits
        out.append((camera, Visit(person, outfit)))
        if config.outfits > 1 and rng.random() < _REVISIT:
            out.append((camera, Visit(person, (outfit + 1) % config.outfits)))
    return out


def plan(config: PeopleConfig) -> dict[int, list[list[Visit]]]:
    """Per camera the visits in groups who are seen together; nobody meets themself."""
    visits: dict[int, list[Visit]] = {number: [] for number in range(1, config.cameras + 1)}
    for person in range(1, config.people + 1):
        for camera, visit in visits_of(person, config):
            visits[camera].append(visit)
    return {
        camera: _groups(mine, np.random.default_rng([config.seed, 5, camera]))
        for camera, mine in visits.items()
    }


def _groups(visits: list[Visit], rng: np.random.Generator) -> list[list[Visit]]:
    waiting = deque(visits[k] for k in rng.permutation(len(visits)))
    out: list[list[Visit]] = []
    while waiting:
        want = int(rng.integers(*_COMPANY))
        group: list[Visit] = []
        later: list[Visit] = []
        while waiting and len(group) < want:
            visit = waiting.popleft()
            met = any(visit.person == other.person for other in group)
            (later if met else group).append(visit)
        waiting.extendleft(reversed(later))
        out.append(group)
    return out
