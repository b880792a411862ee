"""The place under the sky: a street."""

from __future__ import annotations

import numpy as np

from crosscam_edge.simulate.furniture import DARK, LEAF, WOOD, car
from crosscam_edge.simulate.materials import Material, Pattern, linear
from crosscam_edge.simulate.zone import Mount, Zone


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
        s.box(x + 1.2, 16.94, 0, x + 2.4, 17, 2.3, WOOD)
        x += width
    car(
        s,
        float(rng.uniform(8, 9.5)),
        8.75,
        int(rng.choice([0x9A2A2A, 0x2D4F7C, 0xB9BCC0, 0x34383C])),
    )
    bark = Material(linear(0x4E3D2E), linear(0x6A5642), pattern=Pattern.MOTTLED, a=0.15)
    for tx, ty in ((2.4, 7.3), (12.6, 7.4)):
        s.column(tx, ty, 0, 3.0, 0.16, 0.1, bark)
        s.leaves((tx, ty, 4.2), (1.7, 1.7, 1.5), 1500, 0.14, LEAF, rng)
        zone.block(tx - 0.25, ty - 0.25, tx + 0.25, ty + 0.25)
    crate = Material(linear(0x9C7A4C), linear(0x7C5C36), pattern=Pattern.PLANKS, a=0.12, b=0.7)
    s.box(9.2, 4.3, 0, 10.1, 5.1, 0.75, crate)
    s.box(10.15, 4.4, 0, 10.95, 5.15, 0.6, crate)
    s.box(9.35, 4.4, 0.75, 10.0, 5.0, 1.3, crate)
    zone.block(9.2, 4.3, 10.95, 5.15)
    s.box(4.2, 6.4, 0.42, 6.0, 6.85, 0.48, WOOD)
    s.box(4.2, 6.8, 0.48, 6.0, 6.87, 0.9, WOOD)
    for lx in (4.35, 5.75):
        s.box(lx, 6.45, 0, lx + 0.08, 6.8, 0.42, DARK)
    zone.block(4.2, 6.4, 6.0, 6.9)
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
