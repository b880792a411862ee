"""The pieces of one person: layers over the body and stiff things, joined to one skinned mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.simulate import _raster
from crosscam_edge.simulate.body import Body, asset, vertex_normals
from crosscam_edge.simulate.materials import Material, table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

# Number of a bone by its name.
BONES = {name: k for k, name in enumerate(asset().bones)}
KEEP = -1.0  # a cut that leaves everything


@dataclass(slots=True)
class Piece:
    """One layer or thing that a person is made of.

    Attributes:
        points: Vertices at rest `(N, 3)`, metres.
        texture: Where the material's pattern is looked up `(N, 3)`, metres.
        cut: `(N,)`: nothing is drawn where it is positive.
        bone: Numbers of the bones that move a vertex `(N, 4)`.
        weight: Their shares `(N, 4)`.
        faces: Vertices of the triangles `(F, 3)`.
        material: Number from `Tailor.material`.
    """

    points: Floats
    texture: Floats
    cut: Floats
    bone: Ints
    weight: Floats
    faces: Ints
    material: int


class Tailor:
    """Collects the pieces of one person."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.pieces: list[Piece] = []
        self.materials: list[Material] = []

    def material(self, material: Material) -> int:
        """Add a material; returns its number."""
        self.materials.append(material)
        return len(self.materials) - 1

    def cloth(self, faces: Ints, cut: Floats, offset: Floats | float, material: int) -> None:
        """A layer over part of the base mesh; `cut` and `offset` are per base vertex."""
        body = self.body
        used, local = np.unique(faces[(cut[faces] <= 0).any(1)], return_inverse=True)
        distance = np.broadcast_to(offset, (len(body.points),))[used]
        local = local.reshape(-1, 3)
        self.pieces.append(
            Piece(
                points=body.points[used] + body.normals[used] * distance[:, None],
                texture=body.points[used],
                cut=cut[used],
                bone=asset().bone[used],
                weight=asset().weight[used],
                faces=local,
                material=material,
            )
        )

    def solid(self, points: Floats, faces: Ints, bones: dict[str, float], material: int) -> None:
        """A stiff thing that hangs on one or a few bones."""
        bone = np.zeros((len(points), 4), np.int64)
        weight = np.zeros((len(points), 4))
        for k, (name, share) in enumerate(bones.items()):
            bone[:, k], weight[:, k] = BONES[name], share
        cut = np.full(len(points), KEEP)
        self.pieces.append(Piece(points, points, cut, bone, weight, faces, material))

    def mesh(self) -> _raster.Mesh:
        """Return all pieces as one mesh for `View.render`."""
        start = np.cumsum([0] + [len(p.points) for p in self.pieces])
        joined = {
            name: np.concatenate([getattr(p, name) for p in self.pieces])
            for name in ("points", "texture", "cut", "bone", "weight")
        }
        faces = np.concatenate([p.faces + s for p, s in zip(self.pieces, start, strict=False)])
        of = np.concatenate([np.full(len(p.faces), p.material) for p in self.pieces])
        normals = vertex_normals(joined["points"], faces)
        points = joined["points"]
        # Creases that the sky does not reach: between the legs, under the chin, inside the arms.
        inner = np.maximum(-normals[:, 1] * np.sign(points[:, 1]), 0) * (np.abs(points[:, 1]) < 0.3)
        under = np.maximum(-normals[:, 2], 0)
        shade = 1 - 0.4 * inner - 0.25 * under
        return _raster.make_mesh(
            np.ascontiguousarray(points, np.float32),
            np.ascontiguousarray(joined["texture"], np.float32),
            np.ascontiguousarray(joined["cut"], np.float32),
            np.ascontiguousarray(shade, np.float32),
            np.ascontiguousarray(joined["bone"], np.int32),
            np.ascontiguousarray(joined["weight"], np.float32),
            np.ascontiguousarray(faces, np.int32),
            np.ascontiguousarray(of, np.int32),
            table(self.materials),
            len(BONES),
        )


def rounded_box(centre: Floats, size: Floats, power: float = 0.35) -> tuple[Floats, Ints]:
    """A super-ellipsoid: a box with soft edges."""
    rings, around = 9, 16
    v = np.linspace(-np.pi / 2, np.pi / 2, rings)[:, None]
    u = np.linspace(-np.pi, np.pi, around, endpoint=False)[None]

    def soft(x: Floats) -> Floats:
        return np.asarray(np.sign(x) * np.abs(x) ** power)

    points = np.stack(
        [
            soft(np.cos(v)) * soft(np.cos(u)),
            soft(np.cos(v)) * soft(np.sin(u)),
            soft(np.sin(v)) + 0 * u,
        ],
        -1,
    ).reshape(-1, 3)
    faces = []
    for i in range(rings - 1):
        for j in range(around):
            a, b = i * around + j, i * around + (j + 1) % around
            faces += [[a, b, b + around], [a, b + around, a + around]]
    return points * size / 2 + centre, np.array(faces)
