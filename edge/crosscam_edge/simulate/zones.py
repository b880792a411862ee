"""The places of a site: a lobby, a corridor, a shop and a street, with doors and furniture.

A zone has its own coordinates: x to the right, y away from the camera, metres. What can be walked
on is a set of rectangles minus the furniture; doors lead through a wall into a short passage that
turns away from the camera, so people leave and enter out of sight.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.simulate.materials import Material, Pattern, linear
from crosscam_edge.simulate.scenery import Scene

if TYPE_CHECKING:
    from collections.abc import Callable

Rect = tuple[float, float, float, float]  # x0, y0, x1, y1
Spot = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a camera hangs and how it looks.

    Attributes:
        eye: Position, zone coordinates.
        target: A point in the middle of the picture.
        fov: Horizontal field of view in degrees.
    """

    eye: tuple[float, float, float]
    target: tuple[float, float, float]
    fov: float


@dataclass(slots=True)
class Zone:
    """One place.

    Attributes:
        kind: ``lobby``, ``corridor``, ``shop`` or ``street``.
        scene: What is built there.
        floors: Rectangles that can be walked on.
        blocks: Rectangles on them that cannot.
        portals: Name of a way out to the spot, out of every camera's sight, where it ends.
        places: Spots where people like to be.
        mounts: Possible cameras; a second one, where there is one, overlaps the first.
        lamps: Rows `(x, y, z, half x, half y, R, G, B, sun)`.
        sky: Ambient light from above.
        ground: Ambient light from below.
        offset: Where the zone's origin lies in the world.
    """

    kind: str
    scene: Scene = field(default_factory=Scene)
    floors: list[Rect] = field(default_factory=list)
    blocks: list[Rect] = field(default_factory=list)
    portals: dict[str, Spot] = field(default_factory=dict)
    places: list[Spot] = field(default_factory=list)
    mounts: list[Mount] = field(default_factory=list)
    lamps: list[tuple[float, ...]] = field(default_factory=list)
    sky: tuple[float, float, float] = (0.45, 0.45, 0.46)
    ground: tuple[float, float, float] = (0.28, 0.27, 0.25)
    offset: tuple[float, float] = (0.0, 0.0)


_WOOD = Material(
    linear(0x9A7048), linear(0x6E4A2C), pattern=Pattern.PLANKS, a=0.14, b=0.9, specular=0.1
)
_METAL = Material(linear(0x9FA3A8))
_DARK = Material(linear(0x2A2B2E))
_WHITE = Material(linear(0xDCDAD4))
_GLOW = Material((1.0, 0.98, 0.94), emission=1.0)
_LEAF = Material(linear(0x3B6B33), linear(0x6C9A4B), pattern=Pattern.MOTTLED, a=0.2)
_PAPER = (0xC9543F, 0x3F6FB0, 0xD9A83A, 0x4F8A5B, 0x7A5BA0)


def _wall_x(
    zone: Zone, y: float, x0: float, x1: float, height: float, material: Material, thick: float
) -> None:
    zone.scene.box(x0, y, 0, x1, y + thick, height, material)
    skirting = Material(linear(0x5A5550))
    zone.scene.box(x0, y - 0.015, 0, x1, y, 0.09, skirting)


