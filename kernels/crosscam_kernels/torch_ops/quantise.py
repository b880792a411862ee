"""`quantise_rows` as ``crosscam::quantise_rows``."""

from __future__ import annotations

import torch
from torch import Tensor

from crosscam_kernels import quantise as on_arrays
from crosscam_kernels.torch_ops.similarity import features, shared_array


@torch.library.custom_op("crosscam::quantise_rows", mutates_args=(), device_types="cpu")
def quantise_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Values (N, D) int8 and scales (N,) float32 of rows (N, D)."""
    made = on_arrays.quantise_rows(shared_array(rows))
    return torch.from_numpy(made.values), torch.from_numpy(made.scale)


@quantise_rows.register_kernel("cuda")
def _(rows: Tensor) -> tuple[Tensor, Tensor]:
    from crosscam_kernels.gpu import quantise as gpu
    from crosscam_kernels.gpu.similarity_problem import dense_rows

    with torch.cuda.device_of(rows):
        return gpu.quantise_rows(dense_rows(rows))


@quantise_rows.register_fake
def _(rows: Tensor) -> tuple[Tensor, Tensor]:
    return (
        torch.empty(rows.shape, dtype=torch.int8, device=rows.device),
        torch.empty(rows.shape[:1], dtype=torch.float32, device=rows.device),
    )


def checked_quantise_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The op after the checks of the public function. No gradient flows through.

    Raises:
        ShapeError: `rows` is not a matrix of floats.
    """
    values, scale = quantise_rows(features(rows, "rows", "N", rows))
    return values, scale
