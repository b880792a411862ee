"""Human shapes: blended from a CC0 base mesh (see `bake`), with joints and skinning weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

Part = Literal["body", "tights", "skirt", "hair"]


@dataclass(frozen=True, slots=True)
class BodyShape:
    """What a body looks like; all fields but the height are mixing coefficients.

    Attributes:
        gender: 0 female to 1 male.
        origin: Weights of the African, Asian and Caucasian faces; they sum to 1.
        weight: -1 thin to 2.5 heavy.
        muscle: -1 soft to 1 strong.
        age: 0 young to 1 old.
        height: Metres from heel to crown.
    """

    gender: float
    origin: tuple[float, float, float]
    weight: float
    muscle: float
    age: float
    height: float


@dataclass(frozen=True, slots=True)
class _Asset:
    base: Floats
    shapes: dict[str, Floats]
    bones: tuple[str, ...]
    bone: Ints
    weight: Floats
    triangles: dict[str, Ints]


@cache
def asset() -> _Asset:
    """The baked shapes, loaded once."""
    path = resources.files("crosscam_edge.simulate") / "assets" / "body.npz"
    with resources.as_file(path) as file, np.load(file) as data:
        names = [str(name) for name in data["shape_names"]]
        weight = data["weight"].astype(np.float64)
        return _Asset(
            base=data["base"].astype(np.float64),
            shapes={n: s / 10000.0 for n, s in zip(names, data["shapes"], strict=True)},
            bones=tuple(str(b) for b in data["bones"]),
            bone=data["bone"].astype(np.int64),
            weight=weight / weight.sum(1, keepdims=True),
            triangles={
                part: data[f"tri_{part}"].astype(np.int64)
                for part in ("body", "tights", "skirt", "hair")
            },
        )


@dataclass(frozen=True, slots=True)
class Body:
    """A shaped body at rest, standing on z = 0, facing +x with the arms half raised.

    Attributes:
        points: `(V, 3)` metres, all parts one after the other.
        normals: `(V, 3)` unit.
        joints: `(B, 3)` heads of the bones.
        arm: `(V,)` place along the arm: 0 shoulder, 1 elbow, 2 wrist; -1 elsewhere.
        leg: `(V,)` place along the leg: 0 hip, 1 knee, 2 ankle; -1 elsewhere.
        main_bone: `(V,)` bone of the largest weight.
    """

    points: Floats
    normals: Floats
    joints: Floats
    arm: Floats
    leg: Floats
    main_bone: Ints

    def joint(self, name: str) -> Floats:
        """Head of the named bone."""
        found: Floats = self.joints[asset().bones.index(name)]
        return found


def triangles(part: Part) -> Ints:
    """`(T, 3)` vertex numbers of a part."""
    return asset().triangles[part]


def vertex_normals(points: Floats, faces: Ints) -> Floats:
    """Area-weighted unit normals `(V, 3)`."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    corners = faces.T.ravel()
    out = np.stack(
        [np.bincount(corners, np.tile(normal[:, k], 3), len(points)) for k in range(3)], axis=1
    )
    return np.asarray(out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12))


def _along(points: Floats, chain: list[Floats]) -> Floats:
    """Parameter of the nearest place on a two-segment chain, 0 to 2 (and beyond the end)."""
    best = np.full(len(points), np.inf)
    out = np.zeros(len(points))
    for k in range(2):
        start, step = chain[k], chain[k + 1] - chain[k]
        t = (points - start) @ step / (step @ step)
        t = np.clip(t, -0.5 if k == 0 else 0.0, 1.0 if k == 0 else 1.5)
        gap = np.linalg.norm(points - start - t[:, None] * step, axis=1)
        out = np.where(gap < best, t + k, out)
        best = np.minimum(best, gap)
    return out


def build(shape: BodyShape) -> Body:
    """Blend the base mesh into the given shape."""
    data = asset()
    points = data.base.copy()
    for gender, share in (("female", 1 - shape.gender), ("male", shape.gender)):
        if share <= 0:
            continue
        for origin, part in zip(("african", "asian", "caucasian"), shape.origin, strict=True):
            points += share * part * data.shapes[f"{gender}_{origin}"]
        weight = "heavy" if shape.weight > 0 else "thin"
        points += share * abs(shape.weight) * data.shapes[f"{gender}_{weight}"]
        muscle = "strong" if shape.muscle > 0 else "soft"
        points += share * abs(shape.muscle) * data.shapes[f"{gender}_{muscle}"]
        points += share * shape.age * data.shapes[f"{gender}_old"]
    count = len(data.bone)
    skin = np.unique(data.triangles["body"])
    # The height shapes are linear: solve for the mix that gives the wanted height.
    change = (1 - shape.gender) * data.shapes["female_tall"] + shape.gender * data.shapes[
        "male_tall"
    ]
    now = np.ptp(points[skin, 2])
    grown = np.ptp((points + change)[skin, 2])
    points += (shape.height - now) / (grown - now) * change
    points[:, 2] -= points[skin, 2].min()
    return measured(points[:count], points[count:])


def measured(points: Floats, joints: Floats) -> Body:
    """A body of the base mesh's vertices `(V, 3)` and the heads of its bones `(B, 3)`, metres."""
    data = asset()
    count = len(data.bone)
    faces = np.concatenate(list(data.triangles.values()))
    main = data.bone[:, 0]
    names = np.array(data.bones)[main]
    arm, leg = np.full(count, -1.0), np.full(count, -1.0)
    bones = list(data.bones)
    for side in ("_l", "_r"):
        for out, chain, also in (
            (arm, ("upperarm", "lowerarm", "hand"), ()),
            (leg, ("thigh", "calf", "foot"), ("ball",)),
        ):
            mine = np.isin(names, [f"{bone}{side}" for bone in (*chain, *also)])
            out[mine] = _along(points[mine], [joints[bones.index(f"{b}{side}")] for b in chain])
    return Body(points, vertex_normals(points, faces), joints, arm, leg, main)