def _side_wall(
    zone: Zone,
    x: float,
    outward: float,
    depth: float,
    door: float | None,
    height: float,
    wall: Material,
) -> None:
    """A wall along y with, where `door` says, a doorway into a passage towards the camera."""
    thick = 0.16
    a, b = sorted((x, x + outward * thick))
    skirting = Material(linear(0x5A5550))
    scene = zone.scene
    spans = (
        [(-0.5, depth + 0.5)] if door is None else [(-0.5, door - 0.6), (door + 0.6, depth + 0.5)]
    )
    inner = sorted((x, x - outward * 0.015))
    for y0, y1 in spans:
        scene.box(a, y0, 0, b, y1, height, wall)
        scene.box(inner[0], y0, 0, inner[1], y1, 0.09, skirting)
    if door is None:
        return
    scene.box(a, door - 0.6, 2.15, b, door + 0.6, height, wall)
    frame = Material(linear(0x6B4A30))
    for y in (door - 0.6, door + 0.54):
        scene.box(a - 0.02, y, 0, b + 0.02, y + 0.06, 2.2, frame)
    scene.box(a - 0.02, door - 0.6, 2.12, b + 0.02, door + 0.6, 2.2, frame)
    # The passage: beyond the door, then towards the camera's side of the building.
    far = x + outward * 2.2
    p0, p1 = sorted((x + outward * thick, far))
    scene.quad(
        (p0, door - 6, 0),
        (p1, door - 6, 0),
        (p1, door + 0.9, 0),
        (p0, door + 0.9, 0),
        Material(linear(0x8A857C)),
    )
    wall2 = Material(linear(0xA8A296))
    scene.quad(
        (far, door - 6, 0),
        (far, door + 0.9, 0),
        (far, door + 0.9, 2.6),
        (far, door - 6, 2.6),
        wall2,
    )
    scene.quad(
        (p0, door + 0.9, 0),
        (p1, door + 0.9, 0),
        (p1, door + 0.9, 2.6),
        (p0, door + 0.9, 2.6),
        wall2,
    )
    scene.quad(
        (p0, door - 6, 2.6),
        (p1, door - 6, 2.6),
        (p1, door + 0.9, 2.6),
        (p0, door + 0.9, 2.6),
        wall2,
    )
    zone.lamps.append(((p0 + p1) / 2, door - 0.3, 2.55, 0.3, 0.3, 2.2, 2.1, 1.9, 0.0))
    step = sorted((x - outward * 0.3, far - outward * 0.3))
    zone.floors.append((step[0], door - 0.55, step[1], door + 0.55))
    hall = sorted((x + outward * (thick + 0.3), far - outward * 0.3))
    zone.floors.append((hall[0], door - 4.2, hall[1], door + 0.55))
    zone.portals["left" if outward < 0 else "right"] = ((hall[0] + hall[1]) / 2, door - 3.8)


def _room(
    kind: str,
    width: float,
    depth: float,
    height: float,
    floor: Material,
    wall: Material,
    doors: tuple[float | None, float | None],
    rng: np.random.Generator,
) -> Zone:
    zone = Zone(kind)
    scene = zone.scene
    zone.floors.append((0.15, 0.3, width - 0.15, depth - 0.15))
    scene.quad((0, -1, 0), (width, -1, 0), (width, depth, 0), (0, depth, 0), floor)
    scene.quad(
        (0, -1, height),
        (0, depth, height),
        (width, depth, height),
        (width, -1, height),
        Material(linear(0xD8D6D0), linear(0x9A9894), linear(0xCCCAC4), Pattern.TILES, 0.6, 0.012),
    )
    _wall_x(zone, depth, -0.2, width + 0.2, height, wall, 0.16)
    scene.box(0, -1.1, 0, width, -1.0, height, wall)
    _side_wall(zone, 0.0, -1.0, depth, doors[0], height, wall)
    _side_wall(zone, width, 1.0, depth, doors[1], height, wall)
    warm = rng.uniform(0.82, 1.0)
    columns, rows = max(1, round(width / 3.6)), max(1, round(depth / 3.6))
    power = 19.0 * (width * depth) / (40 * columns * rows) + 3.0
    for i in range(columns):
        for j in range(rows):
            x, y = (i + 0.5) * width / columns, (j + 0.5) * depth / rows
            scene.box(x - 0.6, y - 0.15, height - 0.03, x + 0.6, y + 0.15, height - 0.005, _GLOW)
            zone.lamps.append(
                (
                    x,
                    y,
                    height - 0.06,
                    0.6,
                    0.15,
                    power,
                    power * (0.94 + 0.04 * warm),
                    power * warm,
                    0.0,
                )
            )
    return zone


def _block(zone: Zone, x0: float, y0: float, x1: float, y1: float) -> None:
    zone.blocks.append((x0, y0, x1, y1))


