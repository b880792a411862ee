"""Data, plans and calls of the interpreted tests of similarity_topk."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from crosscam_kernels.gpu import similarity as gpu
from crosscam_kernels.gpu.similarity_table import Plan, Tile
from crosscam_kernels.similarity import TopK

TILE = Tile(16, 32, 16, 4, 2)
PLANS = {
    "stream": Plan("stream", TILE, splits=3, share=True),
    "groups": Plan("groups", TILE, group=8),
    "chunks": Plan("chunks", TILE),
}


def integers(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    """Small integers: every sum is exact in any type, so that indices must agree among ties."""
    return rng.integers(-2, 3, (rows, dim)).astype(np.float32)


def some_masks(rng: np.random.Generator, queries: int, gallery: int, rule: str) -> dict[str, Any]:
    return {
        "valid": rng.random(gallery) < 0.8,
        "query_camera": rng.integers(0, 4, queries),
        "gallery_camera": rng.integers(0, 4, gallery).astype(np.int32),
        "camera_rule": rule,
        "adjacency": rng.random((4, 4)) < 0.7,
        "query_time": rng.integers(0, 10**12, queries),
        "gallery_time": rng.integers(0, 10**12, gallery),
        "window": (-3 * 10**11, 5 * 10**11),
    }


def search(
    q: np.ndarray,
    g: np.ndarray,
    k: int,
    plan: Plan,
    dtype: torch.dtype = torch.float32,
    **masks: Any,
) -> TopK:
    given = {
        name: torch.as_tensor(value) if isinstance(value, np.ndarray) else value
        for name, value in masks.items()
    }
    found = gpu.similarity_topk(
        torch.as_tensor(q).to(dtype), torch.as_tensor(g).to(dtype), k, plan=plan, **given
    )
    return TopK(found[0].numpy(), found[1].numpy())


def assert_identical(found: TopK, expected: TopK) -> None:
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_array_equal(found.similarity, expected.similarity)
