"""Images into detector inputs, and boxes back into image pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from crosscam_kernels.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crosscam_deploy.manifest import Preprocessing


@dataclass(frozen=True, slots=True)
class LetterboxTransform:
    """How one image lies in the model's input: ``input = pixel * scale + offset``.

    Attributes:
        scale_x: Input pixels per image pixel, horizontally.
        scale_y: The same, vertically.
        offset_x: Input pixels left of the image.
        offset_y: Input pixels above the image.
    """

    scale_x: float
    scale_y: float
    offset_x: float = 0.0
    offset_y: float = 0.0

    def to_source(self, xyxy: NDArray[np.floating]) -> NDArray[np.float32]:
        """Map boxes from input pixels to image pixels.

        Args:
            xyxy: `(N, 4)` corners in pixels of the model's input.

        Returns:
            `(N, 4)` float32 corners in pixels of the image; not clipped to it.
        """
        offset = np.array([self.offset_x, self.offset_y] * 2, np.float32)
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        return np.asarray((xyxy - offset) / scale, np.float32)

    def to_input(self, xyxy: NDArray[np.floating]) -> NDArray[np.float32]:
        """Map boxes from image pixels to input pixels: the inverse of `to_source`."""
        offset = np.array([self.offset_x, self.offset_y] * 2, np.float32)
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        return np.asarray(xyxy * scale + offset, np.float32)


def plan(width: int, height: int, prep: Preprocessing) -> tuple[LetterboxTransform, int, int]:
    """Compute how an image of a size is placed.

    Args:
        width: Image width in pixels.
        height: Image height in pixels.
        prep: The model's pre-processing.

    Returns:
        The transform, and the width and height in pixels that the image takes in the input.
    """
    if prep.fit == "stretch":
        fitted_w, fitted_h = prep.width, prep.height
    else:
        ratio = min(prep.width / width, prep.height / height)
        # YOLOX truncates, ultralytics rounds: half a pixel that the per-axis scale undoes
        rounding = int if prep.fit == "letterbox_topleft" else round
        fitted_w = min(max(rounding(width * ratio), 1), prep.width)
        fitted_h = min(max(rounding(height * ratio), 1), prep.height)
    left, top = 0, 0
    if prep.fit == "letterbox":
        left = round((prep.width - fitted_w) / 2 - 0.1)
        top = round((prep.height - fitted_h) / 2 - 0.1)
    transform = LetterboxTransform(fitted_w / width, fitted_h / height, left, top)
    return transform, fitted_w, fitted_h


def preprocess_into(
    image: NDArray[np.uint8], prep: Preprocessing, out: NDArray[np.float32]
) -> LetterboxTransform:
    """Write one image into its place of a preallocated batch.

    Args:
        image: `(H, W, 3)` uint8, BGR.
        prep: The model's pre-processing.
        out: `(3, prep.height, prep.width)` float32, overwritten completely.

    Returns:
        The transform that takes boxes back to pixels of `image`.

    Raises:
        ShapeError: `image` or `out` has another shape or dtype.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ShapeError(
            f"the image is {image.dtype} with shape {image.shape}",
            expected="uint8 with shape (H, W, 3), BGR, not empty",
            fix="decode the frame to BGR first",
        )
    if out.shape != (3, prep.height, prep.width) or out.dtype != np.float32:
        raise ShapeError(
            f"the batch slot is {out.dtype} with shape {out.shape}",
            expected=f"float32 with shape {(3, prep.height, prep.width)}",
            fix="allocate it with allocate_batch()",
        )
    transform, fitted_w, fitted_h = plan(image.shape[1], image.shape[0], prep)
    left, top = int(transform.offset_x), int(transform.offset_y)
    resized = _resize(image, fitted_w, fitted_h, prep)
    # planes first: three contiguous casts are faster than one transposed cast
    planes = cv2.split(resized)
    if prep.color == "rgb":
        planes = planes[::-1]
    for channel, plane in enumerate(planes):
        target = out[channel]
        gain = np.float32(prep.scale / prep.std[channel])
        shift = np.float32(prep.mean[channel] / prep.std[channel])
        inside = target[top : top + fitted_h, left : left + fitted_w]
        if gain == 1.0:
            np.copyto(inside, plane)
        else:
            np.multiply(plane, gain, out=inside, dtype=np.float32)
        if shift != 0.0:
            inside -= shift
        if fitted_w != prep.width or fitted_h != prep.height:
            border = np.float32(prep.pad_value) * gain - shift
            target[:top] = border
            target[top + fitted_h :] = border
            target[top : top + fitted_h, :left] = border
            target[top : top + fitted_h, left + fitted_w :] = border
    return transform


def _resize(
    image: NDArray[np.uint8], width: int, height: int, prep: Preprocessing
) -> NDArray[np.uint8]:
    if image.shape[1] == width and image.shape[0] == height:
        return image
    shrinks = image.shape[1] > width or image.shape[0] > height
    # cv2 has no antialiased triangle filter; area averaging is the nearest that it offers, exact
    # crops for embedders come from crosscam_kernels.ops.crop_resize_normalize
    antialias = prep.filter == "bilinear_antialias" and shrinks
    interpolation = cv2.INTER_AREA if antialias else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), np.uint8)


def allocate_batch(size: int, prep: Preprocessing) -> NDArray[np.float32]:
    """Return an uninitialised `(size, 3, prep.height, prep.width)` float32 batch."""
    return np.empty((size, 3, prep.height, prep.width), np.float32)


def preprocess(
    images: Sequence[NDArray[np.uint8]],
    prep: Preprocessing,
    out: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], list[LetterboxTransform]]:
    """Prepare a batch of images of any sizes.

    Args:
        images: Each `(H, W, 3)` uint8, BGR.
        prep: The model's pre-processing.
        out: `(B, 3, prep.height, prep.width)` float32 to write into; B ≥ number of images.

    Returns:
        The `(len(images), 3, h, w)` batch (a view of `out` when given) and one transform an image.
    """
    batch = allocate_batch(len(images), prep) if out is None else out[: len(images)]
    transforms = [
        preprocess_into(image, prep, slot) for image, slot in zip(images, batch, strict=True)
    ]
    return batch, transforms
