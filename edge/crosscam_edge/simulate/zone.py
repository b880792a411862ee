"""A place of a site: what is built there, and where people can be.

A zone has its own coordinates: x to the right, y away from the camera, metres. What can be walked
on is a set of rectangles minus the furniture; doors lead out of every camera's sight.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from crosscam_edge.simulate.scenery import Scene

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

    def block(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Keep people out of a rectangle."""
        self.blocks.append((x0, y0, x1, y1))
