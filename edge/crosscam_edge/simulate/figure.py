"""From a person and an outfit to one skinned mesh for the renderer.

Clothes are cut from helper meshes that surround the body (see `bake`): each vertex gets a cut
value, negative where there is cloth and positive where there is none, so hems are sharp at any
resolution. Skin under cloth is cut away with the same values, so nothing pokes through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import ConvexHull

from crosscam_edge.simulate import _raster
from crosscam_edge.simulate.body import Body, asset, build, triangles, vertex_normals
from crosscam_edge.simulate.materials import Material, Pattern, linear, table
from crosscam_edge.simulate.wardrobe import Garment, Outfit, Person, colour, hair_colour

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_NAMES = {name: k for k, name in enumerate(asset().bones)}
_KEEP = -1.0


@dataclass(slots=True)
class _Piece:
    points: Floats
    texture: Floats
    cut: Floats
    bone: Ints
    weight: Floats
    faces: Ints
    material: int


class _Tailor:
    """Collects the pieces of one person."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.pieces: list[_Piece] = []
        self.materials: list[Material] = []

    def material(self, material: Material) -> int:
        self.materials.append(material)
        return len(self.materials) - 1

    def cloth(self, faces: Ints, cut: Floats, offset: Floats | float, material: int) -> None:
        """A layer over part of the base mesh; `cut` and `offset` are per base vertex."""
        body = self.body
        used, local = np.unique(faces[(cut[faces] <= 0).any(1)], return_inverse=True)
        distance = np.broadcast_to(offset, (len(body.points),))[used]
        local = local.reshape(-1, 3)
        self.pieces.append(
            _Piece(
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
            bone[:, k], weight[:, k] = _NAMES[name], share
        cut = np.full(len(points), _KEEP)
        self.pieces.append(_Piece(points, points, cut, bone, weight, faces, material))

    def mesh(self) -> _raster.Mesh:
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
            len(_NAMES),
        )


def _rounded_box(centre: Floats, size: Floats, power: float = 0.35) -> tuple[Floats, Ints]:
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


def _fabric(garment: Garment, seed: int, rng: np.random.Generator, anchor: Floats) -> Material:
    one = colour(garment.colour, rng)
    two = colour(garment.second, rng) if garment.second else one
    third = colour("white" if garment.second != "white" else "grey", rng)
    size, ratio = 0.09, 0.5
    offset = (0.0, 0.0, 0.0)
    bump, fold = {"jeans": (0.35, 0.05), "coat": (0.35, 0.12), "jacket": (0.5, 0.07)}.get(
        garment.kind, (0.5, 0.075)
    )
    gloss = 0.12 if garment.kind == "jacket" else 0.02
    match garment.pattern:
        case Pattern.STRIPES_Z:
            size, ratio = float(rng.uniform(0.045, 0.14)), float(rng.uniform(0.35, 0.6))
        case Pattern.STRIPES_Y:
            size = float(rng.uniform(0.03, 0.06))
        case Pattern.CHECKS:
            size = float(rng.uniform(0.06, 0.13))
        case Pattern.DOTS:
            size, ratio = float(rng.uniform(0.05, 0.1)), float(rng.uniform(0.2, 0.4))
        case Pattern.LOGO:
            size, ratio = float(rng.uniform(0.06, 0.12)), float(rng.uniform(0.05, 0.09))
            offset = (float(anchor[0]), 0.0, float(anchor[2]))
        case Pattern.JACKET:
            size, ratio = float(rng.uniform(0.02, 0.09)), 0.2
            offset = (float(anchor[0]), float(anchor[2] - 0.28), float(anchor[2] - 0.05))
        case Pattern.BLOCK:
            offset = (0.0, 0.0, float(anchor[2] + rng.uniform(-0.2, 0.05)))
        case Pattern.DENIM:
            two = (one[0] * 1.9 + 0.02, one[1] * 1.9 + 0.02, one[2] * 1.7 + 0.03)
        case _:
            pass
    return Material(
        one, two, third, garment.pattern, size, ratio, gloss, bump, offset, seed, 0.0, fold
    )


def _eyes(body: Body) -> Floats:
    """The point between the eyes: on the front of the face, at the usual share of the height."""
    head = body.main_bone == _NAMES["head"]
    skin = np.unique(triangles("body"))
    face = body.points[skin[head[skin]]]
    top = face[:, 2].max()
    tall = top - body.joint("head")[2]
    z = top - 0.56 * tall - 0.002
    near = face[(np.abs(face[:, 2] - z) < 0.012) & (np.abs(face[:, 1]) < 0.02)]
    return np.array([near[:, 0].max() if len(near) else face[:, 0].max(), 0.0, z])


def _hair(tailor: _Tailor, person: Person, outfit: Outfit, eyes: Floats) -> None:
    body = tailor.body
    tone = hair_colour(person.hair_colour)
    light = (tone[0] * 1.9, tone[1] * 1.9, tone[2] * 1.9)
    material = tailor.material(
        Material(tone, light, tone, Pattern.HAIR, specular=0.25, seed=person.person_id)
    )
    points = body.points - eyes
    head = body.main_bone == _NAMES["head"]
    back = np.clip((0.0 - points[:, 0]) / 0.13, 0, 1)  # 0 at the brow, 1 behind the ears
    line = 0.062 - 0.15 * back**1.2
    scalp = np.where(head, line - points[:, 2], 0.2)
    if person.hair != "bald" and not outfit.hat:
        thick = {"short": 0.012, "bob": 0.016, "long": 0.016, "bun": 0.008}[person.hair]
        tailor.cloth(triangles("body"), scalp, thick + 0.01 * back, material)
    if person.hair in ("long", "bob"):
        hair = np.unique(triangles("hair"))
        low = points[hair, 2]
        length = -0.13 if person.hair == "bob" else -0.30
        top_gap = 0.5 if not outfit.hat else 0.03
        cut = np.full(len(points), 1.0)
        inner = 0.05 - np.abs(points[hair, 1])  # the face stays free
        cut[hair] = np.maximum(length - low, low - top_gap)
        cut[hair] = np.maximum(
            cut[hair], np.where(points[hair, 0] > -0.035, np.minimum(inner, 0.05 - low), -1)
        )
        tailor.cloth(triangles("hair"), cut, -0.012, material)
    if person.hair == "bun":
        ball, faces = _rounded_box(
            eyes + np.array([-0.21, 0, 0.06]), np.array([0.09, 0.1, 0.1]), 1.0
        )
        tailor.solid(ball, faces, {"head": 1.0}, material)
    if outfit.hat:
        felt = tailor.material(
            Material(colour(outfit.hat_colour), specular=0.02, bump=0.2, fold=0.05)
        )
        brim = 0.045 - (0.075 if outfit.hat == "beanie" else 0.05) * back
        cut = np.where(head, brim - points[:, 2], 0.2)
        tailor.cloth(triangles("body"), cut, 0.02, felt)
        if outfit.hat == "cap":
            plate, faces = _rounded_box(
                eyes + np.array([0.055, 0, 0.055]), np.array([0.16, 0.16, 0.018]), 0.8
            )
            tailor.solid(plate, faces, {"head": 1.0}, felt)


def _shoes(tailor: _Tailor, outfit: Outfit, rng: np.random.Generator) -> None:
    body = tailor.body
    tone = colour(outfit.shoes.colour, rng)
    sole = colour("white", rng) if rng.random() < 0.4 else (0.02, 0.02, 0.02)
    leather = tailor.material(
        Material(tone, sole, tone, Pattern.BLOCK, specular=0.15, offset=(0, 0, 0.022))
    )
    skin = np.unique(triangles("body"))
    for side in ("_l", "_r"):
        mine = skin[np.isin(body.main_bone[skin], [_NAMES["foot" + side], _NAMES["ball" + side]])]
        mine = mine[body.points[mine, 2] < body.joint("foot" + side)[2] + 0.015]
        hull = ConvexHull(body.points[mine])
        corners = mine[hull.vertices]
        where = np.full(len(body.points), -1)
        where[corners] = np.arange(len(corners))
        faces = where[mine[hull.simplices]]
        points = body.points[corners].copy()
        centre = points.mean(0)
        # SciPy leaves the winding open: turn every face outwards.
        a, b, c = (points[faces[:, k]] for k in range(3))
        inward = np.einsum("ij,ij->i", np.cross(b - a, c - a), (a + b + c) / 3 - centre) < 0
        faces[inward] = faces[inward][:, ::-1]
        points += 0.007 * vertex_normals(points, faces)
        points[:, 2] = np.maximum(points[:, 2], 0.0)
        cut = np.full(len(points), _KEEP)
        tailor.pieces.append(
            _Piece(
                points, points, cut, asset().bone[corners], asset().weight[corners], faces, leather
            )
        )


def _bag(tailor: _Tailor, outfit: Outfit, rng: np.random.Generator) -> None:
    body = tailor.body
    tone = colour(outfit.bag_colour, rng)
    dark = (tone[0] * 0.4, tone[1] * 0.4, tone[2] * 0.4)
    chest = body.joint("spine_03")
    shoulder = body.joint("upperarm_l")
    material = Material(
        tone,
        dark,
        dark,
        Pattern.BLOCK,
        specular=0.08,
        bump=0.25,
        offset=(0, 0, float(chest[2] + 0.02)),
        fold=0.06,
    )
    leather = tailor.material(material)
    tights = np.unique(triangles("tights"))
    strap = np.full(len(body.points), 1.0)
    torso = np.isin(
        body.main_bone,
        [
            _NAMES[b]
            for b in (
                "spine_01",
                "spine_02",
                "spine_03",
                "clavicle_l",
                "clavicle_r",
                "neck_01",
                "pelvis",
            )
        ],
    )
    p = body.points
    if outfit.bag == "backpack":
        back = p[tights[torso[tights] & (np.abs(p[tights, 2] - chest[2] - 0.1) < 0.1)]][:, 0].min()
        size = np.array([rng.uniform(0.14, 0.22), rng.uniform(0.27, 0.34), rng.uniform(0.4, 0.5)])
        box, faces = _rounded_box(np.array([back - size[0] / 2 - 0.005, 0, chest[2] + 0.03]), size)
        tailor.solid(box, faces, {"spine_03": 0.7, "spine_02": 0.3}, leather)
        centre = 0.62 * abs(shoulder[1])
        strap[tights] = np.where(
            torso[tights] & (p[tights, 2] > chest[2] - 0.12),
            np.abs(np.abs(p[tights, 1]) - centre) - 0.022,
            1.0,
        )
    elif outfit.bag == "shoulder bag":
        hip = body.joint("thigh_r")
        size = np.array([0.28, 0.1, 0.24])
        side = np.abs(p[tights[torso[tights]]][:, 1]).max()
        box, faces = _rounded_box(np.array([0.0, -max(side, 0.17) - 0.06, hip[2] + 0.02]), size)
        tailor.solid(box, faces, {"pelvis": 1.0}, leather)
        # A strap across the chest: from the left shoulder to the right hip.
        low, high = hip[2] + 0.08, shoulder[2] + 0.06
        line = -0.17 + (p[tights, 2] - low) / (high - low) * (0.1 + 0.17)
        strap[tights] = np.where(
            torso[tights] & (p[tights, 2] > low), np.abs(p[tights, 1] - line) - 0.02, 1.0
        )
    else:
        hand = body.joint("hand_l")
        forearm = hand - body.joint("lowerarm_l")
        at = hand + 0.12 * forearm / np.linalg.norm(forearm)
        down = forearm / np.linalg.norm(forearm)
        box, faces = _rounded_box(np.zeros(3), np.array([0.3, 0.12, 0.26]))
        # At rest the arm points sideways: lay the bag along it, so that it hangs when the arm does.
        side = np.cross(down, [1.0, 0, 0])
        side /= np.linalg.norm(side)
        frame = np.stack([np.cross(side, down), side, -down], axis=1)
        tailor.solid(box @ frame.T + at + 0.16 * down, faces, {"hand_l": 1.0}, leather)
    if outfit.bag != "handbag":
        tailor.cloth(
            triangles("tights"),
            strap,
            0.034 if outfit.top.kind in ("coat", "jacket") else 0.026,
            leather,
        )


def make_figure(person: Person, outfit: Outfit) -> tuple[Body, _raster.Mesh]:
    """Dress a person.

    Args:
        person: Body and hair.
        outfit: Clothes of the day.

    Returns:
        The body (for `gait.poses`) and the mesh for `View.render`.
    """
    body = build(person.shape)
    rng = np.random.default_rng([person.person_id, outfit.seed])
    tailor = _Tailor(body)
    eyes = _eyes(body)
    skin_tone = linear(person.skin)
    lips = (skin_tone[0] * 0.85, skin_tone[1] * 0.5, skin_tone[2] * 0.5)
    skin = tailor.material(
        Material(
            skin_tone,
            lips,
            hair_colour(person.hair_colour),
            Pattern.FACE,
            a=person.beard,
            specular=0.08,
            offset=(float(eyes[0]), float(eyes[1]), float(eyes[2])),
            seed=person.person_id,
        )
    )
    p, arm, leg = body.points, body.arm, body.leg
    is_arm = arm >= 0
    hip, chest = body.joint("thigh_l")[2], body.joint("spine_03")

    kind = outfit.top.kind
    sleeve = {"t-shirt": 0.55, "dress": rng.uniform(0.1, 0.7)}.get(kind, 1.92)
    hem = hip - {"t-shirt": 0.02, "shirt": 0.05, "coat": 0.34, "dress": 0.05}.get(kind, 0.03)
    neck = body.joint("neck_01")[2] + {
        "hoodie": 0.035,
        "coat": 0.04,
        "jacket": 0.03,
        "sweater": 0.015,
    }.get(kind, 0.0)
    loose = {"coat": 0.022, "jacket": 0.02, "hoodie": 0.018, "sweater": 0.013, "shirt": 0.011}.get(
        kind, 0.008
    )
    top_cut = np.where(
        is_arm,
        (arm - sleeve) * 0.28,
        np.maximum(
            hem - p[:, 2], p[:, 2] - neck - 0.25 * np.maximum(-(p[:, 0] - chest[0] - 0.05), -0.02)
        ),
    )
    # The front of the neckline hangs lower than the back.
    lower = outfit.bottom.kind
    waist = hip + 0.11
    length = {"shorts": 0.92, "jeans": 1.97, "trousers": 2.0}.get(lower, 0.2)
    leg_cut = np.where(is_arm, 1.0, np.maximum(p[:, 2] - waist, (leg - length) * 0.4))
    fabric = tailor.material(
        _fabric(outfit.top, outfit.seed, rng, np.array([0.0, 0, chest[2] + 0.1]))
    )
    lower_fabric = tailor.material(
        _fabric(outfit.bottom, outfit.seed + 7, rng, np.array([0.0, 0, hip]))
    )
    if lower == "dress":
        lower_fabric = fabric

    # Skin where no cloth is, with a margin so that hems never show a gap.
    in_shoe = np.isin(
        body.main_bone, [_NAMES[b + s] for b in ("foot", "ball") for s in ("_l", "_r")]
    )
    margin = 0.02
    hidden = np.maximum(-top_cut - margin, -leg_cut - margin)
    if lower in ("skirt", "dress"):
        hidden = -top_cut - margin
    skin_cut = np.where(
        in_shoe, np.maximum(body.joint("foot_l")[2] - 0.02 - p[:, 2], hidden), hidden
    )
    tailor.cloth(triangles("body"), skin_cut, 0.0, skin)

    tailor.cloth(triangles("tights"), top_cut, loose, fabric)
    if lower in ("skirt", "dress"):
        skirt = np.unique(triangles("skirt"))
        end = hip - rng.uniform(0.3, 0.62)
        cut = np.full(len(p), 1.0)
        cut[skirt] = np.maximum(end - p[skirt, 2], p[skirt, 2] - waist - 0.03)
        tailor.cloth(triangles("skirt"), cut, 0.004, lower_fabric)
    else:
        slack = np.where(leg > 0, 0.006 + 0.007 * np.clip(leg, 0, 2), 0.004)
        tailor.cloth(triangles("tights"), leg_cut, slack, lower_fabric)
    if kind == "coat":
        skirt = np.unique(triangles("skirt"))
        end = hip - rng.uniform(0.3, 0.5)
        cut = np.full(len(p), 1.0)
        cut[skirt] = np.maximum(end - p[skirt, 2], p[skirt, 2] - hip - 0.1)
        tailor.cloth(triangles("skirt"), cut, 0.012, fabric)
    _shoes(tailor, outfit, rng)
    _hair(tailor, person, outfit, eyes)
    if outfit.bag:
        _bag(tailor, outfit, rng)
    return body, tailor.mesh()
