"""Colour and texture of body stripes: a descriptor for machines without any model.

A person is cut into horizontal stripes from head to feet; each gives a histogram of its colours
(hue and saturation where there is colour, brightness where there is none) and one of its gradient
directions, pixels near the vertical axis counting more because the rims are background. Square
roots turn the cosine into the Bhattacharyya coefficient of the histograms. In the spirit of
Farenzena et al., "Person re-identification by symmetry-driven accumulation of local features",
CVPR 2010, and far behind any trained network.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import cv2
import numpy as np

from crosscam_edge.embed.base import clip_boxes, unit_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WIDTH, _HEIGHT = 48, 128
_STRIPES = 8
_HUES, _SATURATIONS, _GREYS = 12, 2, 8
_COLOURS = _HUES * _SATURATIONS + _GREYS
_DIRECTIONS = 6
_GREY_SATURATION = 48  # of 255: below it hue is noise
_DARK = 28  # of 255: the same
_TEXTURE_WEIGHT = 0.35


class ColourEmbedder:
    """Describes people by the colours and textures of their body stripes."""

    name = "colour"
    model_id = "colour-stripes-1"
    dim = _STRIPES * (_COLOURS + _DIRECTIONS)

    def __init__(self) -> None:
        self.inference_seconds = 0.0
        self.unusable = 0
        self._lock = threading.Lock()
        across = (np.arange(_WIDTH) + 0.5) / _WIDTH - 0.5
        self._weight = np.tile(np.exp(-0.5 * (across / 0.22) ** 2), (_HEIGHT, 1)).ravel()
        self._stripe = np.repeat(np.arange(_HEIGHT) * _STRIPES // _HEIGHT, _WIDTH)

    def embed(self, image: NDArray[np.uint8], boxes: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return one L2-normalised row `(N, D)` per box; zeros where none could be made."""
        box, valid = clip_boxes(boxes, *image.shape[:2])
        out = np.zeros((len(box), self.dim), np.float32)
        for index in np.flatnonzero(valid).tolist():
            x1, y1, x2, y2 = box[index].astype(int).tolist()
            crop = cv2.resize(image[y1:y2, x1:x2], (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
            out[index] = self._describe(np.asarray(crop, np.uint8))
        out, good = unit_rows(out)
        with self._lock:
            self.unusable += int((~good).sum())
        return out

    def _describe(self, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the `(D,)` descriptor of a `(128, 48, 3)` BGR crop, not normalised as a whole."""
        hsv = cv2.cvtColor(crop, cv2.COLOR_BGR2HSV).reshape(-1, 3).astype(np.int32)
        hue, saturation, value = hsv[:, 0], hsv[:, 1], hsv[:, 2]
        grey = (saturation < _GREY_SATURATION) | (value < _DARK)
        vivid = (saturation >= 128).astype(np.int32)
        colour = np.where(
            grey,
            _HUES * _SATURATIONS + value * _GREYS // 256,
            (hue * _HUES // 180) * _SATURATIONS + vivid,
        )
        colours = np.bincount(
            self._stripe * _COLOURS + colour, self._weight, _STRIPES * _COLOURS
        ).reshape(_STRIPES, _COLOURS)
        light = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY).astype(np.float32)
        dx, dy = cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1)
        magnitude, angle = cv2.cartToPolar(dx, dy)
        direction = (angle.ravel() * (_DIRECTIONS / np.pi)).astype(np.int64) % _DIRECTIONS
        textures = np.bincount(
            self._stripe * _DIRECTIONS + direction,
            self._weight * magnitude.ravel(),
            _STRIPES * _DIRECTIONS,
        ).reshape(_STRIPES, _DIRECTIONS)
        parts = [
            np.sqrt(colours / np.maximum(colours.sum(axis=1, keepdims=True), 1e-9)),
            _TEXTURE_WEIGHT
            * np.sqrt(textures / np.maximum(textures.sum(axis=1, keepdims=True), 1e-9)),
        ]
        return np.concatenate([part.ravel() for part in parts]).astype(np.float32)

    def close(self) -> None:
        """Nothing to free."""
