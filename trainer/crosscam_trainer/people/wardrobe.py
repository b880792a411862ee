"""What people wear and carry: kinds, cuts, colours and patterns, drawn from a seed.

Colours are drawn as they are worn: dark and plain ones often, loud ones now and then. Shares are
rough guesses from looking at streets, not statistics.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from crosscam_edge.simulate.materials import Pattern

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

_SOFT = {
    "black": 28, "white": 9, "grey": 9, "dark grey": 11, "navy": 11, "blue": 7, "light blue": 4,
    "red": 5, "burgundy": 3, "pink": 4, "orange": 2, "yellow": 3, "green": 4, "olive": 4, "teal": 2,
    "purple": 3, "brown": 4, "beige": 5, "khaki": 3, "cream": 4,
}  # fmt: skip
_LOWER = {
    "black": 32, "navy": 14, "dark grey": 13, "grey": 8, "beige": 8, "khaki": 6, "brown": 6,
    "olive": 5, "white": 5, "blue": 4, "burgundy": 2, "cream": 2, "green": 1, "red": 1,
}  # fmt: skip
_DENIM = {"navy": 6, "blue": 7, "black": 4, "light blue": 4, "grey": 2}
#: Of sober outfits: what most people of a grey day wear.
_SOBER = {
    "black": 40, "navy": 18, "dark grey": 18, "grey": 7, "brown": 5, "olive": 4, "blue": 3,
    "beige": 2, "burgundy": 2, "white": 1,
}  # fmt: skip
_SOBER_LOWER = {"black": 50, "dark grey": 20, "navy": 18, "grey": 6, "beige": 3, "brown": 3}
_SHOE = {
    "black": 10, "white": 8, "brown": 5, "grey": 4, "navy": 2, "red": 1, "beige": 2, "blue": 1,
    "pink": 1,
}  # fmt: skip
_BAG = {
    "black": 14, "grey": 4, "navy": 4, "brown": 5, "red": 3, "blue": 3, "green": 2, "beige": 3,
    "pink": 2, "yellow": 1, "purple": 1, "orange": 1, "white": 1, "olive": 2,
}  # fmt: skip

#: Upper garments with how often they are drawn; the layer under an open one is drawn as well.
TOPS = {
    "t-shirt": 22, "tank top": 4, "polo shirt": 5, "shirt": 11, "blouse": 4, "sweater": 12,
    "hoodie": 11, "jacket": 13, "puffer jacket": 6, "blazer": 5, "coat": 8, "long coat": 4,
}  # fmt: skip
_SOBER_TOPS = {
    "jacket": 26, "puffer jacket": 14, "coat": 15, "long coat": 6, "hoodie": 14, "sweater": 11,
    "blazer": 5, "shirt": 5, "t-shirt": 4,
}  # fmt: skip
_SOBER_PLAIN = 0.6  # share of sober garments that have no pattern, whatever their kind
_PATTERNS: dict[str, dict[Pattern, float]] = {
    "t-shirt": {
        Pattern.PLAIN: 4, Pattern.PRINT: 5, Pattern.STRIPES_Z: 2, Pattern.ALLOVER: 1,
        Pattern.SLEEVES: 1, Pattern.BLOCK: 0.6, Pattern.CAMOUFLAGE: 0.3,
    },
    "tank top": {Pattern.PLAIN: 4, Pattern.PRINT: 2, Pattern.STRIPES_Z: 1, Pattern.ALLOVER: 1},
    "polo shirt": {Pattern.PLAIN: 4, Pattern.STRIPES_Z: 3, Pattern.BLOCK: 1},
    "shirt": {
        Pattern.PLAIN: 4, Pattern.CHECKS: 4, Pattern.STRIPES_Y: 2, Pattern.ALLOVER: 1,
        Pattern.DENIM: 1,
    },
    "blouse": {Pattern.PLAIN: 4, Pattern.ALLOVER: 3, Pattern.DOTS: 2, Pattern.STRIPES_Y: 1},
    "sweater": {Pattern.PLAIN: 6, Pattern.STRIPES_Z: 3, Pattern.BLOCK: 1.5, Pattern.PRINT: 1},
    "hoodie": {Pattern.PLAIN: 5, Pattern.PRINT: 4, Pattern.SLEEVES: 0.7, Pattern.CAMOUFLAGE: 0.4},
    "jacket": {
        Pattern.JACKET: 5, Pattern.PLAIN: 4, Pattern.SLEEVES: 1.2, Pattern.BLOCK: 1.5,
        Pattern.DENIM: 1.5, Pattern.CAMOUFLAGE: 0.5,
    },
    "puffer jacket": {Pattern.PLAIN: 6, Pattern.JACKET: 2, Pattern.BLOCK: 1.5},
    "blazer": {Pattern.JACKET: 6, Pattern.PLAIN: 1, Pattern.CHECKS: 0.6},
    "coat": {Pattern.PLAIN: 5, Pattern.JACKET: 4, Pattern.CHECKS: 1},
    "long coat": {Pattern.PLAIN: 5, Pattern.JACKET: 4},
    "dress": {Pattern.PLAIN: 4, Pattern.ALLOVER: 3, Pattern.DOTS: 2, Pattern.STRIPES_Z: 1},
    "skirt": {Pattern.PLAIN: 5, Pattern.CHECKS: 2, Pattern.ALLOVER: 1.5, Pattern.DOTS: 1},
    "jeans": {Pattern.DENIM: 1},
    "trousers": {Pattern.PLAIN: 8, Pattern.CHECKS: 0.6, Pattern.CAMOUFLAGE: 0.4},
    "sweatpants": {Pattern.PLAIN: 3, Pattern.SIDES: 2},
    "leggings": {Pattern.PLAIN: 5, Pattern.SIDES: 0.6, Pattern.ALLOVER: 0.6},
    "shorts": {
        Pattern.PLAIN: 5, Pattern.DENIM: 2, Pattern.CHECKS: 1, Pattern.ALLOVER: 0.7,
        Pattern.SIDES: 1, Pattern.CAMOUFLAGE: 0.4,
    },
}  # fmt: skip
#: Sleeve by kind, from and to: 0 shoulder, 1 elbow, 2 wrist.
_SLEEVE = {
    "t-shirt": (0.35, 0.8), "tank top": (-0.1, -0.1), "polo shirt": (0.4, 0.7),
    "dress": (-0.1, 1.9), "blouse": (0.3, 1.95),
}  # fmt: skip
_ADJECTIVE = {
    Pattern.STRIPES_Z: "striped", Pattern.STRIPES_Y: "striped", Pattern.CHECKS: "checked",
    Pattern.DOTS: "dotted", Pattern.ALLOVER: "patterned", Pattern.BLOCK: "two-coloured",
}  # fmt: skip
LONG_TOPS = frozenset({"coat", "long coat"})
_SKIRTED = frozenset({"skirt", "dress"})
PLURAL = frozenset({"jeans", "trousers", "sweatpants", "leggings", "shorts"})
BAGS = {"": 42, "backpack": 24, "shoulder bag": 15, "handbag": 10, "suitcase": 5, "shopping bag": 4}
HATS = {"": 80, "cap": 10, "beanie": 6, "hood": 4}
HAIR = ("short", "long", "bob", "bun", "bald", "ponytail", "afro")


@dataclass(frozen=True, slots=True)
class Garment:
    """One piece.

    Attributes:
        kind: What it is.
        colour: Name of the main colour.
        second: Name of the other colour of the pattern; empty where it has one only.
        pattern: How it is drawn.
        cut: Of tops the length of the sleeve (0 shoulder, 1 elbow, 2 wrist), of legwear how far
            down it goes (0 hip, 1 knee, 2 ankle).
    """

    kind: str
    colour: str
    second: str = ""
    pattern: Pattern = Pattern.PLAIN
    cut: float = 2.0

    def words(self) -> str:
        """The piece in words."""
        length = ""
        if self.kind in ("shirt", "blouse", "polo shirt", "dress") and self.cut < 1:
            length = "sleeveless " if self.cut <= 0.1 else "short-sleeved "
        kind = f"{length}{self.kind}"
        if self.pattern in _ADJECTIVE:
            return f"{self.colour} and {self.second} {_ADJECTIVE[self.pattern]} {kind}"
        if self.pattern == Pattern.PRINT:
            return f"{self.colour} {kind} with a {self.second} print"
        if self.pattern == Pattern.JACKET:
            return f"{self.colour} open {kind} over {_a(self.second)} top"
        if self.pattern == Pattern.SLEEVES:
            return f"{self.colour} {kind} with {self.second} sleeves"
        if self.pattern == Pattern.SIDES:
            return f"{self.colour} {kind} with {self.second} stripes"
        if self.pattern == Pattern.CAMOUFLAGE:
            return f"{self.colour} camouflage {kind}"
        if self.pattern == Pattern.DENIM and self.kind != "jeans":
            return f"{self.colour} denim {kind}"
        return f"{self.colour} {kind}"


@dataclass(frozen=True, slots=True)
class Outfit:
    """What a person wears and carries while they wear it.

    Attributes:
        top: Upper garment, or a dress.
        bottom: Legwear or skirt; a dress again under a dress.
        shoes: ``shoes``, ``sneakers`` or ``boots``.
        bag: One of `BAGS`.
        bag_colour: Name.
        hat: One of `HATS`.
        hat_colour: Name.
        scarf: Name of its colour; empty without one.
        phone: One is held before the chest.
        seed: Of what the words do not say: shades, sizes, folds.
    """

    top: Garment
    bottom: Garment
    shoes: Garment
    bag: str
    bag_colour: str
    hat: str
    hat_colour: str
    scarf: str
    phone: bool
    seed: int

    def record(self) -> dict[str, Any]:
        """Plain data for the table."""
        out = asdict(self)
        for part in ("top", "bottom", "shoes"):
            out[part]["pattern"] = Pattern(out[part]["pattern"]).name.lower()
            out[part]["cut"] = round(out[part]["cut"], 3)
        return out


def _a(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def draw(table: Mapping[T, float], rng: np.random.Generator) -> T:
    """One key of a table of shares."""
    odds = np.array(list(table.values()), np.float64)
    return list(table)[int(rng.choice(len(odds), p=odds / odds.sum()))]


def _piece(
    kind: str,
    colours: dict[str, int],
    cut: float,
    rng: np.random.Generator,
    plain: float = 0.0,
) -> Garment:
    pattern = draw(_PATTERNS[kind], rng)
    if plain and kind != "jeans" and rng.random() < plain:
        pattern = Pattern.PLAIN
    if pattern == Pattern.DENIM:
        return Garment(kind, draw(_DENIM, rng), "", pattern, cut)
    if pattern == Pattern.CAMOUFLAGE:
        return Garment(kind, draw({"olive": 4, "khaki": 2, "grey": 1}, rng), "", pattern, cut)
    one = draw(colours, rng)
    if pattern == Pattern.PLAIN:
        return Garment(kind, one, "", pattern, cut)
    # The other colour differs enough to be seen.
    near = {
        "black": {"dark grey", "navy"}, "navy": {"black", "dark grey", "blue"},
        "dark grey": {"black", "navy", "grey"}, "white": {"cream"}, "cream": {"white", "beige"},
        "beige": {"cream", "khaki"}, "grey": {"dark grey"}, "khaki": {"beige", "olive"},
    }.get(one, set())  # fmt: skip
    two = draw({c: n for c, n in _SOFT.items() if c != one and c not in near}, rng)
    return Garment(kind, one, two, pattern, cut)


def draw_outfit(rng: np.random.Generator, feminine: bool, *, sober: bool = False) -> Outfit:
    """Draw the clothes of somebody.

    Args:
        rng: Source of chance.
        feminine: Skirts and dresses are possible.
        sober: Dark, mostly plain clothes of a cold day: many people then look nearly alike, and
            cut, hair, shoes and bags are what tells them apart.
    """
    tops, uppers, lowers, plain = TOPS, _SOFT, _LOWER, 0.0
    if sober:
        tops, uppers, lowers, plain = _SOBER_TOPS, _SOBER, _SOBER_LOWER, _SOBER_PLAIN
    skirted = feminine and rng.random() < (0.08 if sober else 0.3)
    if skirted and rng.random() < 0.45:
        sleeve = float(rng.uniform(*_SLEEVE["dress"]))
        top = _piece("dress", uppers, sleeve, rng, plain)
        bottom = top
    else:
        shares = {k: n for k, n in tops.items() if feminine or k != "blouse"}
        kind = draw(shares, rng)
        if kind == "shirt" and rng.random() < 0.35:
            sleeve = float(rng.uniform(0.5, 0.8))
        else:
            sleeve = float(rng.uniform(*_SLEEVE.get(kind, (1.85, 1.97))))
        top = _piece(kind, uppers, sleeve, rng, plain)
        warm = kind in LONG_TOPS or kind == "puffer jacket"
        if skirted:
            bottom = _piece("skirt", uppers, float(rng.uniform(0.45, 1.75)), rng, plain)
        else:
            table = {"jeans": 38, "trousers": 32, "sweatpants": 9}
            if not warm and not sober:
                table["shorts"] = 12
            if feminine:
                table["leggings"] = 9
            kind = draw(table, rng)
            cut = float(rng.uniform(0.45, 1.05)) if kind == "shorts" else 1.98
            bottom = _piece(kind, lowers, cut, rng, plain)
    hat = draw(HATS, rng)
    if hat == "hood" and top.kind not in ("hoodie", "puffer jacket", "jacket"):
        hat = ""
    cold = top.kind in LONG_TOPS or top.kind in ("puffer jacket", "sweater")
    boots = bottom.kind != "shorts" and rng.random() < (0.25 if cold else 0.08)
    return Outfit(
        top=top,
        bottom=bottom,
        shoes=Garment(
            "boots" if boots else str(rng.choice(["shoes", "sneakers"])), draw(_SHOE, rng)
        ),
        bag=draw(BAGS, rng),
        bag_colour=draw(_BAG, rng),
        hat=hat,
        hat_colour=top.colour if hat == "hood" else draw(_BAG, rng),
        scarf=draw(_SOFT, rng) if cold and rng.random() < 0.25 else "",
        phone=bool(rng.random() < 0.1),
        seed=int(rng.integers(1 << 16)),
    )


def article(words: str, kind: str) -> str:
    """The words with an article, where the kind takes one."""
    return words if kind in PLURAL else _a(words)


def is_skirted(garment: Garment) -> bool:
    """Whether it hangs from the waist around both legs."""
    return garment.kind in _SKIRTED