def _poster(zone: Zone, x: float, y: float, rng: np.random.Generator) -> None:
    colour = _PAPER[int(rng.integers(len(_PAPER)))]
    art = Material(
        linear(colour),
        linear(0xE8E2D0),
        linear(0x30302C),
        Pattern.MOTTLED,
        0.35,
        seed=int(rng.integers(99)),
    )
    zone.scene.box(x - 0.45, y - 0.03, 1.1, x + 0.45, y, 2.2, _DARK)
    zone.scene.box(x - 0.40, y - 0.035, 1.15, x + 0.40, y - 0.03, 2.15, art)


def _plant(zone: Zone, x: float, y: float, rng: np.random.Generator) -> None:
    zone.scene.column(x, y, 0, 0.42, 0.16, 0.22, Material(linear(0x7B4B36)))
    zone.scene.column(x, y, 0.42, 0.8, 0.025, 0.02, _WOOD)
    zone.scene.leaves((x, y, 1.0), (0.34, 0.34, 0.5), 220, 0.07, _LEAF, rng)
    _block(zone, x - 0.25, y - 0.25, x + 0.25, y + 0.25)


def _sofa(zone: Zone, x: float, y: float, width: float, colour: int) -> None:
    cloth = Material(linear(colour), bump=0.2, fold=0.1)
    s = zone.scene
    s.box(x, y, 0.1, x + width, y + 0.85, 0.42, cloth)
    s.box(x, y + 0.62, 0.42, x + width, y + 0.85, 0.85, cloth)
    s.box(x - 0.16, y, 0.1, x, y + 0.85, 0.6, cloth)
    s.box(x + width, y, 0.1, x + width + 0.16, y + 0.85, 0.6, cloth)
    _block(zone, x - 0.16, y, x + width + 0.16, y + 0.85)


def _table(zone: Zone, x: float, y: float, wide: float, deep: float, height: float) -> None:
    s = zone.scene
    s.box(x, y, height - 0.04, x + wide, y + deep, height, _WOOD)
    for dx in (0.04, wide - 0.09):
        for dy in (0.04, deep - 0.09):
            s.box(x + dx, y + dy, 0, x + dx + 0.05, y + dy + 0.05, height - 0.04, _DARK)
    _block(zone, x, y, x + wide, y + deep)


def lobby(rng: np.random.Generator) -> Zone:
    """A reception hall with a desk, a sofa, tables and plants."""
    w, d = 9.5, 10.0
    floor = Material(
        linear(0xB5AC9C),
        linear(0x6E6A64),
        linear(0x988C7A),
        Pattern.TILES,
        0.6,
        0.008,
        seed=int(rng.integers(99)),
    )
    wall = Material(linear(0xCFCABC), linear(0xC2BDAE), pattern=Pattern.MOTTLED, a=1.3)
    zone = _room("lobby", w, d, 3.0, floor, wall, (6.0, 6.6), rng)
    desk = Material(linear(0x6A4B34), linear(0x4D3524), pattern=Pattern.PLANKS, a=0.25, b=2.0)
    zone.scene.box(3.2, 8.3, 0, 6.2, 8.9, 1.05, desk)
    zone.scene.box(3.1, 8.2, 1.05, 6.3, 8.95, 1.1, _WHITE)
    _block(zone, 3.1, 8.2, 6.3, d)
    _sofa(zone, 0.55, 8.6, 1.8, int(rng.choice([0x3C5568, 0x7A4A3C, 0x55604A])))
    _table(zone, 6.6, 3.6, 1.1, 0.7, 0.74)
    _plant(zone, 8.9, 9.3, rng)
    _plant(zone, 0.5, 3.4, rng)
    for x in (1.5, 7.6):
        _poster(zone, x, d, rng)
    zone.places = [
        (4.7, 7.5),
        (1.5, 7.9),
        (7.2, 4.8),
        (3.2, 4.6),
        (5.4, 5.6),
        (2.2, 6.4),
        (7.8, 8.3),
        (6.0, 3.2),
    ]
    zone.mounts = [
        Mount((4.2, -0.7, 2.7), (4.8, 5.4, 0.85), 60),
        Mount((4.9, 9.7, 2.8), (4.5, 3.6, 0.6), 84),
    ]
    return zone


