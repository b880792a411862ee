"""Things that stand in places: posters, plants, sofas, tables, a car."""

from __future__ import annotations

import numpy as np

from crosscam_edge.simulate.materials import Material, Pattern, linear
from crosscam_edge.simulate.scenery import Scene
from crosscam_edge.simulate.zone import Zone

WOOD = Material(
    linear(0x9A7048), linear(0x6E4A2C), pattern=Pattern.PLANKS, a=0.14, b=0.9, specular=0.1
)
METAL = Material(linear(0x9FA3A8))
DARK = Material(linear(0x2A2B2E))
WHITE = Material(linear(0xDCDAD4))
LEAF = Material(linear(0x3B6B33), linear(0x6C9A4B), pattern=Pattern.MOTTLED, a=0.2)
_PAPER = (0xC9543F, 0x3F6FB0, 0xD9A83A, 0x4F8A5B, 0x7A5BA0)


def poster(zone: Zone, x: float, y: float, rng: np.random.Generator) -> None:
    """Hang a framed poster on the wall at `y`, its middle at `x`."""
    colour = _PAPER[int(rng.integers(len(_PAPER)))]
    art = Material(
        linear(colour),
        linear(0xE8E2D0),
        linear(0x30302C),
        Pattern.MOTTLED,
        0.35,
        seed=int(rng.integers(99)),
    )
    zone.scene.box(x - 0.45, y - 0.03, 1.1, x + 0.45, y, 2.2, DARK)
    zone.scene.box(x - 0.40, y - 0.035, 1.15, x + 0.40, y - 0.03, 2.15, art)


def plant(zone: Zone, x: float, y: float, rng: np.random.Generator) -> None:
    """Put a potted plant at a spot."""
    zone.scene.column(x, y, 0, 0.42, 0.16, 0.22, Material(linear(0x7B4B36)))
    zone.scene.column(x, y, 0.42, 0.8, 0.025, 0.02, WOOD)
    zone.scene.leaves((x, y, 1.0), (0.34, 0.34, 0.5), 220, 0.07, LEAF, rng)
    zone.block(x - 0.25, y - 0.25, x + 0.25, y + 0.25)


def sofa(zone: Zone, x: float, y: float, width: float, colour: int) -> None:
    """Put a sofa with its left front corner at `(x, y)`; `colour` is 0xRRGGBB."""
    cloth = Material(linear(colour), bump=0.2, fold=0.1)
    s = zone.scene
    s.box(x, y, 0.1, x + width, y + 0.85, 0.42, cloth)
    s.box(x, y + 0.62, 0.42, x + width, y + 0.85, 0.85, cloth)
    s.box(x - 0.16, y, 0.1, x, y + 0.85, 0.6, cloth)
    s.box(x + width, y, 0.1, x + width + 0.16, y + 0.85, 0.6, cloth)
    zone.block(x - 0.16, y, x + width + 0.16, y + 0.85)


def table(zone: Zone, x: float, y: float, wide: float, deep: float, height: float) -> None:
    """Put a table of `wide` by `deep` metres with its left front corner at `(x, y)`."""
    s = zone.scene
    s.box(x, y, height - 0.04, x + wide, y + deep, height, WOOD)
    for dx in (0.04, wide - 0.09):
        for dy in (0.04, deep - 0.09):
            s.box(x + dx, y + dy, 0, x + dx + 0.05, y + dy + 0.05, height - 0.04, DARK)
    zone.block(x, y, x + wide, y + deep)


def car(scene: Scene, x: float, y: float, colour: int) -> None:
    """Park a car with its rear left corner at `(x, y)`; `colour` is 0xRRGGBB."""
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
            scene.triangles(np.array(rim), DARK)
