"""One scene: a few people in front of a camera, seen several times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crosscam_trainer.people.crops import Crop, cut
from crosscam_trainer.people.degradations import draw_moment
from crosscam_trainer.people.dressing import dress
from crosscam_trainer.people.people import draw_person
from crosscam_trainer.people.poses import draw_motion, pose

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from crosscam_edge.simulate import _raster
    from crosscam_trainer.people.cameras import Station
    from crosscam_trainer.people.config import PeopleConfig
    from crosscam_trainer.people.dressing import Figure
    from crosscam_trainer.people.schedule import Visit

    Floats = NDArray[np.float64]
    Picture = NDArray[np.uint8]

_APART = 0.5  # metres between two people, at least
_CUT = 0.08  # share of people whom the edge of the picture cuts
_TALL = ((56, 110), (90, 180), (150, 330))  # ranges of heights in the frame, pixels
_TALL_ODDS = (0.2, 0.45, 0.35)


@dataclass(frozen=True, slots=True)
class Seen:
    """A crop and whose it is.

    Attributes:
        visit: Who, in what.
        view: Number of the picture in the scene.
        crop: The picture.
    """

    visit: Visit
    view: int
    crop: Crop


def _places(station: Station, count: int, rng: np.random.Generator) -> list[Floats]:
    """Where each person stands; every other one near the one before, to hide and be hidden."""
    out: list[Floats] = []
    for _ in range(count):
        low, high = _TALL[int(rng.choice(len(_TALL), p=_TALL_ODDS))]
        spots = station.spots(low, high)
        if not len(spots):
            spots = station.spots(40, 420)
        if rng.random() < _CUT and len(station.cut):
            spots = station.cut[:, :2]
        if out:
            gap = np.linalg.norm(spots[:, None] - np.array(out)[None], axis=2).min(1)
            free = spots[gap > _APART]
            near = spots[(gap > _APART) & (gap < 1.3)]
            if len(near) and rng.random() < 0.35:
                free = near
            spots = free if len(free) else spots
        out.append(spots[int(rng.integers(len(spots)))])
    return out


def _classes(
    figure: Figure, place: int, row: NDArray[np.int32], ids: Picture, parts: Picture
) -> Picture:
    """Index in `LIP` of what each pixel shows of one person `(H, W)`, else 0."""
    out = np.zeros(ids.shape, np.uint8)
    x0, y0, x1, y1 = row[4:8].tolist()
    window = np.s_[y0:y1, x0:x1]
    out[window] = figure.classes[np.where(ids[window] == place + 1, parts[window], 0)]
    return out


def render_scene(
    station: Station,
    view: _raster.View,
    group: Sequence[Visit],
    number: int,
    config: PeopleConfig,
) -> Iterator[Seen]:
    """Render a scene and cut everybody out.

    Args:
        station: The camera.
        view: Its picture of the place.
        group: Who is there.
        number: Of the scene at this camera.
        config: Of the set.
    """
    rng = np.random.default_rng([config.seed, 6, station.number, number])
    moment = draw_moment(station.channel, rng)
    people = [draw_person(v.person, config.outfits, config.seed, config.sober) for v in group]
    figures = [
        dress(person, person.outfits[v.outfit]) for person, v in zip(people, group, strict=True)
    ]
    bones = []
    for person, figure, visit, at in zip(
        people, figures, group, _places(station, len(group), rng), strict=True
    ):
        motion = draw_motion(person, person.outfits[visit.outfit], at, config.views, rng)
        # Who would walk out of the picture or into a wall turns back to where there is ground.
        positions = np.array([station.ground.push_out(p) for p in motion.positions()])
        bones.append(pose(figure.body, motion, positions))
    for k in range(config.views):
        frame, rows, ids, parts = view.render_parts(
            [f.mesh for f in figures],
            np.stack([b[k] for b in bones]),
            (number * 131 + k) % (1 << 31),
        )
        for j, (figure, visit) in enumerate(zip(figures, group, strict=True)):
            classes = _classes(figure, j, rows[j], ids, parts)
            own = np.random.default_rng([config.seed, 7, station.number, number, k, j])
            crop = cut(frame, classes, rows[j], station, moment, config.max_height, own)
            if crop is not None:
                yield Seen(visit, k, crop)
