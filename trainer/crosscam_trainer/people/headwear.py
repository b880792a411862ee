"""Hair, hats, hoods and scarves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.simulate import wardrobe as simple
from crosscam_edge.simulate.body import BodyShape, triangles
from crosscam_edge.simulate.gait import Style
from crosscam_edge.simulate.head import add_hair
from crosscam_edge.simulate.materials import Material, Pattern
from crosscam_edge.simulate.tailor import BONES, rounded_box
from crosscam_trainer.people.carried import plain_outfit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_trainer.people.dressing import Wardrobe
    from crosscam_trainer.people.people import Person
    from crosscam_trainer.people.wardrobe import Outfit

    Floats = NDArray[np.float64]

_SIMPLE = {"ponytail": "bun", "afro": "short"}


def add_head(tailor: Wardrobe, person: Person, outfit: Outfit, eyes: Floats, cloth: int) -> None:
    """Add hair and what covers it.

    Args:
        tailor: Gets the pieces.
        person: Whose hair.
        outfit: Which hat.
        eyes: Point between the eyes, metres.
        cloth: Material of the top, for hoods.
    """
    body = tailor.body
    if outfit.hat == "hood":
        head = np.isin(body.main_bone, [BONES["head"], BONES["neck_01"]])
        away = body.points - eyes
        # All but an oval around the face.
        open_face = 0.085 - np.hypot(away[:, 1] * 1.15, away[:, 2] + 0.035)
        cut = np.where(head, np.where(away[:, 0] > -0.09, open_face, -1.0), 0.3)
        tailor.cloth(triangles("body"), cut, 0.03, cloth)
        return
    shape = BodyShape(0.5, (0.34, 0.33, 0.33), 0.0, 0.0, 0.0, 1.7)  # not looked at for hair
    somebody = simple.Person(
        person.number, shape, person.skin, _SIMPLE.get(person.hair, person.hair),
        person.hair_colour, person.beard, Style(), 1.0,
    )  # fmt: skip
    plain = plain_outfit(outfit)
    before = len(tailor.materials)
    hair = replace(somebody, hair="bald") if person.hair == "afro" and not plain.hat else somebody
    add_hair(tailor, hair, plain, eyes)
    if person.hair == "afro" and not plain.hat:
        _afro(tailor, eyes, before)
    if person.hair == "ponytail":
        tail, faces = rounded_box(
            eyes + np.array([-0.22, 0, -0.06]), np.array([0.06, 0.07, 0.27]), 0.8
        )
        tailor.solid(tail, faces, {"head": 1.0}, before)
    # Hair comes first; what follows is a hat.
    tailor.names += ["hair"]
    tailor.note("hat")
    if outfit.top.kind == "hoodie":
        neck = body.joint("neck_01")
        lump, faces = rounded_box(
            neck + np.array([-0.075, 0, 0.015]), np.array([0.13, 0.26, 0.13]), 0.8
        )
        tailor.solid(lump, faces, {"spine_03": 0.7, "neck_01": 0.3}, cloth)


def _afro(tailor: Wardrobe, eyes: Floats, material: int) -> None:
    away = tailor.body.points - eyes
    head = tailor.body.main_bone == BONES["head"]
    back = np.clip(-away[:, 0] / 0.13, 0, 1)
    cut = np.where(head, 0.055 - 0.13 * back**1.2 - away[:, 2], 0.2)
    tailor.cloth(triangles("body"), cut, 0.05 + 0.015 * back, material)


def add_scarf(tailor: Wardrobe, outfit: Outfit, rng: np.random.Generator) -> None:
    """Wind a scarf around the neck; one end hangs down in front."""
    body = tailor.body
    tone = simple.colour(outfit.scarf, rng)
    other = (tone[0] * 0.5, tone[1] * 0.5, tone[2] * 0.5)
    pattern = Pattern.CHECKS if rng.random() < 0.4 else Pattern.PLAIN
    wool = tailor.material(Material(tone, other, tone, pattern, a=0.05, bump=0.6, fold=0.05))
    neck = body.joint("neck_01")
    wrap, faces = rounded_box(neck + np.array([0.01, 0, 0.045]), np.array([0.2, 0.21, 0.11]), 0.9)
    tailor.solid(wrap, faces, {"neck_01": 0.6, "spine_03": 0.4}, wool)
    front = body.points[np.abs(body.points[:, 1]) < 0.06]
    front = front[np.abs(front[:, 2] - body.joint("spine_03")[2] - 0.05) < 0.1]
    x = float(front[:, 0].max()) + 0.02
    end, faces = rounded_box(
        np.array([x, 0.05, float(neck[2]) - 0.16]), np.array([0.03, 0.11, 0.34]), 0.4
    )
    tailor.solid(end, faces, {"spine_03": 1.0}, wool)
