"""Augmentation and preparation of pictures, on torchvision's transforms v2. Needs torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2

from crosscam_trainer.data.cameras import OtherCamera, boxed

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_INTERPOLATION = {"bicubic": InterpolationMode.BICUBIC, "bilinear": InterpolationMode.BILINEAR}
# Zhong et al., AAAI 2020, as CLIP-ReID and the strong baseline set them.
_ERASED_SHARE = (0.02, 0.4)
_ERASED_RATIO = (0.3, 1 / 0.3)


@dataclass(frozen=True, slots=True)
class Preparation:
    """How pictures become inputs; the same in training, evaluation and the exported bundle.

    Attributes:
        size: ``(height, width)`` in pixels.
        interpolation: Of the resizing, with antialiasing.
        mean: Subtracted from RGB in [0, 1].
        std: Then divided by.
    """

    size: tuple[int, int] = (256, 128)
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What is done to training pictures; the defaults are those of CCAFL and CLIP-ReID.

    Attributes:
        flip: Probability to mirror.
        pad: Pixels added on every side before a random crop of the size; 0 for none.
        erase: Probability to erase a rectangle (random erasing).
        erase_fill: With the mean colour, or with noise of the spread of pixels.
        jitter: Probability to change colours by the next four.
        brightness: Factor within ``1 ± brightness``.
        contrast: Factor within ``1 ± contrast``.
        saturation: Factor within ``1 ± saturation``.
        hue: Shift within ``± hue``, at most 0.5.
        grey: Probability to make it grey.
        camera: What is changed as another camera would.
    """

    flip: float = 0.5
    pad: int = 10
    erase: float = 0.5
    erase_fill: Literal["mean", "noise"] = "mean"
    jitter: float = 0.0
    brightness: float = 0.2
    contrast: float = 0.15
    saturation: float = 0.0
    hue: float = 0.0
    grey: float = 0.0
    camera: OtherCamera = field(default_factory=OtherCamera)


class Transform:
    """Turns a decoded picture, and its mask, into an input; see `for_training` and `for_test`.

    Masks go through what moves pixels, and through nothing that changes colours or erases.

    Args:
        moving: Transforms of picture and mask together.
        colouring: Transforms of the picture alone.
        camera: What comes before both.
        height: Pixels; pictures that are higher are made smaller before `camera` changes them.
    """

    def __init__(
        self,
        moving: list[Any],
        colouring: list[Any],
        camera: OtherCamera | None = None,
        height: int = 0,
    ) -> None:
        self._moving = v2.Compose(moving)
        self._colouring = v2.Compose(colouring)
        self._camera, self._height = camera, height

    def __call__(
        self, image: NDArray[np.uint8], mask: NDArray[np.uint8] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Transform.

        Args:
            image: `(h, w, 3)` uint8, RGB, of any size.
            mask: `(h, w)` uint8 class indices.

        Returns:
            `(3, H, W)` float32, and the mask as `(H, W)` uint8. Pixels that padding has added are
            black, of class 0.
        """
        if self._camera is not None and self._camera.active:
            image, mask = self._by_other_camera(image, mask, self._camera)
        picture = tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1).contiguous())
        if mask is None:
            return self._colouring(self._moving(picture)).as_subclass(torch.Tensor), None
        picture, moved = self._moving(picture, tv_tensors.Mask(torch.from_numpy(mask)))
        tensor = self._colouring(picture).as_subclass(torch.Tensor)
        return tensor, moved.as_subclass(torch.Tensor)

    def _by_other_camera(
        self, image: NDArray[np.uint8], mask: NDArray[np.uint8] | None, camera: OtherCamera
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        if camera.box:
            box = camera.move(image.shape[0], image.shape[1], rng)
            image, mask = boxed(image, box), None if mask is None else boxed(mask, box)
        height, width = image.shape[:2]
        if height > self._height:
            size = max(round(width * self._height / height), 8), self._height
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        image = camera.look(image, rng)
        if mask is not None and mask.shape != image.shape[:2]:
            size = image.shape[1], image.shape[0]
            mask = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), np.uint8)
        return image, mask


def for_test(preparation: Preparation | None = None) -> Transform:
    """Resize and normalise.

    Args:
        preparation: `Preparation` by default.
    """
    prep = preparation or Preparation()
    return Transform([_resize(prep)], _normalise(prep))


def for_training(
    augmentation: Augmentation | None = None, preparation: Preparation | None = None
) -> Transform:
    """Change as by another camera, resize, mirror, pad and crop, change colours, normalise, erase.

    Randomness is that of torch's generator on the CPU.

    Args:
        augmentation: `Augmentation` by default.
        preparation: `Preparation` by default.
    """
    prep, aug = preparation or Preparation(), augmentation or Augmentation()
    moving: list[Any] = [_resize(prep), v2.RandomHorizontalFlip(aug.flip)]
    if aug.pad:
        moving += [v2.Pad(aug.pad), v2.RandomCrop(prep.size)]
    colouring: list[Any] = []
    if aug.jitter:
        change = v2.ColorJitter(aug.brightness, aug.contrast, aug.saturation, aug.hue)
        colouring.append(v2.RandomApply([change], p=aug.jitter))
    if aug.grey:
        colouring.append(v2.RandomGrayscale(aug.grey))
    colouring += _normalise(prep)
    if aug.erase:
        # After normalising, zero is the mean colour and unit noise has the spread of pixels.
        value = 0.0 if aug.erase_fill == "mean" else "random"
        colouring.append(v2.RandomErasing(aug.erase, _ERASED_SHARE, _ERASED_RATIO, value))
    return Transform(moving, colouring, aug.camera, prep.size[0])


def _resize(prep: Preparation) -> Any:
    return v2.Resize(list(prep.size), _INTERPOLATION[prep.interpolation], antialias=True)


def _normalise(prep: Preparation) -> list[Any]:
    return [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(prep.mean), list(prep.std))]


def cover(images: torch.Tensor, where: torch.Tensor, preparation: Preparation) -> torch.Tensor:
    """Paint prepared pictures black.

    CCAF's shielding image is ``(1 - m) * I`` of the picture's values before they are normalised.

    Args:
        images: `(B, 3, H, W)`, normalised.
        where: `(B, H, W)` bool.
        preparation: How they were normalised.

    Returns:
        `(B, 3, H, W)`.
    """
    mean, std = (images.new_tensor(v).view(3, 1, 1) for v in (preparation.mean, preparation.std))
    return torch.where(where[:, None], -mean / std, images)
