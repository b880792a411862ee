"""Which pixels are clothes: masks from files, or from a parser that writes such files.

A mask is a PNG of the picture's size with a class index a pixel, as SCHP and most parsers write it.
Parsers themselves are models and come from elsewhere: anything with the shape of `Parser` will do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from crosscam_deploy.pictures.files import read_image
from crosscam_kernels.errors import InputError, MissingExtraError, ShapeError
from crosscam_trainer.data.scan import relative

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crosscam_trainer.data.types import ReIDData, Sample


@dataclass(frozen=True, slots=True)
class LabelSet:
    """What the class indices of a mask mean.

    Attributes:
        name: Of the set.
        classes: Names by index.
        clothes: Indices of what people put on, and change.
    """

    name: str
    classes: tuple[str, ...]
    clothes: frozenset[int]


def _label_set(name: str, classes: str, clothes: str) -> LabelSet:
    names = tuple(classes.split())
    return LabelSet(name, names, frozenset(names.index(each) for each in clothes.split()))


LIP = _label_set(
    "lip",
    "background hat hair glove sunglasses upper-clothes dress coat socks pants jumpsuits scarf "
    "skirt face left-arm right-arm left-leg right-leg left-shoe right-shoe",
    "hat glove sunglasses upper-clothes dress coat socks pants jumpsuits scarf skirt",
)
"""Look Into Person (Liang et al., TPAMI 2018), 20 classes. Shoes, hair and limbs are the body's."""

CLOTHES = LabelSet("clothes", ("other", "clothes"), frozenset({1}))
"""Clothes or not: what a simple mask says."""


class Parser(Protocol):
    """Finds out what each pixel of a person shows."""

    @property
    def labels(self) -> LabelSet:
        """What the indices mean."""

    def parse(self, images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        """Parse pictures.

        Args:
            images: Each `(H, W, 3)`, RGB, of any size.

        Returns:
            A mask `(H, W)` of class indices for each.
        """


def clothes_of(mask: NDArray[np.uint8], labels: LabelSet) -> NDArray[np.bool_]:
    """Return where clothes are, `(H, W)`.

    Args:
        mask: `(H, W)` class indices.
        labels: What they mean.
    """
    table = np.zeros(256, np.bool_)
    table[sorted(labels.clothes)] = True
    return np.asarray(table[mask], np.bool_)


def read_mask(path: Path, labels: LabelSet) -> NDArray[np.uint8]:
    """Read a mask `(H, W)` of class indices.

    Parsers like to write PNGs with a palette: the indices count, not their colours.

    Raises:
        InputError: It cannot be read, is no index picture, or has an index without a class.
        MissingExtraError: Pillow, which reads palettes, is not installed.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingExtraError("reading masks", "train") from error
    try:
        with Image.open(path) as picture:
            mode = picture.mode
            mask = np.asarray(picture)
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"mask {path} cannot be read ({error})", expected="a PNG") from error
    if mode not in ("P", "L", "1"):
        raise InputError(
            f"mask {path} is a picture of mode {mode}",
            expected="one 8-bit class index a pixel (grey or with a palette)",
            fix="write the indices, not their colours",
        )
    mask = mask.astype(np.uint8)
    if mask.size and int(mask.max()) >= len(labels.classes):
        raise InputError(
            f"mask {path} has the class {int(mask.max())}",
            expected=f"0 to {len(labels.classes) - 1}, the classes of {labels.name!r}",
            fix="name the label set that the parser used",
        )
    return mask


def mask_path(sample: Sample, root: Path, folder: Path) -> Path:
    """Return where the mask of a picture is: its path below the set, as PNG in `folder`."""
    return folder / Path(relative(sample.path, root)).with_suffix(".png")


def with_masks(data: ReIDData, folder: Path) -> ReIDData:
    """Give the training pictures masks from a folder that mirrors the set.

    Args:
        data: Data set.
        folder: Has ``a/b.png`` for the picture ``a/b.jpg``.

    Raises:
        InputError: Masks are missing.
    """
    train = tuple(replace(s, mask=mask_path(s, data.root, folder)) for s in data.train)
    absent = [s.mask for s in train if s.mask is not None and not s.mask.is_file()]
    if absent:
        raise InputError(
            f"{len(absent)} of {len(train)} training pictures have no mask in {folder}: "
            f"{relative(absent[0], folder)}",
            expected="a PNG for each, under the name of the picture",
            fix="make those that are missing: `crosscam data masks` with the pattern of the "
            "recipe, or a human parser; or data.masks=box",
        )
    return replace(data, train=train)


def write_masks(data: ReIDData, parser: Parser, folder: Path, batch_size: int = 16) -> int:
    """Parse the training pictures that have no mask in a folder yet.

    Every mask appears whole, so an interrupted run goes on where it was.

    Args:
        data: Data set.
        parser: Does the work.
        folder: Gets a PNG for each picture, see `with_masks`.
        batch_size: Pictures given to the parser at a time.

    Returns:
        Number of masks written.

    Raises:
        InputError: A picture cannot be read.
        ShapeError: The parser gave masks of another number or size.
    """
    todo = {mask_path(s, data.root, folder): s.path for s in data.train}
    todo = {mask: path for mask, path in todo.items() if not mask.is_file()}
    targets = list(todo)
    for start in range(0, len(targets), batch_size):
        batch = targets[start : start + batch_size]
        images = [read_image(todo[target]) for target in batch]
        masks = parser.parse(images)
        shapes = [(mask.shape, mask.dtype.name) for mask in masks]
        expected = [(image.shape[:2], "uint8") for image in images]
        if shapes != expected:
            raise ShapeError(f"the parser gave masks {shapes}", expected=f"{expected}")
        for target, mask in zip(batch, masks, strict=True):
            _write(target, mask)
    return len(targets)


def _write(path: Path, mask: NDArray[np.uint8]) -> None:
    done, data = cv2.imencode(".png", mask)
    if not done:
        raise ShapeError(f"a mask of shape {mask.shape} cannot be written as PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".part")
    staged.write_bytes(data.tobytes())
    staged.replace(path)
