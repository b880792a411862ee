"""Procedural surfaces, as the native renderer reads them (`edge/csrc/material.h`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Colour = tuple[float, float, float]

COLUMNS = 20


class Pattern(IntEnum):
    """What a surface looks like; the numbers are those of the native renderer."""

    PLAIN = 0
    STRIPES_Z = 1
    STRIPES_Y = 2
    CHECKS = 3
    TILES = 4
    PLANKS = 5
    MOTTLED = 6
    BRICKS = 7
    GOODS = 8
    DENIM = 9
    DOTS = 10
    LOGO = 11
    BLOCK = 12
    FACE = 13
    HAIR = 14
    JACKET = 15
    WINDOWS = 16
    PRINT = 17
    CAMOUFLAGE = 18
    SLEEVES = 19
    SIDES = 20
    ALLOVER = 21


def linear(srgb: int | Sequence[float]) -> Colour:
    """Linear light of an sRGB colour.

    Args:
        srgb: ``0xRRGGBB`` or three values in `[0, 1]`.
    """
    if isinstance(srgb, int):
        srgb = [(srgb >> 16 & 255) / 255, (srgb >> 8 & 255) / 255, (srgb & 255) / 255]
    v = np.asarray(srgb, np.float64)
    out = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    return float(out[0]), float(out[1]), float(out[2])


@dataclass(frozen=True, slots=True)
class Material:
    """One surface.

    Attributes:
        c0: Main colour, linear RGB.
        c1: Second colour; the meaning depends on the pattern.
        c2: Third colour.
        pattern: What is drawn.
        a: First size of the pattern, metres or a fraction.
        b: Second size.
        specular: 0 matt to 1 glossy.
        bump: Strength of the relief (cloth folds).
        offset: Where the pattern starts, metres.
        seed: Of the noise in the pattern.
        emission: 1 for a surface that shines by itself.
        fold: Size of cloth folds in metres.
    """

    c0: Colour
    c1: Colour = (0.0, 0.0, 0.0)
    c2: Colour = (0.0, 0.0, 0.0)
    pattern: Pattern = Pattern.PLAIN
    a: float = 0.1
    b: float = 0.5
    specular: float = 0.0
    bump: float = 0.0
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    seed: int = 0
    emission: float = 0.0
    fold: float = 0.0

    def row(self) -> list[float]:
        """The `COLUMNS` numbers that the renderer takes."""
        return [
            float(self.pattern), *self.c0, *self.c1, *self.c2, self.a, self.b, self.specular,
            self.bump, *self.offset, float(self.seed % 65536), self.emission, self.fold,
        ]  # fmt: skip


def table(materials: Sequence[Material]) -> NDArray[np.float32]:
    """`(M, 20)` rows of the materials, in order."""
    return np.array([m.row() for m in materials], np.float32).reshape(-1, COLUMNS)
