"""What people look like: bodies, hair, clothes and bags, drawn from a seed and put into words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_edge.simulate.body import BodyShape
from crosscam_edge.simulate.gait import Style
from crosscam_edge.simulate.materials import Pattern, linear

if TYPE_CHECKING:
    from crosscam_edge.simulate.materials import Colour

#: Colours of cloth by name, sRGB.
COLOURS: dict[str, int] = {
    "black": 0x1C1C20, "white": 0xE8E6E0, "grey": 0x85868A, "dark grey": 0x45474C,
    "navy": 0x1F2A4D, "blue": 0x2F5EA8, "light blue": 0x8FB4DC, "red": 0xB3232C,
    "burgundy": 0x5E1A2A, "pink": 0xDE9AAE, "orange": 0xD9722A, "yellow": 0xE0B93A,
    "green": 0x2F7A4A, "olive": 0x5C5D37, "teal": 0x1F7C80, "purple": 0x5A3A7E,
    "brown": 0x5E4430, "beige": 0xC7B08A, "khaki": 0x9A8A62, "cream": 0xE5DBC0,
}  # fmt: skip
_TROUSER = ["black", "navy", "grey", "dark grey", "beige", "khaki", "brown", "olive", "white"]
_SHOE = ["black", "white", "brown", "grey", "red", "navy", "beige"]
_SKIN = [0xF1CDB4, 0xE8BC9C, 0xD9A580, 0xC68B62, 0xA76E48, 0x83522F, 0x5E3A22]
_HAIR = {
    "black": 0x1B1613,
    "dark brown": 0x35241A,
    "brown": 0x5A3C26,
    "blond": 0xB08D55,
    "grey": 0x97948E,
    "red": 0x7B3A1E,
}


@dataclass(frozen=True, slots=True)
class Garment:
    """One piece of clothing.

    Attributes:
        kind: What it is: ``t-shirt``, ``jeans``, ``skirt`` …
        colour: Name of the main colour.
        second: Name of the other colour of the pattern; empty for plain cloth.
        pattern: How it is drawn.
    """

    kind: str
    colour: str
    second: str = ""
    pattern: Pattern = Pattern.PLAIN

    def words(self) -> str:
        """The garment in words, for captions."""
        adjective = {
            Pattern.STRIPES_Z: "striped", Pattern.STRIPES_Y: "striped", Pattern.CHECKS: "checked",
            Pattern.DOTS: "patterned", Pattern.BLOCK: "two-coloured",
        }.get(self.pattern)  # fmt: skip
        if adjective:
            return f"{self.colour} and {self.second} {adjective} {self.kind}"
        if self.pattern == Pattern.LOGO:
            return f"{self.colour} {self.kind} with a {self.second} print"
        if self.pattern == Pattern.JACKET:
            return f"{self.colour} open {self.kind} over {self.second}"
        return f"{self.colour} {self.kind}"


@dataclass(frozen=True, slots=True)
class Outfit:
    """What a person wears and carries on one day.

    Attributes:
        top: Upper garment.
        bottom: Trousers, shorts, skirt; of a dress, its lower part.
        shoes: Shoes.
        bag: ``""``, ``backpack``, ``handbag`` or ``shoulder bag``.
        bag_colour: Name of its colour.
        hat: ``""``, ``cap`` or ``beanie``.
        hat_colour: Name of its colour.
        seed: Of the small variations of the cloth.
    """

    top: Garment
    bottom: Garment
    shoes: Garment
    bag: str
    bag_colour: str
    hat: str
    hat_colour: str
    seed: int


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, without clothes and places.

    Attributes:
        person_id: Identity, from 1; the same in every camera and on every day.
        shape: Body.
        skin: sRGB of the skin.
        hair: ``short``, ``long``, ``bob``, ``bald``, ``bun``.
        hair_colour: Name of the colour.
        beard: 0 none to 1 full.
        style: Habits of walking.
        speed: Preferred speed, m/s.
    """

    person_id: int
    shape: BodyShape
    skin: int
    hair: str
    hair_colour: str
    beard: float
    style: Style
    speed: float

    @property
    def noun(self) -> str:
        """Man or woman, by the body's shape."""
        return "man" if self.shape.gender > 0.5 else "woman"


def colour(name: str, rng: np.random.Generator | None = None) -> Colour:
    """Linear colour by name, a little off when `rng` is given."""
    base = np.array(linear(COLOURS[name]))
    if rng is not None:
        base = np.clip(base * rng.uniform(0.85, 1.15) * rng.uniform(0.95, 1.05, 3), 0.004, 0.9)
    return float(base[0]), float(base[1]), float(base[2])


