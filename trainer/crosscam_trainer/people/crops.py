"""From a rendered frame to the crop of one person, boxed as a detector would box them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from crosscam_trainer.people.degradations import Moment, degrade

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_trainer.people.cameras import Station

    Picture = NDArray[np.uint8]

MIN_VISIBLE = 0.5  # share of the silhouette
MIN_HEIGHT = 44  # pixels, in a picture 640 wide
_SLOPPY = 0.035  # standard deviation of a box's edges, share of its size
_TRUNCATED = 0.07  # share of boxes that lose the legs
_HIDDEN = 0.07  # share of crops with a thing in front


@dataclass(frozen=True, slots=True)
class Crop:
    """One person.

    Attributes:
        image: `(H, W, 3)` BGR.
        mask: `(H, W)` index in `LIP` of what of this person is seen, else 0.
        box: x0, y0, x1, y1 in the frame.
        visible: Share of the silhouette that the frame shows.
    """

    image: Picture
    mask: Picture
    box: tuple[int, int, int, int]
    visible: float


def _box(
    row: NDArray[np.int32], width: int, height: int, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """A detector's box: between what is seen and what is there, a little off."""
    whole, seen = row[0:4].astype(float), row[4:8].astype(float)
    box = seen + float(rng.random()) * (whole - seen)
    w, h = box[2] - box[0], box[3] - box[1]
    spread = _SLOPPY * (2.2 if rng.random() < 0.15 else 1.0)
    box += rng.normal(0, spread, 4) * np.array([w, h, w, h])
    box += np.array([-w, -h, w, h]) * float(rng.uniform(-0.01, 0.06))
    if rng.random() < _TRUNCATED:
        box[3] = box[1] + h * float(rng.uniform(0.55, 0.9))
    x0, y0 = max(int(box[0]), 0), max(int(box[1]), 0)
    return x0, y0, min(int(box[2]) + 1, width), min(int(box[3]) + 1, height)


def _hide(image: Picture, mask: Picture, rng: np.random.Generator) -> None:
    """Put a thing in front of a crop: something low, or a post at the side."""
    height, width = mask.shape
    patch = np.zeros((height, width), np.float32)
    if rng.random() < 0.6:
        edge = int(height * rng.uniform(0.6, 0.9))
        patch[edge:, int(width * max(rng.uniform(-0.6, 0.3), 0)) :] = 1
    else:
        post = int(width * rng.uniform(0.12, 0.35))
        at = 0 if rng.random() < 0.5 else width - post
        patch[:, at : at + post] = 1
    tone = rng.uniform(15, 200) + rng.normal(0, 18, 3)
    top, bottom = (1 + rng.normal(0, 0.15, 2)).tolist()
    rows = np.linspace(top, bottom, height)[:, None, None]
    texture = cv2.resize(
        rng.normal(0, 1, (max(height // 10, 2), max(width // 6, 2))).astype(np.float32),
        (width, height),
    )[..., None]
    thing = tone * rows + texture * float(rng.uniform(2, 14))
    soft = cv2.GaussianBlur(patch, (0, 0), 0.7)[..., None]
    image[:] = np.clip(image * (1 - soft) + thing * soft, 0, 255).astype(np.uint8)
    mask[patch > 0] = 0


def cut(
    frame: Picture,
    classes: Picture,
    row: NDArray[np.int32],
    station: Station,
    moment: Moment,
    max_height: int,
    rng: np.random.Generator,
) -> Crop | None:
    """Cut one person out; None if too little of them is seen.

    Args:
        frame: `(H, W, 3)` BGR.
        classes: `(H, W)` index in `LIP` where this person is seen, else 0.
        row: The person's row of the truth of `View.render`.
        station: The camera.
        moment: Of the scene.
        max_height: Taller crops are made smaller.
        rng: Of this crop.
    """
    if row[8] <= 0 or row[10] / row[8] < MIN_VISIBLE:
        return None
    height, width = classes.shape
    box = _box(row, width, height, rng)
    x0, y0, x1, y1 = box
    least = MIN_HEIGHT * station.scale
    if y1 - y0 < least or x1 - x0 < least / 4:
        return None
    image, mask = frame[y0:y1, x0:x1].copy(), classes[y0:y1, x0:x1].copy()
    if rng.random() < _HIDDEN:
        _hide(image, mask, rng)
    if image.shape[0] > max_height:
        size = (max(round(image.shape[1] * max_height / image.shape[0]), 1), max_height)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        mask = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    return Crop(degrade(image, station.channel, moment, rng), mask, box, float(row[10] / row[8]))
