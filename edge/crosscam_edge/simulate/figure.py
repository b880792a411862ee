"""From a person and an outfit to one skinned mesh for the renderer.

Clothes are cut from helper meshes that surround the body (see `bake`): each vertex gets a cut
value, negative where there is cloth and positive where there is none, so hems are sharp at any
resolution. Skin under cloth is cut away with the same values, so nothing pokes through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.simulate import _raster
from crosscam_edge.simulate.accessories import add_bag, add_shoes
from crosscam_edge.simulate.body import Body, build, triangles
from crosscam_edge.simulate.head import add_hair, eyes_of
from crosscam_edge.simulate.materials import Material, Pattern, linear
from crosscam_edge.simulate.tailor import BONES, Tailor
from crosscam_edge.simulate.wardrobe import Garment, Outfit, Person, colour, hair_colour

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


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
    tailor = Tailor(body)
    eyes = eyes_of(body)
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
        body.main_bone, [BONES[b + s] for b in ("foot", "ball") for s in ("_l", "_r")]
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
    add_shoes(tailor, outfit, rng)
    add_hair(tailor, person, outfit, eyes)
    if outfit.bag:
        add_bag(tailor, outfit, rng)
    return body, tailor.mesh()