def hair_colour(name: str) -> Colour:
    """Linear colour of hair by name."""
    return linear(_HAIR[name])


def make_person(person_id: int, rng: np.random.Generator) -> Person:
    """Draw a person."""
    gender = float(np.clip(round(rng.random()) + rng.normal(0, 0.08), 0, 1))
    origin = rng.dirichlet([0.35, 0.35, 0.35])
    tone = float(
        np.clip((origin[0] * 5.4 + origin[1] * 1.7 + origin[2] * 0.9) + rng.normal(0, 0.5), 0, 6)
    )
    age = float(rng.choice([0.0, 0.15, 0.3, 0.7], p=[0.4, 0.25, 0.2, 0.15]))
    mean = 1.64 + 0.13 * gender
    shape = BodyShape(
        gender=gender,
        origin=(float(origin[0]), float(origin[1]), float(origin[2])),
        weight=float(np.clip(rng.normal(0.35, 0.9), -0.9, 2.3)),
        muscle=float(np.clip(rng.normal(0.1, 0.4), -0.6, 0.8)),
        age=age,
        height=float(np.clip(rng.normal(mean, 0.065), 1.47, 1.99)),
    )
    if gender > 0.5:
        hair = str(rng.choice(["short", "bald", "bob"], p=[0.8, 0.14, 0.06]))
        beard = float(rng.choice([0.0, 0.25, 0.7], p=[0.6, 0.2, 0.2]))
    else:
        hair = str(rng.choice(["long", "bob", "bun", "short"], p=[0.45, 0.27, 0.2, 0.08]))
        beard = 0.0
    names = list(_HAIR)
    odds = np.array([0.3, 0.25, 0.2, 0.15, 0.05, 0.05])
    if tone > 3:
        odds = np.array([0.75, 0.2, 0.05, 0, 0, 0])
    if age > 0.5:
        odds = np.array([0.1, 0.1, 0.1, 0.05, 0.65, 0])
    lower, upper = int(tone), min(int(tone) + 1, 6)
    blend = np.array([[_SKIN[k] >> s & 255 for s in (16, 8, 0)] for k in (lower, upper)])
    rgb = np.round(blend[0] + (tone - lower) * (blend[1] - blend[0])).astype(int)
    return Person(
        person_id=person_id,
        shape=shape,
        skin=int(rgb[0]) << 16 | int(rgb[1]) << 8 | int(rgb[2]),
        hair=hair,
        hair_colour=str(rng.choice(names, p=odds / odds.sum())),
        beard=beard,
        style=Style(
            stride=float(rng.uniform(0.92, 1.08)),
            arm=float(rng.uniform(0.6, 1.25)),
            lean=float(rng.uniform(0.0, 0.08)),
            bounce=float(rng.uniform(0.6, 1.4)),
            left_bend=0.0,
            right_bend=float(rng.choice([0.0, 1.25], p=[0.85, 0.15])),
            width=float(rng.uniform(0.07, 0.1)),
        ),
        speed=float(np.clip(rng.normal(1.28 - 0.25 * (age > 0.5), 0.14), 0.85, 1.65)),
    )


def _top(gender: float, rng: np.random.Generator) -> Garment:
    names = list(COLOURS)
    kinds = {
        "t-shirt": 0.28,
        "shirt": 0.16,
        "sweater": 0.2,
        "hoodie": 0.12,
        "jacket": 0.14,
        "coat": 0.1,
    }
    kind = str(rng.choice(list(kinds), p=list(kinds.values())))
    one, two = (str(n) for n in rng.choice(names, 2, replace=False))
    pool = {
        "t-shirt": [Pattern.PLAIN, Pattern.LOGO, Pattern.STRIPES_Z, Pattern.DOTS],
        "shirt": [Pattern.PLAIN, Pattern.CHECKS, Pattern.STRIPES_Y],
        "sweater": [Pattern.PLAIN, Pattern.STRIPES_Z, Pattern.BLOCK],
        "hoodie": [Pattern.PLAIN, Pattern.LOGO],
        "jacket": [Pattern.JACKET, Pattern.PLAIN, Pattern.BLOCK],
        "coat": [Pattern.JACKET, Pattern.PLAIN],
    }[kind]
    pattern = Pattern(int(rng.choice([int(p) for p in pool])))
    return Garment(kind, one, "" if pattern == Pattern.PLAIN else two, pattern)


