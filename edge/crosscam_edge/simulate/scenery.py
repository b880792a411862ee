"""Building blocks of rooms and streets: triangles with materials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.simulate.materials import Material

    Floats = NDArray[np.float64]

Point = tuple[float, float, float]


class Scene:
    """A growing set of triangles.

    Attributes:
        materials: Those used so far; triangles refer to them by number.
    """

    def __init__(self) -> None:
        self.materials: list[Material] = []
        self._corners: list[Floats] = []
        self._of: list[int] = []

    def _number(self, material: Material) -> int:
        if material not in self.materials:
            self.materials.append(material)
        return self.materials.index(material)

    def triangles(self, corners: Floats, material: Material) -> None:
        """Add triangles `(T, 3, 3)`."""
        number = self._number(material)
        self._corners.append(np.asarray(corners, np.float64).reshape(-1, 3, 3))
        self._of += [number] * len(self._corners[-1])

    def quad(self, a: Point, b: Point, c: Point, d: Point, material: Material) -> None:
        """A flat four-sided surface, corners in order."""
        self.triangles(np.array([[a, b, c], [a, c, d]]), material)

    def box(
        self,
        x0: float,
        y0: float,
        z0: float,
        x1: float,
        y1: float,
        z1: float,
        material: Material,
    ) -> None:
        """An axis-aligned box between two corners."""
        p = np.array([[x, y, z] for x in (x0, x1) for y in (y0, y1) for z in (z0, z1)])
        sides = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (1, 5, 7, 3), (0, 2, 6, 4)]
        faces = [t for a, b, c, d in sides for t in ((a, b, c), (a, c, d))]
        self.triangles(p[np.array(faces)], material)

    def column(
        self, x: float, y: float, z0: float, z1: float, r0: float, r1: float, material: Material
    ) -> None:
        """A round column or cone frustum with a lid."""
        n = 14
        u = np.linspace(0, 2 * np.pi, n, endpoint=False)
        ring = np.stack([np.cos(u), np.sin(u)], axis=1)
        low = np.column_stack([ring * r0 + [x, y], np.full(n, z0)])
        high = np.column_stack([ring * r1 + [x, y], np.full(n, z1)])
        nxt = np.roll(np.arange(n), -1)
        top = np.tile([x, y, z1], (n, 1))
        out = [
            np.stack([low, low[nxt], high[nxt]], axis=1),
            np.stack([low, high[nxt], high], axis=1),
            np.stack([high, high[nxt], top], axis=1),
        ]
        self.triangles(np.concatenate(out), material)

    def leaves(
        self,
        centre: Point,
        radius: Point,
        count: int,
        size: float,
        material: Material,
        rng: np.random.Generator,
    ) -> None:
        """A crown of small triangles around a centre."""
        d = rng.normal(size=(count, 3))
        d /= np.linalg.norm(d, axis=1, keepdims=True)
        at = np.array(centre) + d * np.array(radius) * rng.uniform(0.55, 1.0, (count, 1))
        corners = at[:, None] + rng.normal(size=(count, 3, 3)) * size
        self.triangles(corners, material)

    def arrays(self, offset: tuple[float, float]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Corners `(T, 9)` moved by `offset`, and the material of each triangle `(T,)`."""
        corners = np.concatenate(self._corners) + np.array([*offset, 0.0])
        return (
            np.ascontiguousarray(corners.reshape(-1, 9), np.float32),
            np.array(self._of, np.int32),
        )