def shop(rng: np.random.Generator) -> Zone:
    """A shop with shelves and a till; people are half hidden behind the goods."""
    w, d = 10.0, 10.5
    floor = Material(
        linear(0xC6C4BC),
        linear(0x8D8B85),
        linear(0xB2B0A8),
        Pattern.TILES,
        0.45,
        0.006,
        seed=int(rng.integers(99)),
    )
    wall = Material(linear(0xD8D4C6), linear(0xCBC8B9), pattern=Pattern.MOTTLED, a=1.5)
    zone = _room("shop", w, d, 3.0, floor, wall, (5.2, 7.8), rng)
    goods = Material(
        linear(0x8A8680),
        linear(0x7A3028),
        linear(0xC9B060),
        Pattern.GOODS,
        0.13,
        0.34,
        seed=int(rng.integers(999)),
    )
    for x0, y0, x1, y1, z in (
        (1.3, 7.0, 4.3, 7.7, 1.4),
        (5.6, 5.2, 8.2, 5.9, 1.35),
        (0.2, 9.6, 9.8, 10.35, 2.0),
    ):
        zone.scene.box(x0, y0, 0, x1, y1, 0.12, _DARK)
        zone.scene.box(x0 + 0.03, y0 + 0.03, 0.12, x1 - 0.03, y1 - 0.03, z, goods)
        for k in range(1, round(z / 0.34) + 1):
            zone.scene.box(x0, y0, 0.34 * k - 0.012, x1, y1, 0.34 * k + 0.012, _METAL)
        _block(zone, x0, y0, x1, y1 if y1 < 10 else d)
    zone.scene.box(0.7, 2.9, 0, 1.5, 4.3, 0.95, Material(linear(0x3D4A56)))
    zone.scene.box(0.65, 2.85, 0.95, 1.55, 4.35, 1.0, _WHITE)
    zone.scene.box(0.9, 3.5, 1.0, 1.2, 3.8, 1.3, _DARK)
    _block(zone, 0.65, 2.85, 1.55, 4.35)
    zone.scene.column(
        8.6,
        3.2,
        0,
        0.75,
        0.45,
        0.4,
        Material(linear(0xA4763E), linear(0x7E5628), pattern=Pattern.MOTTLED, a=0.1),
    )
    _block(zone, 8.15, 2.75, 9.05, 3.65)
    zone.places = [
        (2.8, 8.6),
        (3.0, 6.3),
        (6.8, 4.5),
        (6.9, 6.7),
        (2.1, 3.7),
        (5.0, 8.8),
        (8.6, 8.8),
        (4.8, 4.2),
        (7.7, 3.2),
        (1.4, 5.9),
    ]
    zone.mounts = [
        Mount((5.6, -0.8, 2.75), (4.8, 5.6, 0.8), 62),
        Mount((5.0, 9.4, 2.85), (4.9, 3.8, 0.6), 84),
    ]
    return zone


