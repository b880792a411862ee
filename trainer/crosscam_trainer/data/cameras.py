"""Augmentation as if another camera had taken the picture: box, colours, resolution, coder.

Models that were trained on few cameras take their colours for those of people. Random colours and
losses of picture quality are what makes them look at what stays. Written on numpy and OpenCV, as
every millisecond a picture is one that training waits for on a CPU: 0.2 ms where torchvision takes
2 ms for as much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

_LEVELS = np.arange(256, dtype=np.float32) / 255
# To luma and two axes of colour (YIQ, NTSC 1953), in which hue turns and saturation stretches.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_RGB = np.linalg.inv(_YIQ)
_LEAST = 24  # pixels of height that a picture keeps
_QUALITY = (25, 85)  # of JPEG


@dataclass(frozen=True, slots=True)
class OtherCamera:
    """Strengths of what changes; 0 leaves it as it is.

    Attributes:
        box: Each edge of the box moves by up to this share of the picture's side; outwards the
            picture is continued by its border.
        cast: Standard deviation of the logarithm of each channel's gain (white balance), and of
            that of all together (exposure).
        gamma: Standard deviation of the logarithm of gamma.
        chroma: Standard deviation of the logarithm of saturation, and of the hue's angle in
            radians.
        shrink: Probability to lose resolution, down to a quarter.
        noise: Largest standard deviation of noise, in grey levels.
        coded: Probability of a pass through JPEG.
    """

    box: float = 0.0
    cast: float = 0.0
    gamma: float = 0.0
    chroma: float = 0.0
    shrink: float = 0.0
    noise: float = 0.0
    coded: float = 0.0

    @property
    def active(self) -> bool:
        """Whether anything changes."""
        return self != OtherCamera()

    def move(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Draw another box, ``(top, bottom, left, right)``; may lie partly outside."""
        dy, dx = self.box * height, self.box * width
        top, bottom = rng.uniform(-dy, dy, 2)
        left, right = rng.uniform(-dx, dx, 2)
        found = round(top), round(height + bottom), round(left), round(width + right)
        large = found[1] - found[0] > 4 and found[3] - found[2] > 4
        return found if large else (0, height, 0, width)

    def colours(self, image: Picture, rng: np.random.Generator) -> Picture:
        """Change colours of `(h, w, 3)` RGB."""
        if self.chroma:
            stretch, angle = np.exp(rng.normal(0, self.chroma)), rng.normal(0, self.chroma)
            turn = np.eye(3)
            turn[1:, 1:] = stretch * np.array(
                [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
            )
            image = np.asarray(cv2.transform(image, _RGB @ turn @ _YIQ), np.uint8)
        if self.cast or self.gamma:
            gain = np.exp(rng.normal(0, self.cast, 3) + rng.normal(0, self.cast))
            gamma = np.exp(rng.normal(0, self.gamma))
            table = np.clip(gain * _LEVELS[:, None] ** gamma * 255 + 0.5, 0, 255)
            image = np.asarray(cv2.LUT(image, table.astype(np.uint8)[None]), np.uint8)
        return image

    def quality(self, image: Picture, rng: np.random.Generator) -> Picture:
        """Lose resolution, add noise, code and decode; the size may be smaller afterwards."""
        height, width = image.shape[:2]
        if self.shrink and rng.random() < self.shrink:
            share = max(float(rng.uniform(0.25, 1.0)), _LEAST / height)
            size = max(round(width * share), 8), max(round(height * share), _LEAST)
            if share < 1:
                image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        if self.noise:
            sigma = float(rng.uniform(0, self.noise))
            grain = sigma * rng.standard_normal(image.shape, np.float32)
            image = np.clip(image + grain, 0, 255).astype(np.uint8)
        if self.coded and rng.random() < self.coded:
            quality = int(rng.integers(*_QUALITY))
            _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
            image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
        return image

    def look(self, image: Picture, rng: np.random.Generator) -> Picture:
        """Change colours and quality of `(h, w, 3)` RGB."""
        return self.quality(self.colours(image, rng), rng)


def boxed(image: Picture, box: tuple[int, int, int, int]) -> Picture:
    """Cut a box; where it lies outside, the border is continued.

    Args:
        image: `(h, w)` or `(h, w, 3)`.
        box: ``(top, bottom, left, right)``.
    """
    top, bottom, left, right = box
    height, width = image.shape[:2]
    cut = image[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    outside = max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0)
    found = cv2.copyMakeBorder(cut, *outside, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.uint8)