def make_outfit(person: Person, rng: np.random.Generator) -> Outfit:
    """Draw the clothes of one day."""
    top = _top(person.shape.gender, rng)
    if person.shape.gender <= 0.5 and rng.random() < 0.34:
        kind = str(rng.choice(["skirt", "dress"]))
    else:
        kind = str(rng.choice(["jeans", "trousers", "shorts"], p=[0.42, 0.46, 0.12]))
    if kind == "jeans":
        bottom = Garment(
            "jeans", str(rng.choice(["navy", "blue", "black", "light blue"])), "", Pattern.DENIM
        )
    elif kind == "dress":
        top = Garment(
            "dress",
            top.colour,
            top.second or "white",
            Pattern(int(rng.choice([Pattern.PLAIN, Pattern.DOTS]))),
        )
        bottom = Garment("dress", top.colour, top.second, top.pattern)
    elif kind == "skirt":
        one, two = (str(n) for n in rng.choice(list(COLOURS), 2, replace=False))
        pattern = Pattern(
            int(rng.choice([Pattern.PLAIN, Pattern.CHECKS, Pattern.DOTS], p=[0.6, 0.2, 0.2]))
        )
        bottom = Garment("skirt", one, two if pattern != Pattern.PLAIN else "", pattern)
    else:
        bottom = Garment(kind, str(rng.choice(_TROUSER)))
    bag = str(rng.choice(["", "backpack", "handbag", "shoulder bag"], p=[0.5, 0.24, 0.1, 0.16]))
    hat = str(rng.choice(["", "cap", "beanie"], p=[0.84, 0.1, 0.06]))
    names = list(COLOURS)
    return Outfit(
        top=top,
        bottom=bottom,
        shoes=Garment("shoes", str(rng.choice(_SHOE))),
        bag=bag,
        bag_colour=str(rng.choice(names)),
        hat=hat,
        hat_colour=str(rng.choice(names)),
        seed=int(rng.integers(1 << 16)),
    )


def uniform_outfit(team: int) -> Outfit:
    """Work clothes: the same for everybody of a team, so that only the body tells them apart."""
    schemes = [
        ("navy", "white", "black"),
        ("red", "white", "dark grey"),
        ("olive", "yellow", "black"),
    ]
    top, mark, trousers = schemes[team % len(schemes)]
    return Outfit(
        top=Garment("t-shirt", top, mark, Pattern.LOGO),
        bottom=Garment("trousers", trousers),
        shoes=Garment("shoes", "black"),
        bag="",
        bag_colour="black",
        hat="",
        hat_colour="black",
        seed=team,
    )


def caption(person: Person, outfit: Outfit) -> str:
    """The person in one English sentence."""
    age = "An older" if person.shape.age > 0.5 else "A"
    build = "slim " if person.shape.weight < -0.4 else "heavy " if person.shape.weight > 1.3 else ""
    height = (
        "tall " if person.shape.height > 1.82 else "short " if person.shape.height < 1.6 else ""
    )
    hair = (
        "a bald head"
        if person.hair == "bald"
        else f"{person.hair} {person.hair_colour} hair".replace("bun", "tied-back").replace(
            "bob", "chin-length"
        )
    )
    beard = " and a beard" if person.beard > 0.4 else ""
    a = "an" if outfit.top.colour[0] in "aeiou" else "a"
    if outfit.top.kind == "dress":
        clothes = f"{a} {outfit.top.words()}"
    else:
        lower = outfit.bottom.words()
        if outfit.bottom.kind == "skirt":
            lower = f"a {lower}" if lower[0] not in "aeiou" else f"an {lower}"
        clothes = f"{a} {outfit.top.words()}, {lower}"
    extras = f" and {outfit.shoes.colour} shoes"
    if outfit.hat:
        extras += f", with a {outfit.hat_colour} {outfit.hat}"
    if outfit.bag:
        extras += f", carrying a {outfit.bag_colour} {outfit.bag}"
    extras = extras.replace("a orange", "an orange").replace("a olive", "an olive")
    return f"{age} {height}{build}{person.noun} with {hair}{beard}, wearing {clothes}{extras}."


def as_record(outfit: Outfit) -> dict[str, Any]:
    """The outfit as plain data for `people.json`."""
    record = asdict(outfit)
    for part in ("top", "bottom", "shoes"):
        record[part]["pattern"] = Pattern(record[part]["pattern"]).name.lower()
    return record
