"""Head of a figure: where its eyes are, hair and hats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.simulate.body import Body, triangles
from crosscam_edge.simulate.materials import Material, Pattern
from crosscam_edge.simulate.tailor import BONES, Tailor, rounded_box
from crosscam_edge.simulate.wardrobe import Outfit, Person, colour, hair_colour

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


def eyes_of(body: Body) -> Floats:
    """The point between the eyes: on the front of the face, at the usual share of the height."""
    head = body.main_bone == BONES["head"]
    skin = np.unique(triangles("body"))
    face = body.points[skin[head[skin]]]
    top = face[:, 2].max()
    tall = top - body.joint("head")[2]
    z = top - 0.56 * tall - 0.002
    near = face[(np.abs(face[:, 2] - z) < 0.012) & (np.abs(face[:, 1]) < 0.02)]
    return np.array([near[:, 0].max() if len(near) else face[:, 0].max(), 0.0, z])


def add_hair(tailor: Tailor, person: Person, outfit: Outfit, eyes: Floats) -> None:
    """Add hair and, where the outfit has one, a hat over it."""
    body = tailor.body
    tone = hair_colour(person.hair_colour)
    light = (tone[0] * 1.9, tone[1] * 1.9, tone[2] * 1.9)
    material = tailor.material(
        Material(tone, light, tone, Pattern.HAIR, specular=0.25, seed=person.person_id)
    )
    points = body.points - eyes
    head = body.main_bone == BONES["head"]
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
        ball, faces = rounded_box(
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
            plate, faces = rounded_box(
                eyes + np.array([0.055, 0, 0.055]), np.array([0.16, 0.16, 0.018]), 0.8
            )
            tailor.solid(plate, faces, {"head": 1.0}, felt)
