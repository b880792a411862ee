"""Colours that stay with an identity or a camera everywhere: in videos, crops and the page."""

from __future__ import annotations

import colorsys

_GOLDEN = 0.618033988749895
_LEVELS = ((0.62, 0.62), (0.78, 0.50), (0.52, 0.70))  # saturation, lightness

# Okabe and Ito's palette, which people with any colour vision can tell apart, then its shades.
_CAMERAS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a7a00", "#6f5bd0")

RGB = tuple[int, int, int]


def identity_rgb(global_id: int) -> RGB:
    """Return the colour of an identity: neighbouring ids are far apart on the colour wheel."""
    hue = (0.08 + global_id * _GOLDEN) % 1.0
    saturation, lightness = _LEVELS[global_id % len(_LEVELS)]
    r, g, b = colorsys.hls_to_rgb(hue, lightness, saturation)
    return round(255 * r), round(255 * g), round(255 * b)


def camera_hex(number: int) -> str:
    """Return the colour of a camera by its number from 1, as ``#rrggbb``."""
    return _CAMERAS[(number - 1) % len(_CAMERAS)]


def hex_of(rgb: RGB) -> str:
    """Return ``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def readable_on(rgb: RGB) -> RGB:
    """Return black or white, whichever reads better on a colour (WCAG relative luminance)."""
    linear = [(v / 255 / 12.92 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4) for v in rgb]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (16, 16, 16) if luminance > 0.25 else (255, 255, 255)
