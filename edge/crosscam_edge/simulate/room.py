"""A room: floor, ceiling, lamps and walls; doors lead into short passages.

A passage turns towards the camera's side of the building, so people leave and enter out of sight.
"""

from __future__ import annotations

import numpy as np

from crosscam_edge.simulate.materials import Material, Pattern, linear
from crosscam_edge.simulate.zone import Zone

_GLOW = Material((1.0, 0.98, 0.94), emission=1.0)


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


def room(
    kind: str,
    width: float,
    depth: float,
    height: float,
    floor: Material,
    wall: Material,
    doors: tuple[float | None, float | None],
    rng: np.random.Generator,
) -> Zone:
    """Build an empty room with lamps.

    Args:
        kind: Name of the place.
        width: Along x, metres.
        depth: Along y, metres.
        height: Of the ceiling, metres.
        floor: Material of the floor.
        wall: Material of the walls.
        doors: y of the door in the left and in the right wall; None for none.
        rng: Draws the lamps' tone.
    """
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