def corridor(rng: np.random.Generator) -> Zone:
    """A long corridor with doors on both sides."""
    w, d = 3.4, 15.0
    floor = Material(
        linear(0x8C8F90),
        linear(0x747778),
        pattern=Pattern.MOTTLED,
        a=0.5,
        seed=int(rng.integers(99)),
    )
    wall = Material(linear(0xC4CBCB), linear(0x5E7C8A), pattern=Pattern.BLOCK, offset=(0, 0, 1.15))
    zone = _room("corridor", w, d, 2.7, floor, wall, (11.6, 7.4), rng)
    door = Material(linear(0x7C5A3C), linear(0x664730), pattern=Pattern.PLANKS, a=0.3, b=2.1)
    for x, outward in ((0.0, 1.0), (w, -1.0)):
        for y in (4.2, 9.6 if outward > 0 else 12.6):
            a, b = sorted((x, x + outward * 0.03))
            zone.scene.box(a, y - 0.5, 0, b, y + 0.5, 2.08, door)
    zone.scene.box(0.0, 12.7, 0, 0.45, 14.0, 1.7, Material(linear(0x8F9296)))
    _block(zone, 0, 12.7, 0.45, 14.0)
    zone.scene.box(2.85, 9.2, 0.4, 3.3, 10.6, 0.46, _WOOD)
    zone.scene.box(2.9, 9.3, 0, 3.25, 9.4, 0.4, _DARK)
    zone.scene.box(2.9, 10.4, 0, 3.25, 10.5, 0.4, _DARK)
    _block(zone, 2.85, 9.2, 3.4, 10.6)
    _poster(zone, 1.7, d, rng)
    zone.places = [
        (1.2, 13.6),
        (2.4, 13.2),
        (1.4, 5.0),
        (2.2, 8.6),
        (1.2, 9.8),
        (2.0, 11.9),
        (1.7, 6.4),
    ]
    zone.mounts = [Mount((1.9, -0.5, 2.45), (1.65, 7.2, 0.75), 54)]
    return zone


def _car(scene: Scene, x: float, y: float, colour: int) -> None:
    paint = Material(linear(colour))
    glass = Material(linear(0x2A333B))
    profile = [
        (0, 0.35),
        (0.05, 0.75),
        (1.0, 0.92),
        (1.55, 1.38),
        (3.0, 1.42),
        (3.75, 0.98),
        (4.3, 0.9),
        (4.35, 0.4),
    ]
    n = len(profile)
    for k in range(n):
        (a, za), (b, zb) = profile[k], profile[(k + 1) % n]
        window = k in (2, 4)
        scene.quad(
            (x + a, y, za),
            (x + b, y, zb),
            (x + b, y + 1.75, zb),
            (x + a, y + 1.75, za),
            glass if window else paint,
        )
    for side in (0.0, 1.75):
        fan = [
            [
                (x + 2.2, y + side, 0.6),
                (x + profile[k][0], y + side, profile[k][1]),
                (x + profile[(k + 1) % n][0], y + side, profile[(k + 1) % n][1]),
            ]
            for k in range(n)
        ]
        scene.triangles(np.array(fan), paint)
        s = y + side + (0.004 if side else -0.004)
        scene.quad(
            (x + 1.2, s, 0.95), (x + 1.65, s, 1.3), (x + 2.95, s, 1.33), (x + 3.5, s, 0.98), glass
        )
        for wheel in (0.85, 3.4):
            u = np.linspace(0, 2 * np.pi, 17)
            rim = [
                [
                    (x + wheel, s + (0.01 if side else -0.01), 0.33),
                    (x + wheel + 0.33 * np.cos(u[i]), s, 0.33 + 0.33 * np.sin(u[i])),
                    (x + wheel + 0.33 * np.cos(u[i + 1]), s, 0.33 + 0.33 * np.sin(u[i + 1])),
                ]
                for i in range(16)
            ]
            scene.triangles(np.array(rim), _DARK)


