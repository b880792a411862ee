"""From a person and an outfit to one skinned mesh, and what each of its materials shows.

Clothes are layers over the base mesh, cut at the hem (`crosscam_edge.simulate.tailor`); skirts and
the tails of coats are cut from the mesh's skirt helper; skin under cloth is cut away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.simulate.accessories import add_shoes
from crosscam_edge.simulate.body import Body, triangles
from crosscam_edge.simulate.head import eyes_of
from crosscam_edge.simulate.materials import Material, Pattern, linear
from crosscam_edge.simulate.tailor import BONES, Tailor
from crosscam_edge.simulate.wardrobe import hair_colour
from crosscam_trainer.data.masks import LIP
from crosscam_trainer.people.bodies import shapes
from crosscam_trainer.people.carried import add_carried, plain_outfit
from crosscam_trainer.people.fabrics import fabric
from crosscam_trainer.people.headwear import add_head, add_scarf
from crosscam_trainer.people.wardrobe import LONG_TOPS, is_skirted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.simulate import _raster
    from crosscam_trainer.people.people import Person
    from crosscam_trainer.people.wardrobe import Outfit

    Floats = NDArray[np.float64]

# How far below the hip joint a top ends, how high its collar goes, how loose it is; metres.
_HEM = {
    "t-shirt": 0.03, "tank top": 0.0, "polo shirt": 0.02, "shirt": 0.05, "blouse": 0.03,
    "sweater": 0.03, "hoodie": 0.04, "jacket": 0.02, "puffer jacket": 0.0, "blazer": 0.09,
    "coat": 0.1, "long coat": 0.1, "dress": 0.05,
}  # fmt: skip
_COLLAR = {
    "hoodie": 0.035, "coat": 0.045, "long coat": 0.045, "jacket": 0.03, "puffer jacket": 0.05,
    "sweater": 0.015, "blazer": 0.02, "polo shirt": 0.015, "shirt": 0.015, "tank top": -0.035,
    "dress": -0.02,
}  # fmt: skip
_LOOSE = {
    "coat": 0.018, "long coat": 0.018, "jacket": 0.016, "puffer jacket": 0.03, "hoodie": 0.016,
    "sweater": 0.011, "shirt": 0.01, "blazer": 0.014, "blouse": 0.01,
}  # fmt: skip
_TORSO_CLASS = {
    "jacket": "coat", "puffer jacket": "coat", "blazer": "coat", "coat": "coat",
    "long coat": "coat", "dress": "dress",
}  # fmt: skip
_NO_CLASS = "background"  # bags and phones: things, not clothes


@dataclass(frozen=True, slots=True)
class Figure:
    """A dressed person.

    Attributes:
        body: For `gait.poses`.
        mesh: For `View.render`.
        classes: `(M + 1,)` index in `LIP` of what `View.render` gives as parts; 0 is nobody.
    """

    body: Body
    mesh: _raster.Mesh
    classes: NDArray[np.uint8]


class Wardrobe(Tailor):
    """A tailor who notes what each material shows."""

    def __init__(self, body: Body) -> None:
        super().__init__(body)
        self.names: list[str] = []

    def note(self, name: str) -> None:
        """All materials since the last note show this class of `LIP`."""
        self.names += [name] * (len(self.materials) - len(self.names))

    def classes(self) -> NDArray[np.uint8]:
        """As in `Figure`."""
        return np.array([0] + [LIP.classes.index(n) for n in self.names], np.uint8)


@dataclass(frozen=True, slots=True)
class _Cuts:
    """Fields over the base vertices: negative where there is cloth."""

    top: Floats
    legs: Floats
    hip: float
    waist: float


def _cuts(body: Body, outfit: Outfit, rng: np.random.Generator) -> _Cuts:
    p, arm = body.points, body.arm
    scale = float(np.ptp(p[:, 2])) / 1.75
    hip = float(body.joint("thigh_l")[2])
    chest = body.joint("spine_03")
    waist = hip + 0.11 * scale
    kind = outfit.top.kind
    hem = hip - (_HEM[kind] + float(rng.uniform(-0.015, 0.05))) * scale
    neck = float(body.joint("neck_01")[2]) + _COLLAR.get(kind, 0.0) * scale
    # The front of the neckline hangs lower than the back.
    collar = p[:, 2] - neck - 0.25 * np.maximum(-(p[:, 0] - chest[0] - 0.05), -0.02)
    if kind in ("tank top", "dress") and outfit.top.cut <= 0.1:
        collar = np.maximum(collar, np.abs(p[:, 1]) - 0.85 * abs(body.joint("upperarm_l")[1]))
        collar = np.where(p[:, 2] > chest[2] + 0.06 * scale, collar, p[:, 2] - neck)
    top = np.where(arm >= 0, (arm - outfit.top.cut) * 0.28, np.maximum(hem - p[:, 2], collar))
    legs = np.where(
        arm >= 0, 1.0, np.maximum(p[:, 2] - waist, (body.leg - outfit.bottom.cut) * 0.4)
    )
    return _Cuts(top, legs, hip, waist)


def _add_skin(tailor: Wardrobe, person: Person, hidden: Floats, eyes: Floats) -> None:
    """The body where nothing covers it, in the parts that masks tell apart."""
    body = tailor.body
    tone = linear(person.skin)
    lips = (tone[0] * 0.85, tone[1] * 0.5, tone[2] * 0.5)
    face = Material(
        tone, lips, hair_colour(person.hair_colour), Pattern.FACE, a=person.beard, specular=0.08,
        offset=(float(eyes[0]), float(eyes[1]), float(eyes[2])), seed=person.number,
    )  # fmt: skip
    faces = triangles("body")
    arms = (body.arm[faces] >= 0).sum(1) >= 2
    legs = (body.leg[faces] >= 0).sum(1) >= 2
    shades = Material(tone, specular=0.08, bump=0.1, fold=0.05)
    for of, material, name in (
        (~arms & ~legs, face, "face"), (arms, shades, "left-arm"), (legs, shades, "left-leg"),
    ):  # fmt: skip
        tailor.cloth(faces[of], hidden, 0.0, tailor.material(material))
        tailor.note(name)


def _skirt(body: Body, low: float, high: float) -> Floats:
    mine = np.unique(triangles("skirt"))
    cut = np.full(len(body.points), 1.0)
    z = body.points[mine, 2]
    cut[mine] = np.maximum(low - z, z - high)
    return cut


def dress(person: Person, outfit: Outfit) -> Figure:
    """Dress a person; the same mesh for the same person and outfit."""
    body = shapes().body(person.phenotype)
    rng = np.random.default_rng([person.number, outfit.seed])
    tailor = Wardrobe(body)
    eyes = eyes_of(body)
    cuts = _cuts(body, outfit, rng)
    p = body.points
    skirted = is_skirted(outfit.bottom)
    ankle = float(body.joint("foot_l")[2])

    # Skin where no cloth is, with a margin so that hems never show a gap.
    covered = -cuts.top if skirted else np.maximum(-cuts.top, -cuts.legs)
    feet = np.isin(body.main_bone, [BONES[b + s] for b in ("foot", "ball") for s in ("_l", "_r")])
    hidden = covered - 0.02
    hidden = np.where(feet, np.maximum(ankle - 0.02 - p[:, 2], hidden), hidden)
    _add_skin(tailor, person, hidden, eyes)

    kind = outfit.top.kind
    cloth = tailor.material(fabric(outfit.top, body, outfit.seed, rng))
    tailor.note(_TORSO_CLASS.get(kind, "upper-clothes"))
    looseness = _LOOSE.get(kind, 0.008) * float(rng.uniform(0.7, 1.4))
    tailor.cloth(triangles("tights"), cuts.top, looseness, cloth)
    if skirted:
        lower = cloth
        if outfit.bottom.kind != "dress":
            lower = tailor.material(fabric(outfit.bottom, body, outfit.seed + 7, rng))
            tailor.note("skirt")
        knee = float(body.joint("calf_l")[2])
        share = outfit.bottom.cut if outfit.bottom.kind == "skirt" else float(rng.uniform(0.5, 1.7))
        low = (
            cuts.hip + (knee - cuts.hip) * share
            if share < 1
            else (knee + (ankle - knee) * (share - 1))
        )
        tailor.cloth(triangles("skirt"), _skirt(body, low, cuts.waist + 0.03), 0.004, lower)
    else:
        lower = tailor.material(fabric(outfit.bottom, body, outfit.seed + 7, rng))
        tailor.note("pants")
        wide = {"leggings": 0.0, "jeans": 0.5, "shorts": 2.2}.get(outfit.bottom.kind, 1.0)
        wide *= float(rng.uniform(0.5, 2.2))
        slack = 0.004 + wide * np.where(body.leg > 0, 0.003 + 0.006 * np.clip(body.leg, 0, 2), 0.0)
        tailor.cloth(triangles("tights"), cuts.legs, slack, lower)
    if kind in LONG_TOPS:
        length = rng.uniform(0.45, 0.8) if kind == "long coat" else rng.uniform(0.2, 0.4)
        end = max(cuts.hip - length, ankle + 0.12)
        tailor.cloth(triangles("skirt"), _skirt(body, end, cuts.hip + 0.1), 0.014, cloth)
    plain = plain_outfit(outfit)
    add_shoes(tailor, plain, rng)
    if outfit.shoes.kind == "boots":
        boot = np.where(body.leg >= 0, (rng.uniform(1.25, 1.6) - body.leg) * 0.4, 1.0)
        tailor.cloth(triangles("tights"), boot, 0.013, len(tailor.materials) - 1)
    tailor.note("left-shoe")
    add_head(tailor, person, outfit, eyes, cloth)
    if outfit.scarf:
        add_scarf(tailor, outfit, rng)
        tailor.note("scarf")
    add_carried(tailor, outfit, plain, rng)
    tailor.note(_NO_CLASS)
    return Figure(body, tailor.mesh(), tailor.classes())
