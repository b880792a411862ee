"""The surface of a garment: from its words to a material of the renderer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.simulate.materials import Material, Pattern
from crosscam_edge.simulate.wardrobe import colour

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.simulate.body import Body
    from crosscam_edge.simulate.materials import Colour
    from crosscam_trainer.people.wardrobe import Garment

    Floats = NDArray[np.float64]

# Relief: strength and size of the folds in metres; gloss.
_CLOTH = {
    "jeans": (0.35, 0.06, 0.02), "coat": (0.35, 0.13, 0.02), "long coat": (0.3, 0.15, 0.02),
    "jacket": (0.5, 0.08, 0.08), "puffer jacket": (0.9, 0.06, 0.16), "blazer": (0.25, 0.12, 0.03),
    "leggings": (0.12, 0.05, 0.06), "sweater": (0.5, 0.09, 0.0), "hoodie": (0.55, 0.1, 0.0),
    "dress": (0.45, 0.09, 0.03), "skirt": (0.45, 0.07, 0.02), "sweatpants": (0.6, 0.09, 0.02),
}  # fmt: skip
_PRINTED_BACK = 0.3  # share of prints on the back


def _scaled(tone: Colour, factor: float, lift: float = 0.0) -> Colour:
    return tone[0] * factor + lift, tone[1] * factor + lift, tone[2] * factor + lift


def fabric(garment: Garment, body: Body, seed: int, rng: np.random.Generator) -> Material:
    """Make the material.

    Args:
        garment: Its words.
        body: Who wears it: prints sit on the chest, sleeves begin at the shoulders.
        seed: Of the noise in the pattern.
        rng: Draws shades and sizes.
    """
    one = colour(garment.colour, rng)
    two = colour(garment.second, rng) if garment.second else one
    third = colour("white" if garment.second != "white" else "grey", rng)
    fold, size, gloss = _CLOTH.get(garment.kind, (0.5, 0.08, 0.02))
    # From smooth cloth to crumpled: what is fine and strong reads as noise at the size of a crop.
    fold, size = fold * float(rng.uniform(0.25, 0.9)), size * float(rng.uniform(1.0, 1.7))
    if garment.pattern == Pattern.CAMOUFLAGE:
        two, third = _scaled(one, 0.35), _scaled(one, 1.5, 0.03)
    elif garment.pattern == Pattern.DENIM:
        two = (one[0] * 1.9 + 0.02, one[1] * 1.9 + 0.02, one[2] * 1.7 + 0.03)
    if garment.pattern == Pattern.PRINT:
        a, b, offset, behind = _emblem(body, rng)
        seed = (seed & ~1) | int(behind)  # the lowest bit of the seed says front or back
    elif garment.pattern in (Pattern.JACKET, Pattern.BLOCK, Pattern.SLEEVES, Pattern.SIDES):
        a, b, offset = _placed(garment.pattern, body, rng)
    else:
        a, b = _size(garment.pattern, rng)
        offset = (0.0, 0.0, float(rng.uniform(0, 0.1)))
    return Material(one, two, third, garment.pattern, a, b, gloss, fold, offset, seed, 0.0, size)


def _size(pattern: Pattern, rng: np.random.Generator) -> tuple[float, float]:
    """Metres and share of a pattern that fills the cloth."""
    a, b = {
        Pattern.STRIPES_Z: (np.exp(rng.uniform(np.log(0.025), np.log(0.16))), 0.5),
        Pattern.STRIPES_Y: (rng.uniform(0.025, 0.07), 0.5),
        Pattern.CHECKS: (np.exp(rng.uniform(np.log(0.035), np.log(0.16))), 0.5),
        Pattern.DOTS: (rng.uniform(0.035, 0.1), rng.uniform(0.2, 0.4)),
        Pattern.ALLOVER: (rng.uniform(0.03, 0.11), rng.uniform(0.5, 0.95)),
        Pattern.CAMOUFLAGE: (rng.uniform(0.06, 0.13), 0.5),
    }.get(pattern, (0.09, 0.5))
    return float(a), float(b)


def _placed(
    pattern: Pattern, body: Body, rng: np.random.Generator
) -> tuple[float, float, tuple[float, float, float]]:
    """Sizes and place of a pattern that has one place on the body."""
    chest: Floats = body.joint("spine_03")
    if pattern == Pattern.JACKET:
        offset = (float(chest[0]), float(chest[2] - 0.28), float(chest[2] - 0.05))
        return float(rng.uniform(0.03, 0.1)), 0.2, offset
    if pattern == Pattern.BLOCK:
        return 0.09, 0.5, (0.0, 0.0, float(chest[2] + rng.uniform(-0.15, 0.12)))
    if pattern == Pattern.SLEEVES:
        shoulder = float(abs(body.joint("upperarm_l")[1]) + rng.uniform(-0.03, 0.02))
        return 0.09, 0.5, (0.0, shoulder, 0.0)
    return 1.0, float(rng.uniform(0.012, 0.03)), (float(body.joint("thigh_l")[0]), 0.0, 0.0)


def _emblem(
    body: Body, rng: np.random.Generator
) -> tuple[float, float, tuple[float, float, float], bool]:
    """Half width and height of a print, its middle, and whether it is on the back."""
    chest: Floats = body.joint("spine_03")
    z = float(chest[2] + rng.uniform(-0.04, 0.12))
    if rng.random() < 0.25:  # small, over the heart or opposite
        return 0.035, 0.03, (float(chest[0]), float(rng.choice([-1, 1]) * 0.08), z), False
    a, b = float(rng.uniform(0.05, 0.14)), float(rng.uniform(0.03, 0.15))
    return a, b, (float(chest[0]), 0.0, z), bool(rng.random() < _PRINTED_BACK)
