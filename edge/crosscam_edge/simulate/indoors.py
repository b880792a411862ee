"""The places under a roof: a lobby, a shop and a corridor."""

from __future__ import annotations

import numpy as np

from crosscam_edge.simulate.furniture import DARK, METAL, WHITE, WOOD, plant, poster, sofa, table
from crosscam_edge.simulate.materials import Material, Pattern, linear
from crosscam_edge.simulate.room import room
from crosscam_edge.simulate.zone import Mount, Zone


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
    zone = room("lobby", w, d, 3.0, floor, wall, (6.0, 6.6), rng)
    desk = Material(linear(0x6A4B34), linear(0x4D3524), pattern=Pattern.PLANKS, a=0.25, b=2.0)
    zone.scene.box(3.2, 8.3, 0, 6.2, 8.9, 1.05, desk)
    zone.scene.box(3.1, 8.2, 1.05, 6.3, 8.95, 1.1, WHITE)
    zone.block(3.1, 8.2, 6.3, d)
    sofa(zone, 0.55, 8.6, 1.8, int(rng.choice([0x3C5568, 0x7A4A3C, 0x55604A])))
    table(zone, 6.6, 3.6, 1.1, 0.7, 0.74)
    plant(zone, 8.9, 9.3, rng)
    plant(zone, 0.5, 3.4, rng)
    for x in (1.5, 7.6):
        poster(zone, x, d, rng)
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
    zone = room("shop", w, d, 3.0, floor, wall, (5.2, 7.8), rng)
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
        zone.scene.box(x0, y0, 0, x1, y1, 0.12, DARK)
        zone.scene.box(x0 + 0.03, y0 + 0.03, 0.12, x1 - 0.03, y1 - 0.03, z, goods)
        for k in range(1, round(z / 0.34) + 1):
            zone.scene.box(x0, y0, 0.34 * k - 0.012, x1, y1, 0.34 * k + 0.012, METAL)
        zone.block(x0, y0, x1, y1 if y1 < 10 else d)
    zone.scene.box(0.7, 2.9, 0, 1.5, 4.3, 0.95, Material(linear(0x3D4A56)))
    zone.scene.box(0.65, 2.85, 0.95, 1.55, 4.35, 1.0, WHITE)
    zone.scene.box(0.9, 3.5, 1.0, 1.2, 3.8, 1.3, DARK)
    zone.block(0.65, 2.85, 1.55, 4.35)
    zone.scene.column(
        8.6,
        3.2,
        0,
        0.75,
        0.45,
        0.4,
        Material(linear(0xA4763E), linear(0x7E5628), pattern=Pattern.MOTTLED, a=0.1),
    )
    zone.block(8.15, 2.75, 9.05, 3.65)
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
    zone = room("corridor", w, d, 2.7, floor, wall, (11.6, 7.4), rng)
    door = Material(linear(0x7C5A3C), linear(0x664730), pattern=Pattern.PLANKS, a=0.3, b=2.1)
    for x, outward in ((0.0, 1.0), (w, -1.0)):
        for y in (4.2, 9.6 if outward > 0 else 12.6):
            a, b = sorted((x, x + outward * 0.03))
            zone.scene.box(a, y - 0.5, 0, b, y + 0.5, 2.08, door)
    zone.scene.box(0.0, 12.7, 0, 0.45, 14.0, 1.7, Material(linear(0x8F9296)))
    zone.block(0, 12.7, 0.45, 14.0)
    zone.scene.box(2.85, 9.2, 0.4, 3.3, 10.6, 0.46, WOOD)
    zone.scene.box(2.9, 9.3, 0, 3.25, 9.4, 0.4, DARK)
    zone.scene.box(2.9, 10.4, 0, 3.25, 10.5, 0.4, DARK)
    zone.block(2.85, 9.2, 3.4, 10.6)
    poster(zone, 1.7, d, rng)
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
