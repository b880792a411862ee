"""The floor plan: zones side by side, ways between them, and where one can walk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from crosscam_edge.simulate.zone import Zone
from crosscam_edge.simulate.zones import KINDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.simulate.config import SiteConfig

    Floats = NDArray[np.float64]

CELL = 0.1
BODY_RADIUS = 0.24
_ORDER = ("lobby", "shop", "street", "corridor")
_GAP = 6.0  # metres between the walls of neighbouring zones


class Ground:
    """Where one can walk in a zone, on a grid; coordinates are those of the world."""

    def __init__(self, zone: Zone) -> None:
        floors = np.array(zone.floors)
        ox, oy = zone.offset
        self.x0, self.y0 = floors[:, 0].min() - 0.5 + ox, floors[:, 1].min() - 0.5 + oy
        nx = int((floors[:, 2].max() - floors[:, 0].min() + 1) / CELL)
        ny = int((floors[:, 3].max() - floors[:, 1].min() + 1) / CELL)
        x = self.x0 + (np.arange(nx) + 0.5) * CELL - ox
        y = self.y0 + (np.arange(ny) + 0.5) * CELL - oy
        free = np.zeros((nx, ny), bool)
        for a, b, c, d in zone.floors:
            free |= ((x > a) & (x < c))[:, None] & ((y > b) & (y < d))[None]
        for a, b, c, d in zone.blocks:
            free &= ~(((x > a) & (x < c))[:, None] & ((y > b) & (y < d))[None])
        #: Distance in metres to the nearest wall or piece of furniture.
        self.clearance = ndimage.distance_transform_edt(free) * CELL
        self._gradient = np.stack(np.gradient(self.clearance, CELL))
        self.walkable = self.clearance > BODY_RADIUS + 0.05
        self._routes: dict[tuple[int, int], NDArray[np.int32]] = {}

    def cell(self, p: Floats) -> tuple[int, int]:
        """Grid cell of a point, kept inside the grid."""
        nx, ny = self.clearance.shape
        i = min(max(int((p[0] - self.x0) / CELL), 0), nx - 1)
        j = min(max(int((p[1] - self.y0) / CELL), 0), ny - 1)
        return i, j

    def push_out(self, p: Floats) -> Floats:
        """The nearest point that keeps a body's radius from walls and furniture."""
        for _ in range(6):
            i, j = self.cell(p)
            lack = BODY_RADIUS - self.clearance[i, j]
            if lack <= 0:
                return p
            g = self._gradient[:, i, j]
            norm = float(np.hypot(g[0], g[1]))
            if norm < 1e-6:
                break
            p = p + g / norm * (lack + 0.01)
        open_cells = np.argwhere(self.walkable)
        centre = np.array([self.x0, self.y0]) + (open_cells + 0.5) * CELL
        found: Floats = centre[np.argmin(((centre - p) ** 2).sum(1))]
        return found

    def ahead(self, p: Floats, goal: Floats, steps: int = 8) -> Floats:
        """A point on the shortest way from `p` to `goal`, about `steps` cells on."""
        ny = self.clearance.shape[1]
        key = self.cell(goal)
        if key not in self._routes:
            self._routes[key] = self._solve(key)
        parent = self._routes[key]
        i, j = self.cell(p)
        at = i * ny + j
        for _ in range(steps):
            nxt = int(parent[at])
            if nxt < 0:
                break
            at = nxt
        if at == key[0] * ny + key[1] or at == i * ny + j:
            return goal
        return np.array([self.x0 + (at // ny + 0.5) * CELL, self.y0 + (at % ny + 0.5) * CELL])

    def _solve(self, goal: tuple[int, int]) -> NDArray[np.int32]:
        nx, ny = self.clearance.shape
        number = np.arange(nx * ny).reshape(nx, ny)
        # Near walls a metre counts more: ways keep to the middle of passages.
        cost = 1.0 + 3.0 * np.clip(0.6 - self.clearance, 0, 0.6) ** 2 / 0.36
        cost = np.where(
            self.clearance > BODY_RADIUS * 0.6, cost, np.where(self.clearance > 0, 20.0, 1e4)
        )
        rows, cols, data = [], [], []
        for dx, dy in ((1, 0), (0, 1), (1, 1), (1, -1)):
            a = (slice(0, nx - dx), slice(max(0, -dy), ny - max(0, dy)))
            b = (slice(dx, nx), slice(max(0, dy), ny - max(0, -dy)))
            step = np.hypot(dx, dy) * CELL * 0.5 * (cost[a] + cost[b])
            rows.append(number[a].ravel())
            cols.append(number[b].ravel())
            data.append(step.ravel())
        graph = coo_matrix(
            (np.concatenate(data), (np.concatenate(rows), np.concatenate(cols))),
            shape=(nx * ny, nx * ny),
        ).tocsr()
        _, parent = dijkstra(
            graph, directed=False, indices=int(number[goal]), return_predecessors=True
        )
        return np.asarray(parent, np.int32)


@dataclass(slots=True)
class Link:
    """A way, seen by no camera, between portals of two zones; or to the outside world."""

    zone: int
    portal: str
    to_zone: int
    to_portal: str
    metres: float


@dataclass(slots=True)
class Layout:
    """The whole site.

    Attributes:
        zones: In the order in which they stand along x.
        grounds: Where one can walk, per zone.
        links: Ways between zones; `to_zone` is -1 for the outside world.
        camera_zone: Zone of each camera.
        camera_mount: Which of the zone's mounts each camera uses.
    """

    zones: list[Zone]
    grounds: list[Ground]
    links: list[Link]
    camera_zone: list[int]
    camera_mount: list[int]
    names: list[str] = field(default_factory=list)

    def portal(self, zone: int, name: str) -> Floats:
        """World position of a portal."""
        spot = self.zones[zone].portals[name]
        return np.asarray(np.array(spot) + np.array(self.zones[zone].offset))


def plan(config: SiteConfig) -> Layout:
    """Lay out the site of a configuration."""
    pair = config.overlap and config.cameras > 1
    count = config.cameras - (1 if pair else 0)
    zones: list[Zone] = []
    x = 0.0
    for k in range(count):
        rng = np.random.default_rng([config.seed, 11, k])
        zone = KINDS[_ORDER[k % len(_ORDER)]](rng)
        left = min(f[0] for f in zone.floors)
        right = max(f[2] for f in zone.floors)
        zone.offset = (x - left, 0.0)
        x += right - left + _GAP
        zones.append(zone)
    links: list[Link] = []
    for k in range(count):
        for name, step, other in (("left", -1, "right"), ("right", 1, "left")):
            to = k + step
            if 0 <= to < count:
                links.append(Link(k, name, to, other, 0.0))
            else:
                links.append(Link(k, name, -1, "", 5.0))
    camera_zone = list(range(count)) + ([0] if pair else [])
    layout = Layout(
        zones=zones,
        grounds=[Ground(z) for z in zones],
        links=links,
        camera_zone=camera_zone,
        camera_mount=[0] * count + ([1] if pair else []),
    )
    for link in links:
        if link.to_zone >= 0:
            a, b = (
                layout.portal(link.zone, link.portal),
                layout.portal(link.to_zone, link.to_portal),
            )
            link.metres = float(np.linalg.norm(a - b))
    layout.names = [f"cam{k + 1:02d}-{zones[z].kind}" for k, z in enumerate(camera_zone)]
    return layout
