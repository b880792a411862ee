"""Finding and reading picture files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})


def is_image(path: Path) -> bool:
    """Whether the suffix is that of a picture; hidden files (``._x.jpg`` of macOS) are not."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def images_below(folder: Path) -> Iterator[Path]:
    """Yield the pictures in a folder and all folders in it, in fixed order; not hidden ones."""
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(base, name)
            if is_image(path):
                yield path


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read a picture as RGB, `(H, W, 3)`.

    Raises:
        InputError: It cannot be read.
    """
    # Not cv2.imread, which takes no paths outside the locale's encoding on some systems.
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if len(data) else None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error
    if image is None:
        raise InputError(
            f"{path} is not a picture that can be decoded",
            fix="see everything that is wrong with `crosscam data check --pictures all`",
        )
    return image.astype(np.uint8, copy=False)
