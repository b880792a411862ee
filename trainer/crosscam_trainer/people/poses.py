"""How somebody stands or walks at one instant."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.simulate.gait import poses, stride_length

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.simulate.body import Body
    from crosscam_edge.simulate.gait import Style
    from crosscam_trainer.people.people import Person
    from crosscam_trainer.people.wardrobe import Outfit

    Floats = NDArray[np.float64]

_BENDS = (0.0, 0.45, 1.1, 1.7)  # extra bend of an elbow, radians
_BEND_ODDS = (0.72, 0.14, 0.08, 0.06)
_STANDING = 0.22  # share of visits


@dataclass(frozen=True, slots=True)
class Motion:
    """One visit: a way that is walked, or a place to stand.

    Attributes:
        start: `(2,)` metres.
        heading: Radians from +x.
        speed: Metres a second; 0 stands.
        phase: Of the walk at the start, cycles.
        style: Habits, with what the hands are doing now.
        look: Turn of the head at each view `(V,)`, radians.
        times: When each view is taken `(V,)`, seconds.
        turns: Added to the heading at each view `(V,)`.
    """

    start: Floats
    heading: float
    speed: float
    phase: float
    style: Style
    look: Floats
    times: Floats
    turns: Floats

    def positions(self) -> Floats:
        """Where the person is at each view `(V, 2)`."""
        way = np.array([np.cos(self.heading), np.sin(self.heading)])
        return np.asarray(self.start + way * (self.speed * self.times)[:, None])


def _hands(style: Style, outfit: Outfit, rng: np.random.Generator) -> Style:
    """What the arms do: swing, hold, carry, rest in pockets."""
    left, right = (float(rng.choice(_BENDS, p=_BEND_ODDS) + rng.uniform(0, 0.15)) for _ in "lr")
    if outfit.phone:
        right = float(rng.uniform(1.2, 1.8))
    if outfit.bag in ("handbag", "shopping bag"):
        left = 0.0
    if outfit.bag == "suitcase":
        right = 0.0
    calm = 0.3 if outfit.bag == "suitcase" else 1.0
    return replace(style, left_bend=left, right_bend=right, arm=style.arm * calm)


def draw_motion(
    person: Person, outfit: Outfit, start: Floats, views: int, rng: np.random.Generator
) -> Motion:
    """Draw what a person does on one visit."""
    standing = rng.random() < _STANDING
    times = np.cumsum(rng.uniform(0.25, 0.9, views)) - 0.25
    return Motion(
        start=start,
        heading=float(rng.uniform(-np.pi, np.pi)),
        speed=0.0 if standing else person.speed * float(rng.uniform(0.7, 1.1)),
        phase=float(rng.random()),
        style=_hands(person.style, outfit, rng),
        look=rng.normal(0, 0.3, views),
        times=times,
        turns=np.cumsum(rng.normal(0, 0.5 if standing else 0.12, views)),
    )


def pose(body: Body, motion: Motion, positions: Floats) -> NDArray[np.float32]:
    """Bone transforms `(V, B, 12)` of the views, at positions `(V, 2)`."""
    height = float(np.ptp(body.points[:, 2]))
    views = len(motion.times)
    speed = np.full(views, motion.speed)
    stride = float(stride_length(max(motion.speed, 0.05), height, motion.style))
    phase = motion.phase + speed * motion.times / stride
    bones = poses(
        body, motion.style, positions, motion.heading + motion.turns, phase, speed, motion.look
    )
    return np.ascontiguousarray(bones.reshape(views, -1, 12), np.float32)
