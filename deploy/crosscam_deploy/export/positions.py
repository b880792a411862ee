"""Positional embeddings of a picture's cells, fitted to another grid."""

from __future__ import annotations

from typing import Any

from crosscam_kernels.errors import InputError


def resize_positions(
    torch: Any, positions: Any, grid: tuple[int, int], *, old: tuple[int, int] | None = None
) -> Any:
    """Interpolate one embedding a cell to another grid; a first row for the whole picture is kept.

    Bicubic with antialiasing, as open_clip does for transformers.

    Args:
        torch: The module.
        positions: `(1 + h * w, C)`: that of the class or mean token, then the cells row by row.
        grid: Rows and columns of the new grid.
        old: Rows and columns of the old one; None takes it to be square.

    Returns:
        `(1 + rows * columns, C)`.

    Raises:
        InputError: The embedding is not that of the old grid.
    """
    whole, cells = positions[:1], positions[1:]
    side = round(len(cells) ** 0.5)
    old = old or (side, side)
    if old[0] * old[1] != len(cells):
        raise InputError(
            f"a positional embedding of {len(cells)} cells",
            expected="a square grid" if old == (side, side) else f"a grid of {old[0]} x {old[1]}",
            fix="use a checkpoint of the architecture as it was published",
        )
    if old == grid:
        return positions
    square = cells.reshape(1, *old, -1).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(
        square, size=grid, mode="bicubic", antialias=True, align_corners=False
    )
    return torch.cat([whole, resized.permute(0, 2, 3, 1).reshape(grid[0] * grid[1], -1)])
