"""Full pictures with everybody boxed, to train a detector of people on.

Other scenes than those that crops are cut from: nobody to a dozen people, near and far, in front of
each other and cut by the edge of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crosscam_trainer.people.degradations import degrade, draw_moment
from crosscam_trainer.people.dressing import dress
from crosscam_trainer.people.people import draw_person
from crosscam_trainer.people.poses import draw_motion, pose
from crosscam_trainer.people.schedule import Visit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.simulate import _raster
    from crosscam_trainer.people.cameras import Station
    from crosscam_trainer.people.config import PeopleConfig

    Floats = NDArray[np.float64]
    Picture = NDArray[np.uint8]
    Box = tuple[int, int, int, int]

_MOST = 12
_EMPTY = 0.08  # share of pictures without anybody
_APART = 0.45  # metres between two people, at least
_CLOSE = 0.35  # share of people who stand beside another
_CUT = 0.15  # share of people whom the edge of the picture cuts
_TALL = (26.0, 520.0)  # a grown-up's height, pixels of a picture 640 wide
_LEAST_SEEN = 0.15  # people of whom less is seen, and smaller ones, are marked `ignore`
_LEAST_HEIGHT = 14


@dataclass(frozen=True, slots=True)
class Boxed:
    """Somebody in a picture.

    Attributes:
        visit: Who, in what.
        whole: x0, y0, x1, y1 of the whole body, hidden parts included, cut at the edge of the
            picture; pixels.
        seen: The same of the pixels that show the person.
        visible: Share of the silhouette that the picture shows, what is outside of it included.
        ignore: Too small or too hidden to ask for.
    """

    visit: Visit
    whole: tuple[int, int, int, int]
    seen: tuple[int, int, int, int]
    visible: float
    ignore: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture `(H, W, 3)` BGR with the people in it, nobody at times."""

    image: Picture
    people: tuple[Boxed, ...]


def _crowd(config: PeopleConfig, rng: np.random.Generator) -> list[Visit]:
    """Who is there: few people often, many now and then; of those who are trained on."""
    count = 0 if rng.random() < _EMPTY else min(int(rng.geometric(0.22)), _MOST)
    known = max(config.people - config.tested, 1)
    who = rng.choice(known, min(count, known), replace=False) + 1
    return [Visit(int(person), int(rng.integers(config.outfits))) for person in who]


def _places(station: Station, count: int, rng: np.random.Generator) -> list[Floats]:
    """Where each person stands: sizes even on a scale of logarithms, as far as the place allows."""
    out: list[Floats] = []
    low, high = np.log(_TALL)
    for _ in range(count):
        spots = station.standing
        if len(station.cut) and rng.random() < _CUT:
            spots = station.cut
        if out:
            gap = np.linalg.norm(spots[:, None, :2] - np.array(out)[None], axis=2).min(1)
            near = spots[(gap > _APART) & (gap < 1.2)]
            free = spots[gap > _APART]
            if len(near) and rng.random() < _CLOSE:
                free = near
            spots = free if len(free) else spots
        # Of a few spots the one whose height is nearest to the one that was drawn.
        some = spots[rng.integers(len(spots), size=24)]
        wanted = rng.uniform(low, high)
        out.append(some[int(np.argmin(np.abs(np.log(np.maximum(some[:, 2], 1)) - wanted))), :2])
    return out


def _boxes(row: NDArray[np.int32], body: Picture | None) -> tuple[Box, Box]:
    """Boxes of the whole and of what is seen, from a row of the truth of `View.render`.

    Of who pulls a suitcase, which the renderer counts as a part of them, `body` says which pixels
    show the person: sides that the case had moved go back to the body.
    """
    whole, seen = row[0:4].tolist(), row[4:8].tolist()
    if body is not None and body.any():
        y, x = np.nonzero(body)
        own = [int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1]
        whole = [o if w == s else w for w, s, o in zip(whole, seen, own, strict=True)]
        seen = own
    return (whole[0], whole[1], whole[2], whole[3]), (seen[0], seen[1], seen[2], seen[3])


def render_frame(station: Station, view: _raster.View, number: int, config: PeopleConfig) -> Frame:
    """Render a picture of a camera.

    Args:
        station: The camera.
        view: Its picture of the place.
        number: Of the picture at this camera.
        config: Of the set.
    """
    rng = np.random.default_rng([config.seed, 8, station.number, number])
    moment = draw_moment(station.channel, rng)
    visits = _crowd(config, rng)
    figures, bones, pulls = [], [], []
    for visit, at in zip(visits, _places(station, len(visits), rng), strict=True):
        person = draw_person(visit.person, config.outfits, config.seed, config.sober)
        outfit = person.outfits[visit.outfit]
        pulls.append(outfit.bag == "suitcase")
        figure = dress(person, outfit)
        motion = draw_motion(person, outfit, at, 1, rng)
        figures.append(figure)
        bones.append(pose(figure.body, motion, at[None])[0])
    poses = np.stack(bones) if bones else np.zeros((0, 1, 12), np.float32)
    meshes = [figure.mesh for figure in figures]
    image, rows, ids, parts = view.render_parts(meshes, poses, (number * 131 + 77) % (1 << 31))
    image = degrade(image, station.channel, moment, rng, unit=station.scale)
    height, width = image.shape[:2]
    people = []
    for k, (visit, row) in enumerate(zip(visits, rows, strict=True)):
        if row[8] <= 0 or row[10] <= 0:
            continue
        own = np.where(ids == k + 1, parts, 0)
        body = figures[k].classes[own] if pulls[k] else None
        whole, seen = _boxes(row, body)
        whole = (max(whole[0], 0), max(whole[1], 0), min(whole[2], width), min(whole[3], height))
        visible = float(row[10] / row[8])
        small = whole[3] - whole[1] < _LEAST_HEIGHT * station.scale
        people.append(Boxed(visit, whole, seen, visible, visible < _LEAST_SEEN or small))
    return Frame(image, tuple(people))