def street(rng: np.random.Generator) -> Zone:
    """A paved yard before houses, with trees, a parked car and crates, lit by the sun."""
    zone = Zone("street")
    s = zone.scene
    stone = Material(
        linear(0xA7A199),
        linear(0x77726B),
        linear(0x8E887F),
        Pattern.TILES,
        0.5,
        0.014,
        seed=int(rng.integers(99)),
    )
    asphalt = Material(linear(0x5B5C5E), linear(0x46474A), pattern=Pattern.MOTTLED, a=0.35)
    s.quad((-30, -12, 0), (45, -12, 0), (45, 8.2, 0), (-30, 8.2, 0), stone)
    s.box(-30, 8.2, -0.12, 45, 8.4, 0.02, Material(linear(0xB8B4AA)))
    s.quad((-30, 8.4, -0.11), (45, 8.4, -0.11), (45, 14, -0.11), (-30, 14, -0.11), asphalt)
    s.quad(
        (-30, 11.1, -0.105),
        (45, 11.1, -0.105),
        (45, 11.22, -0.105),
        (-30, 11.22, -0.105),
        Material(linear(0xD8D4C0)),
    )
    s.quad((-30, 14, 0), (45, 14, 0), (45, 17, 0), (-30, 17, 0), stone)
    facades = [
        Material(
            linear(0xB98A68), linear(0x9A6E50), linear(0x35424E), Pattern.WINDOWS, 2.6, 3.0, seed=3
        ),
        Material(
            linear(0xC9C2AE), linear(0xB0A992), linear(0x2F3A45), Pattern.WINDOWS, 2.2, 2.9, seed=5
        ),
        Material(
            linear(0x8A5A48), linear(0x6E4234), linear(0x2C3640), Pattern.WINDOWS, 3.0, 3.1, seed=9
        ),
    ]
    x = -22.0
    while x < 38:
        width = float(rng.uniform(8, 12))
        s.box(
            x, 17, 0, x + width - 0.05, 24, float(rng.uniform(9, 13)), facades[int(rng.integers(3))]
        )
        s.box(x + 1.2, 16.94, 0, x + 2.4, 17, 2.3, _WOOD)
        x += width
    _car(
        s,
        float(rng.uniform(8, 9.5)),
        8.75,
        int(rng.choice([0x9A2A2A, 0x2D4F7C, 0xB9BCC0, 0x34383C])),
    )
    bark = Material(linear(0x4E3D2E), linear(0x6A5642), pattern=Pattern.MOTTLED, a=0.15)
    for tx, ty in ((2.4, 7.3), (12.6, 7.4)):
        s.column(tx, ty, 0, 3.0, 0.16, 0.1, bark)
        s.leaves((tx, ty, 4.2), (1.7, 1.7, 1.5), 1500, 0.14, _LEAF, rng)
        _block(zone, tx - 0.25, ty - 0.25, tx + 0.25, ty + 0.25)
    crate = Material(linear(0x9C7A4C), linear(0x7C5C36), pattern=Pattern.PLANKS, a=0.12, b=0.7)
    s.box(9.2, 4.3, 0, 10.1, 5.1, 0.75, crate)
    s.box(10.15, 4.4, 0, 10.95, 5.15, 0.6, crate)
    s.box(9.35, 4.4, 0.75, 10.0, 5.0, 1.3, crate)
    _block(zone, 9.2, 4.3, 10.95, 5.15)
    s.box(4.2, 6.4, 0.42, 6.0, 6.85, 0.48, _WOOD)
    s.box(4.2, 6.8, 0.48, 6.0, 6.87, 0.9, _WOOD)
    for lx in (4.35, 5.75):
        s.box(lx, 6.45, 0, lx + 0.08, 6.8, 0.42, _DARK)
    _block(zone, 4.2, 6.4, 6.0, 6.9)
    zone.floors = [(-6.6, 1.2, 21.6, 8.0)]
    zone.portals = {"left": (-6.2, 3.0), "right": (21.2, 3.2)}
    zone.places = [(5.0, 5.6), (7.8, 6.8), (10.0, 6.2), (3.0, 4.4), (7.0, 3.6), (12.2, 5.6)]
    zone.mounts = [
        Mount((7.5, -2.4, 3.4), (7.5, 5.0, 0.9), 60),
        Mount((1.0, -0.8, 3.9), (6.3, 6.8, 0.3), 64),
    ]
    zone.lamps = [(float(rng.uniform(-0.7, 0.7)), -0.55, 0.85, 0.0, 0.0, 2.5, 2.35, 2.1, 1.0)]
    zone.sky, zone.ground = (0.62, 0.72, 0.9), (0.3, 0.28, 0.26)
    return zone


KINDS: dict[str, Callable[[np.random.Generator], Zone]] = {
    "lobby": lobby, "corridor": corridor, "shop": shop, "street": street,
}  # fmt: skip
