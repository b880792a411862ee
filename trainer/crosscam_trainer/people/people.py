"""Somebody: a body, a face, hair and habits; what stays when the clothes change."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from crosscam_edge.simulate.gait import Style
from crosscam_trainer.people.bodies import Phenotype, draw_phenotype
from crosscam_trainer.people.wardrobe import Outfit, draw, draw_outfit

_SKIN = np.array(
    [
        [0xF3, 0xD2, 0xBC], [0xEA, 0xBF, 0xA0], [0xDB, 0xA8, 0x84], [0xC6, 0x8B, 0x62],
        [0xA7, 0x6E, 0x48], [0x83, 0x52, 0x2F], [0x5A, 0x37, 0x22], [0x3E, 0x27, 0x1B],
    ]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody.

    Attributes:
        number: Identity, from 1.
        phenotype: Body; not written anywhere.
        skin: sRGB.
        hair: One of `wardrobe.HAIR`.
        hair_colour: Name.
        beard: 0 none to 1 full.
        style: Habits of walking.
        speed: Metres a second when walking.
        outfits: Two or three.
    """

    number: int
    phenotype: Phenotype
    skin: int
    hair: str
    hair_colour: str
    beard: float
    style: Style
    speed: float
    outfits: tuple[Outfit, ...]


@lru_cache(maxsize=512)  # asked for once a crop
def draw_person(number: int, outfits: int, seed: int, sober: float = 0.0) -> Person:
    """Draw a person; the same for the same numbers, whoever else is drawn.

    Args:
        number: Identity, from 1.
        outfits: How many.
        seed: Of the set.
        sober: Share of outfits that are; see `draw_outfit`.
    """
    rng = np.random.default_rng([seed, 1, number])
    body = draw_phenotype(rng)
    tone = body.african * 6.0 + body.asian * 2.2 + body.caucasian * 1.0 + rng.normal(0, 0.7)
    tone = float(np.clip(tone, 0, len(_SKIN) - 1))
    low = min(int(tone), len(_SKIN) - 2)
    rgb = np.round(_SKIN[low] + (tone - low) * (_SKIN[low + 1] - _SKIN[low])).astype(int)
    feminine, old = body.gender > 0.5, body.age > 0.87
    if feminine:
        hair = draw({"long": 36, "bob": 20, "bun": 14, "ponytail": 18, "short": 8, "afro": 4}, rng)
    else:
        hair = draw({"short": 74, "bald": 12, "bob": 4, "afro": 6, "bun": 2, "long": 2}, rng)
    colours = {"black": 32, "dark brown": 26, "brown": 18, "blond": 14, "grey": 3, "red": 4}
    if tone > 3.5:
        colours = {"black": 78, "dark brown": 20, "brown": 2}
    if old:
        colours = {"grey": 70, "black": 10, "dark brown": 10, "brown": 10}
    adult = body.age > 0.64
    return Person(
        number=number,
        phenotype=body,
        skin=int(rgb[0]) << 16 | int(rgb[1]) << 8 | int(rgb[2]),
        hair=hair,
        hair_colour=draw(colours, rng),
        beard=draw({0.0: 60, 0.3: 20, 0.7: 20}, rng) if adult and not feminine else 0.0,
        style=Style(
            stride=float(rng.uniform(0.85, 1.12)),
            arm=float(rng.uniform(0.4, 1.35)),
            lean=float(rng.uniform(-0.01, 0.12 if old else 0.08)),
            bounce=float(rng.uniform(0.5, 1.5)),
            width=float(rng.uniform(0.06, 0.11)),
        ),
        speed=float(np.clip(rng.normal(1.25 - 0.3 * old, 0.18), 0.7, 1.8)),
        outfits=tuple(
            draw_outfit(
                np.random.default_rng([seed, 2, number, k]),
                feminine,
                sober=bool(np.random.default_rng([seed, 9, number, k]).random() < sober),
            )
            for k in range(outfits)
        ),
    )
