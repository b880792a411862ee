"""Places to be seen in: rooms and yards with random surfaces, furniture, lamps and skies.

Some are the simulator's (a lobby, a shop, a corridor, a street), most are drawn freely: what a
network learns must not hang on four floors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.simulate.furniture import LEAF, car, plant, poster, sofa, table
from crosscam_edge.simulate.materials import Material, Pattern
from crosscam_edge.simulate.room import room
from crosscam_edge.simulate.zone import Mount, Zone
from crosscam_edge.simulate.zones import KINDS

if TYPE_CHECKING:
    from crosscam_edge.simulate.materials import Colour

_OWN_SHARE = 0.6
_OUTDOORS = 0.45


def _tone(rng: np.random.Generator, low: float, high: float, chroma: float) -> Colour:
    """A linear colour: a grey between two values, off by some chroma."""
    grey = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    rgb = np.clip(grey * (1 + chroma * rng.normal(0, 1, 3)), 0.01, 0.85)
    return float(rgb[0]), float(rgb[1]), float(rgb[2])


def _near(tone: Colour, rng: np.random.Generator, spread: float) -> Colour:
    rgb = np.clip(
        np.array(tone) * np.exp(rng.normal(0, spread) + rng.normal(0, 0.05, 3)), 0.01, 0.9
    )
    return float(rgb[0]), float(rgb[1]), float(rgb[2])


def surface(rng: np.random.Generator, *, wall: bool) -> Material:
    """A random floor or wall."""
    chroma = 0.3 if rng.random() < 0.15 else 0.09
    base = _tone(rng, 0.06 if not wall else 0.15, 0.6, chroma)
    other, third = _near(base, rng, float(rng.uniform(0.15, 0.8))), _near(base, rng, 0.25)
    seed = int(rng.integers(1 << 15))
    kinds = {
        Pattern.TILES: (rng.uniform(0.2, 0.9), rng.uniform(0.004, 0.016)),
        Pattern.PLANKS: (rng.uniform(0.07, 0.25), rng.uniform(0.6, 2.4)),
        Pattern.MOTTLED: (np.exp(rng.uniform(np.log(0.08), np.log(2.0))), 0.5),
        Pattern.BRICKS: (rng.uniform(0.2, 0.5), rng.uniform(0.06, 0.2)),
        Pattern.CHECKS: (rng.uniform(0.3, 1.2), 0.5),
        Pattern.GOODS: (rng.uniform(0.08, 0.25), rng.uniform(0.25, 0.5)),
        Pattern.WINDOWS: (rng.uniform(1.2, 3.0), rng.uniform(1.8, 3.2)),
        Pattern.STRIPES_Y: (rng.uniform(0.2, 1.5), 0.5),
    }
    odds = (
        (0.1, 0.08, 0.46, 0.16, 0.02, 0.04, 0.1, 0.04)
        if wall
        else (0.4, 0.16, 0.4, 0.02, 0.02, 0.0, 0.0, 0.0)
    )
    pattern = list(kinds)[int(rng.choice(len(kinds), p=odds))]
    a, b = kinds[pattern]
    return Material(base, other, third, pattern, float(a), float(b), seed=seed)


def _tinted(zone: Zone, rng: np.random.Generator) -> None:
    """Give lamps and sky a colour and a strength of their own."""
    warm = float(rng.normal(0, 0.16))
    tint = np.array([np.exp(warm), np.exp(rng.normal(0, 0.03)), np.exp(-warm)])
    lamps = []
    for lamp in zone.lamps:
        rgb = np.array(lamp[5:8]) * tint * np.exp(rng.normal(0, 0.3))
        if lamp[8] <= 0 and rng.random() < 0.15 and len(zone.lamps) > 2:
            rgb = rgb * 0.03  # one that is broken or off
        lamps.append((*lamp[:5], *(float(v) for v in rgb), lamp[8]))
    zone.lamps = lamps
    level = float(np.exp(rng.normal(0, 0.35)))
    sky, ground = np.array(zone.sky) * tint * level, np.array(zone.ground) * tint * level
    zone.sky = (float(sky[0]), float(sky[1]), float(sky[2]))
    zone.ground = (float(ground[0]), float(ground[1]), float(ground[2]))


def _goods(rng: np.random.Generator) -> Material:
    """Rows of packets of many colours."""
    return Material(
        _tone(rng, 0.03, 0.4, 0.1), _tone(rng, 0.1, 0.7, 0.3), _tone(rng, 0.1, 0.7, 0.3),
        Pattern.GOODS, float(rng.uniform(0.06, 0.2)), float(rng.uniform(0.2, 0.45)),
        seed=int(rng.integers(1 << 15)),
    )  # fmt: skip


def _lines(zone: Zone, width: float, depth: float, rng: np.random.Generator) -> None:
    """Painted lines and joints on the ground, bright or dark."""
    for _ in range(int(rng.integers(0, 5))):
        tone = _tone(rng, 0.5, 0.85, 0.08) if rng.random() < 0.6 else _tone(rng, 0.01, 0.06, 0.1)
        wide = float(rng.uniform(0.06, 0.35))
        paint = Material(tone, _near(tone, rng, 0.2), tone, Pattern.MOTTLED, 0.2)
        if rng.random() < 0.5:
            y = float(rng.uniform(0.5, depth))
            ends = (-2.0, y, width + 2.0, y + wide)
        else:
            x = float(rng.uniform(0.3, width - 0.3))
            ends = (x, -1.0, x + wide, depth)
        z = 0.004
        zone.scene.quad(
            (ends[0], ends[1], z), (ends[2], ends[1], z), (ends[2], ends[3], z),
            (ends[0], ends[3], z), paint,
        )  # fmt: skip


def _clutter(zone: Zone, width: float, depth: float, count: int, rng: np.random.Generator) -> None:
    """Boxes, columns, plants and tables; more of them far from the middle."""
    scene = zone.scene
    for _ in range(count):
        x, y = float(rng.uniform(0.3, width - 1.2)), float(rng.uniform(1.5, depth - 1.0))
        kind = int(rng.integers(8))
        size = rng.uniform(0.35, 1.3, 2)
        x1, y1 = x + float(size[0]), y + float(size[1])
        match kind:
            case 0:
                scene.box(x, y, 0, x1, y1, float(rng.uniform(0.35, 1.1)), surface(rng, wall=True))
            case 1:
                x1, y1 = x + 0.5, y + 0.5
                scene.column(
                    x + 0.25, y + 0.25, 0, 4.0, 0.12, 0.12, Material(_tone(rng, 0.05, 0.6, 0.1))
                )
            case 2:
                x1, y1 = x + 0.7, y + 0.7
                plant(zone, x + 0.35, y + 0.35, rng)
            case 3:
                x1, y1 = x + 1.1, y + 0.7
                table(zone, x, y, 1.1, 0.7, 0.74)
            case 6:  # shelves full of small things
                wide, deep = (2.4, 0.45) if rng.random() < 0.5 else (0.45, 2.4)
                x1, y1 = x + wide, y + deep
                scene.box(x, y, 0, x1, y1, float(rng.uniform(0.9, 2.2)), _goods(rng))
            case 7:  # a stand with notices
                x1, y1 = x + float(rng.uniform(0.6, 1.4)), y + 0.12
                board = Material(
                    _tone(rng, 0.3, 0.8, 0.2), _tone(rng, 0.02, 0.3, 0.6),
                    _tone(rng, 0.1, 0.6, 0.6), Pattern.CHECKS, float(rng.uniform(0.08, 0.4)),
                )  # fmt: skip
                scene.box(x, y, 0.3, x1, y1, float(rng.uniform(1.3, 2.0)), board)
            case 4:  # a barrier or a counter
                x1, y1 = x + float(rng.uniform(1, 2.2)), y + 0.25
                scene.box(x, y, 0, x1, y1, float(rng.uniform(0.5, 1.1)), surface(rng, wall=True))
            case _:  # something bright and small: a bin, a sign
                x1, y1 = x + 0.3, y + 0.3
                scene.box(
                    x, y, 0, x1, y1, float(rng.uniform(0.5, 1.3)),
                    Material(_tone(rng, 0.1, 0.5, 0.6)),
                )  # fmt: skip
        zone.block(x, y, x1, y1)


def free_room(rng: np.random.Generator) -> Zone:
    """A room of random size with random surfaces."""
    w, d = float(rng.uniform(4.5, 13)), float(rng.uniform(6, 15))
    h = float(rng.uniform(2.5, 4.4))
    zone = room(
        "room", w, d, h, surface(rng, wall=False), surface(rng, wall=True),
        (float(rng.uniform(3, d - 1)), None), rng,
    )  # fmt: skip
    _clutter(zone, w, d, int(rng.integers(1, 10)), rng)
    if rng.random() < 0.3:
        _lines(zone, w, d, rng)
    for _ in range(int(rng.integers(0, 5))):
        poster(zone, float(rng.uniform(0.6, w - 0.6)), d, rng)
    if rng.random() < 0.3:
        sofa(zone, 0.4, d - 1.4, 1.7, int(rng.integers(1 << 24)))
        zone.block(0.4, d - 1.4, 2.1, d)
    eye = (
        float(rng.uniform(0.15, 0.85) * w),
        float(rng.uniform(-0.9, 0.5)),
        float(rng.uniform(1.5, h - 0.15)),
    )
    zone.mounts = [_aimed(eye, w, d, rng)]
    return zone


def free_yard(rng: np.random.Generator) -> Zone:
    """A place under the sky: sun or clouds, walls, trees, cars."""
    zone = Zone("yard")
    w, d = float(rng.uniform(8, 22)), float(rng.uniform(8, 20))
    s = zone.scene
    floor = surface(rng, wall=False)
    s.quad((-30, -25, 0), (w + 30, -25, 0), (w + 30, d + 30, 0), (-30, d + 30, 0), floor)
    x = -15.0
    while x < w + 15:
        wide = float(rng.uniform(3, 12))
        y = d + float(rng.uniform(0, 3))
        if rng.random() < 0.8:
            s.box(x, y, 0, x + wide, y + 5, float(rng.uniform(2, 12)), surface(rng, wall=True))
        x += wide
    bark = Material(_tone(rng, 0.04, 0.15, 0.1), pattern=Pattern.MOTTLED, a=0.15)
    for _ in range(int(rng.integers(0, 4))):
        tx, ty = float(rng.uniform(0, w)), float(rng.uniform(0.6 * d, d))
        s.column(tx, ty, 0, 3.0, 0.16, 0.1, bark)
        s.leaves((tx, ty, 3.8), (1.5, 1.5, 1.4), 700, 0.16, LEAF, rng)
        zone.block(tx - 0.25, ty - 0.25, tx + 0.25, ty + 0.25)
    if rng.random() < 0.4:
        cx, cy = float(rng.uniform(0, w - 4)), float(rng.uniform(0.5 * d, d - 2))
        car(s, cx, cy, int(rng.integers(1 << 24)))
        zone.block(cx - 0.2, cy - 0.2, cx + 4.6, cy + 2)
    _clutter(zone, w, d, int(rng.integers(1, 9)), rng)
    _lines(zone, w, d, rng)
    zone.floors = [(-1.0, 1.0, w + 1, d - 0.3)]
    if rng.random() < 0.55:  # sunny
        turn = float(rng.uniform(0, 2 * np.pi))
        height = float(rng.uniform(0.35, 1.4))
        power = float(rng.uniform(1.2, 3.2))
        zone.lamps = [
            (float(np.cos(turn)), float(np.sin(turn)), height, 0, 0, power, power * 0.95,
             power * float(rng.uniform(0.65, 0.95)), 1.0)
        ]  # fmt: skip
        zone.sky, zone.ground = (0.5, 0.6, 0.8), (0.28, 0.26, 0.24)
    else:
        zone.lamps = [(0.1, -0.2, 1.0, 0, 0, 0.25, 0.26, 0.28, 1.0)]
        zone.sky, zone.ground = (0.85, 0.9, 0.97), (0.34, 0.33, 0.32)
    eye = (
        float(rng.uniform(0.2, 0.8) * w),
        float(rng.uniform(-3, 0)),
        float(rng.uniform(1.5, 6.5)),
    )
    zone.mounts = [_aimed(eye, w, d, rng)]
    return zone


def _aimed(eye: tuple[float, float, float], w: float, d: float, rng: np.random.Generator) -> Mount:
    at = (float(rng.uniform(0.3, 0.7) * w), float(rng.uniform(0.35, 0.65) * d))
    return Mount(eye, (*at, float(rng.uniform(0.3, 1.2))), float(rng.uniform(38, 80)))


def draw_place(rng: np.random.Generator) -> Zone:
    """Draw a place with a camera in it."""
    if rng.random() < _OWN_SHARE:
        zone = free_yard(rng) if rng.random() < _OUTDOORS else free_room(rng)
    else:
        zone = KINDS[str(rng.choice(list(KINDS)))](rng)
    _tinted(zone, rng)
    return zone
