"""What all image towers share: sizes, and that pictures have the one they were made for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from crosscam_kernels.errors import InputError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor


class Tower(nn.Module):
    """Base of `ImageTower`s.

    Attributes:
        previous_dim: `P` of `TowerFeatures`.
        final_dim: `C`.
        joint_dim: `J`.
        size: ``(height, width)`` of pictures in pixels.
        grid: Rows and columns of `TowerFeatures.map`.
    """

    previous_dim: int
    final_dim: int
    joint_dim: int
    size: tuple[int, int]
    grid: tuple[int, int]

    def check(self, images: Tensor) -> None:
        """Refuse pictures of another size.

        Raises:
            ShapeError: Not `(B, 3, H, W)`.
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, *self.size):
            raise ShapeError(
                f"pictures of shape {tuple(images.shape)}",
                expected=f"(B, 3, {self.size[0]}, {self.size[1]})",
                fix="resize them as model.size of the recipe says",
            )


def cells(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Return rows and columns of a grid of square cells that covers a picture.

    Raises:
        InputError: It does not.
    """
    if size[0] % stride or size[1] % stride:
        raise InputError(
            f"model.size={size[0]}x{size[1]}",
            expected=f"multiples of {stride} pixels with this tower",
            fix="use 256x128, or another size that fits",
        )
    return size[0] // stride, size[1] // stride


def wrong_stride(stride: int, allowed: str, kind: str) -> InputError:
    """Return the error for a stride that a tower cannot have."""
    return InputError(
        f"model.stride={stride} with a {kind}", expected=allowed, fix="leave model.stride out"
    )
