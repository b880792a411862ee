"""Cameras: where one hangs, what it sees, its lens, its colours, what its pictures suffer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.simulate.cameras import Camera, make_view
from crosscam_edge.simulate.layout import CELL, Ground, Layout
from crosscam_trainer.people.places import draw_place

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.simulate import _raster
    from crosscam_edge.simulate.zone import Zone

    Floats = NDArray[np.float64]

_RAYS = 5  # of ambient light per pixel: smoothed and then coded, more are not seen
_GROWN = 1.75  # metres
_PART = 0.25  # share of a body's height that is in the picture where its edge cuts people
_MARGIN = 0.04  # share of the frame that heads and feet keep from its edge, mostly


@dataclass(frozen=True, slots=True)
class Channel:
    """What happens to pictures between the sensor and the file.

    Attributes:
        scale: Resolution left, 0 to 1.
        blur: Defocus, standard deviation in pixels of a crop 128 high.
        motion: Longest smear, in the same pixels.
        sharpen: Strength of the halo that cheap cameras draw.
        noise: Standard deviation of the grain, grey levels.
        chroma: The same of coloured blotches.
        quality: Of the JPEG coder, lowest and highest.
        drift: How far white balance and exposure wander between visits.
        haze: Share of white that flare or dirt adds.
        levels: Grey levels that become 0 and 255: cameras clip what is dark and what is bright.
    """

    scale: float
    blur: float
    motion: float
    sharpen: float
    noise: float
    chroma: float
    quality: tuple[int, int]
    drift: float
    haze: float
    levels: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Station:
    """A camera with its place.

    Attributes:
        number: From 1.
        camera: Geometry and look.
        zone: The place.
        ground: Where one can stand.
        channel: What its pictures suffer.
        standing: `(N, 3)`: where one can stand in sight, x and y in metres, and how tall a
            grown-up is there in pixels of a picture 640 wide.
        cut: The same of spots where the edge of the picture cuts a grown-up.
    """

    number: int
    camera: Camera
    zone: Zone
    ground: Ground
    channel: Channel
    standing: Floats
    cut: Floats

    @property
    def scale(self) -> float:
        """Size of the picture relative to one 640 wide, in which heights of people are told."""
        return self.camera.width / 640

    def view(self) -> _raster.View:
        """Ray-trace the place: seconds, and some 20 MB."""
        layout = Layout([self.zone], [self.ground], [], [0], [0], [self.camera.name])
        return make_view(self.camera, layout, self.number * 7919 % (1 << 31), ambient_rays=_RAYS)

    def spots(self, low: int, high: int) -> Floats:
        """Where a grown-up can stand and is `low` to `high` pixels tall `(N, 2)`, metres.

        Pixels are those of a picture 640 wide.
        """
        tall = self.standing[:, 2]
        return np.asarray(self.standing[(tall >= low) & (tall <= high), :2])


def _standing(camera: Camera, ground: Ground) -> tuple[Floats, Floats]:
    """Free spots where head and feet are in the picture, and where a part of the body is.

    Both `(N, 3)`: x, y, pixels between head and feet.
    """
    cells = np.argwhere(ground.walkable)
    at = np.array([ground.x0, ground.y0]) + (cells + 0.5) * CELL
    feet = np.column_stack([at, np.zeros(len(at))])
    feet = feet[(feet @ camera.r.T + camera.t)[:, 2] > 0.8]
    if not len(feet):
        return np.zeros((0, 3)), np.zeros((0, 3))
    foot, head = camera.project(feet), camera.project(feet + np.array([0, 0, _GROWN]))
    size = np.array([camera.width, camera.height])
    margin = _MARGIN * size
    inside = ((foot > margin) & (foot < size - margin)).all(1)
    inside &= ((head > margin * 0.5) & (head < size - margin)).all(1)
    tall = (foot[:, 1] - head[:, 1]) * 640 / camera.width
    spots = np.column_stack([feet[:, :2], tall])
    seen = np.minimum(foot[:, 1], size[1]) - np.maximum(head[:, 1], 0)
    middle = (foot[:, 0] + head[:, 0]) / 2
    beside = 0.15 * (foot[:, 1] - head[:, 1])  # half of the body is still seen
    part = (seen > _PART * (foot[:, 1] - head[:, 1])) & (middle > -beside)
    part &= (middle < size[0] + beside) & ~inside
    return spots[inside], spots[part]


def _look(rng: np.random.Generator, outdoors: bool) -> tuple[float, ...]:
    """Gains, gamma, contrast, saturation, vignette, noise, softness of shadows.

    Wider than the simulator's: two cameras of one site show the same coat as brown and as violet.
    """
    warm, tint = float(rng.normal(0.0, 0.15)), float(rng.normal(0, 0.05))
    exposure = float(np.exp(rng.normal(-0.1, 0.3)))
    return (
        exposure * float(np.exp(warm)),
        exposure * float(np.exp(tint)),
        exposure * float(np.exp(-warm)),
        float(rng.uniform(1.6, 2.7)),
        float(rng.uniform(0.0, 0.7)),
        float(np.clip(rng.normal(0.68, 0.22), 0.15, 1.2)),
        float(rng.uniform(0.0, 0.5)),
        float(rng.uniform(0.3, 3.0)),
        float(rng.uniform(0.05, 0.15)) if outdoors else float(rng.uniform(0.3, 0.6)),
    )


def _channel(rng: np.random.Generator) -> Channel:
    low = int(rng.integers(20, 85))
    black = float(rng.uniform(-8, 38))
    return Channel(
        scale=float(rng.choice([1.0, rng.uniform(0.6, 1.0), rng.uniform(0.35, 0.7)])),
        blur=float(abs(rng.normal(0, 0.4))),
        motion=float(rng.uniform(0, 2.5)),
        sharpen=float(rng.choice([0.0, rng.uniform(0.2, 1.2)])),
        noise=float(min(np.exp(rng.normal(0.2, 0.9)), 9.0)),
        chroma=float(min(np.exp(rng.normal(-0.5, 0.9)), 5.0)),
        quality=(low, min(low + int(rng.integers(5, 25)), 96)),
        drift=float(rng.uniform(0.02, 0.09)),
        haze=float(rng.choice([0.0, rng.uniform(0.0, 0.2)], p=[0.8, 0.2])),
        levels=(black, float(rng.uniform(190, 300))),
    )


def draw_station(number: int, seed: int, frame: int = 640) -> Station:
    """Draw a camera; the same for the same numbers. Drawn again until it sees free ground.

    Args:
        number: From 1.
        seed: Of the set.
        frame: Width of its picture, about.
    """
    for attempt in range(20):
        rng = np.random.default_rng([seed, 3, number, attempt])
        zone = draw_place(rng)
        mount = zone.mounts[int(rng.integers(len(zone.mounts)))]
        eye = np.array(mount.eye) + rng.normal(0, [0.15, 0.05, 0.15])
        aim = np.array(mount.target) + rng.normal(0, [0.3, 0.4, 0.1])
        width = int(frame * rng.choice([0.875, 1.0, 1.125])) // 2 * 2
        height = int(width * rng.choice([0.5625, 0.75])) // 2 * 2
        forward = (aim - eye) / np.linalg.norm(aim - eye)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        down = np.cross(forward, right)
        roll = float(rng.normal(0, 0.025))
        c, s = np.cos(roll), np.sin(roll)
        r = np.stack([c * right + s * down, c * down - s * right, forward])
        fov = np.radians(mount.fov * float(rng.uniform(0.85, 1.1)))
        focal = width / 2 / np.tan(fov / 2)
        k = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
        outdoors = zone.kind in ("street", "yard")
        camera = Camera(
            f"c{number}", number, 0, width, height, k, r, -r @ eye, _look(rng, outdoors), 0
        )
        ground = Ground(zone)
        channel = _channel(rng)
        whole, cut = _standing(camera, ground)
        station = Station(number, camera, zone, ground, channel, whole, cut)
        if len(station.spots(90, 330)) > 150:
            return station
    raise AssertionError(f"camera {number} of seed {seed} sees no free ground")
