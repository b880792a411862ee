"""Training inputs: parts of pictures at many sizes, changed as other cameras would.

An input follows from the seed and its number alone, so that a run that goes on sees what it would
have seen. Written on numpy and OpenCV: one warp takes each picture to its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from crosscam_trainer.data.cameras import OtherCamera
from crosscam_trainer.data.transforms import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    from crosscam_trainer.detection.coco import Picture
    from crosscam_trainer.detection.recipe import DetectorAugmentation

    Image = NDArray[np.uint8]

PAD = 114
"""Grey of what lies outside of pictures, in training and on the edge."""
_LEAST_LEFT = 0.5  # people of whom a cut leaves less are ignored
_CENTRE = (0.3, 0.7)  # where the four pictures of a mosaic meet, share of width and of height
_NEAR = 0.7  # share of placements that have somebody in them where there is somebody
_PIECES = (4, 40)  # of clutter in an input, the last excluded
_PIECE = (20.0, 160.0)  # sides of a piece, pixels of its picture
_PIECE_SCALE = (0.2, 1.2)


class Sample(NamedTuple):
    """A training input.

    Attributes:
        image: `(H, W, 3)` uint8 RGB.
        boxes: `(N, 4)` float32 corners in pixels.
        ignored: `(N,)` bool.
    """

    image: Image
    boxes: NDArray[np.float32]
    ignored: NDArray[np.bool_]


class Samples(Dataset[tuple["Tensor", "Tensor", "Tensor"]]):
    """Inputs by number, as tensors; any number makes one.

    Args:
        pictures: To make them of.
        recipe: How.
        seed: Of the run.
        least_height: Smaller people are ignored, pixels of the input.
        keep: Whether decoded pictures stay in memory.
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        recipe: DetectorAugmentation,
        seed: int,
        *,
        least_height: float = 0.0,
        keep: bool = False,
    ) -> None:
        self._pictures, self._recipe, self._seed = pictures, recipe, seed
        self._least_height = least_height
        self._kept: dict[int, Image] | None = {} if keep else None
        self._camera = OtherCamera(
            cast=recipe.cast,
            gamma=recipe.gamma,
            chroma=recipe.chroma,
            shrink=recipe.shrink,
            noise=recipe.noise,
            coded=recipe.coded,
        )

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return `(3, H, W)` uint8, `(N, 4)` float32 and `(N,)` bool."""
        sample = self.draw(number)
        return (
            torch.from_numpy(np.ascontiguousarray(sample.image.transpose(2, 0, 1))),
            torch.from_numpy(sample.boxes),
            torch.from_numpy(sample.ignored),
        )

    def draw(self, number: int) -> Sample:
        """Make an input."""
        rng = np.random.default_rng([self._seed, 21, number])
        height, width = self._recipe.size
        canvas = np.full((height, width, 3), PAD, np.uint8)
        if rng.random() < self._recipe.mosaic:
            x = round(float(rng.uniform(*_CENTRE)) * width)
            y = round(float(rng.uniform(*_CENTRE)) * height)
            tiles = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
        else:
            tiles = [(0, 0, width, height)]
        parts = [self._fill(canvas, tile, rng) for tile in tiles]
        boxes = np.concatenate([part[0] for part in parts])
        ignored = np.concatenate([part[1] for part in parts])
        if rng.random() < self._recipe.clutter:
            self._strew(canvas, boxes, rng)
        if rng.random() < self._recipe.flip:
            canvas = np.ascontiguousarray(canvas[:, ::-1])
            boxes = np.stack(
                [width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1
            )
        return Sample(self._look(canvas, rng), boxes.astype(np.float32), ignored)

    def _read(self, index: int) -> Image:
        if self._kept is None:
            return self._pictures[index].read()
        if index not in self._kept:
            self._kept[index] = self._pictures[index].read()
        return self._kept[index]

    def _fill(
        self, canvas: Image, tile: tuple[int, int, int, int], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Draw a picture into a part of the canvas; returns who is there."""
        left, top, right, bottom = tile
        index = int(rng.integers(len(self._pictures)))
        picture = self._pictures[index]
        low, high = np.log(self._recipe.scale)
        scale = float(np.exp(rng.uniform(low, high)))
        bend = float(np.exp(rng.normal(0, self._recipe.stretch) / 2)) if self._recipe.stretch else 1
        factor = np.array([scale * bend, scale / bend])
        room = np.array([right - left, bottom - top])
        extent = factor * picture.size[::-1]
        # What is larger than the tile is moved within it, what is smaller anywhere inside.
        offset = rng.uniform(np.minimum(room - extent, 0), np.maximum(room - extent, 0))
        wanted = np.flatnonzero(~picture.ignored)
        if len(wanted) and rng.random() < _NEAR:
            box = picture.boxes[wanted[rng.integers(len(wanted))]]
            middle = (box[:2] + box[2:]) / 2 * factor
            aimed = rng.uniform(0.1, 0.9, 2) * room - middle
            offset = np.clip(aimed, np.minimum(room - extent, 0), np.maximum(room - extent, 0))
        matrix = np.array([[factor[0], 0, offset[0]], [0, factor[1], offset[1]]])
        # The centres of pixels, not their corners, are what OpenCV's coordinates count.
        matrix[:, 2] += 0.5 * factor - 0.5
        image = self._read(index)
        if scale < 0.75:  # a warp samples: what gets smaller is averaged first
            blurred = cv2.GaussianBlur(image, (0, 0), 0.35 / scale)
            image = np.asarray(blurred, np.uint8)
        canvas[top:bottom, left:right] = cv2.warpAffine(
            image, matrix, (int(room[0]), int(room[1])), borderValue=(PAD, PAD, PAD)
        )
        return self._cut(picture, factor, offset, tile)

    def _cut(
        self,
        picture: Picture,
        factor: NDArray[np.float64],
        offset: NDArray[np.float64],
        tile: tuple[int, int, int, int],
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the boxes of a picture in its tile, cut at the tile's edges."""
        left, top, right, bottom = tile
        corner = np.array([left, top] * 2)
        moved = picture.boxes * np.tile(factor, 2) + np.tile(offset, 2) + corner
        cut = np.clip(moved, [left, top, left, top], [right, bottom, right, bottom])
        size = cut[:, 2:] - cut[:, :2]
        there = (size > 1).all(1)
        whole = (moved[:, 2:] - moved[:, :2]).prod(1)
        ignored = picture.ignored | (size.prod(1) < _LEAST_LEFT * whole)
        ignored |= size[:, 1] < self._least_height
        return cut[there].astype(np.float32), ignored[there]

    def _strew(self, canvas: Image, boxes: NDArray[np.float32], rng: np.random.Generator) -> None:
        """Strew pieces of backgrounds, turned any way, between people: rooms are fuller than ours.

        What is drawn where nobody is must not be taken for somebody.
        """
        low, high = np.log(_PIECE_SCALE)
        for _ in range(int(rng.integers(*_PIECES))):
            index = int(rng.integers(len(self._pictures)))
            picture, turn = self._pictures[index], int(rng.integers(4))
            size = rng.uniform(*_PIECE, 2)
            start = rng.uniform(0, np.maximum(np.array(picture.size[::-1]) - size, 1))
            scale = float(np.exp(rng.uniform(low, high)))
            place = rng.uniform(0, 1, 2)
            if _meets(picture.boxes, start, start + size):
                continue
            (x0, y0), (x1, y1) = start.astype(int), (start + size).astype(int)
            piece = np.rot90(self._read(index)[y0:y1, x0:x1], turn)
            height, width = (max(4, round(side * scale)) for side in piece.shape[:2])
            room = np.array(canvas.shape[1::-1]) - (width, height)
            left, top = (place * np.maximum(room, 0)).astype(int).tolist()
            if (room < 0).any() or _meets(boxes, (left, top), (left + width, top + height)):
                continue
            canvas[top : top + height, left : left + width] = cv2.resize(
                piece, (width, height), interpolation=cv2.INTER_AREA
            )

    def _look(self, image: Image, rng: np.random.Generator) -> Image:
        """Change colours, sharpness and quality."""
        height, width = image.shape[:2]
        if rng.random() < self._recipe.blur:
            image = _blurred(image, rng)
        image = self._camera.look(image, rng)
        if rng.random() < self._recipe.grey:
            grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
            image = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
        if image.shape[:2] != (height, width):
            larger = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
            image = np.asarray(larger, np.uint8)
        return image


def _meets(boxes: NDArray[np.floating], start: ArrayLike, end: ArrayLike) -> bool:
    """Whether a rectangle from `start` to `end` (x, y) has a part in common with any box."""
    first, last = np.asarray(start, np.float64), np.asarray(end, np.float64)
    return bool(((boxes[:, :2] < last) & (boxes[:, 2:] > first)).all(1).any())


def _blurred(image: Image, rng: np.random.Generator) -> Image:
    """Out of focus, or smeared along a line."""
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.6))), np.uint8)
    length, angle = int(rng.integers(3, 8)), float(rng.uniform(0, 180))
    line = np.zeros((length, length), np.float32)
    line[length // 2] = 1.0
    middle = (length - 1) / 2
    turned = cv2.warpAffine(
        line, cv2.getRotationMatrix2D((middle, middle), angle, 1.0), (length, length)
    )
    kernel = np.asarray(turned / max(float(turned.sum()), 1e-6), np.float32)
    return np.asarray(cv2.filter2D(image, -1, kernel), np.uint8)


def collate(
    samples: Sequence[tuple[Tensor, Tensor, Tensor]],
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Return `(B, 3, H, W)` uint8 and the truth of each, as `losses` takes it."""
    return torch.stack([s[0] for s in samples]), [(s[1], s[2]) for s in samples]


def normalised(images: Tensor) -> Tensor:
    """Return uint8 RGB `(B, 3, H, W)` as the network takes it."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=images.device).view(3, 1, 1)
    return (images.float() / 255 - mean) / std
