"""What the tests of `similarity_topk` share: rows of every kind and type, masks, and the chain."""

from __future__ import annotations

from typing import Any

import numpy as np

from crosscam_kernels import TopK
from crosscam_kernels.reference import similarity as reference

FLOATS = ("float32", "bfloat16", "float16")


def bf16(x: np.ndarray) -> np.ndarray:
    """Bit patterns of bfloat16, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def stored(x: np.ndarray, element: str) -> np.ndarray:
    """The rows as a gallery of that type holds them."""
    return bf16(x) if element == "bfloat16" else x.astype(element)


def unit_rows(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    """Random directions."""
    x = rng.standard_normal((rows, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def sign_rows(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    """Rows of equal length whose sums are exact, with ties everywhere."""
    return rng.choice([-0.125, 0.125], (rows, dim)).astype(np.float32)


def people(rng: np.random.Generator, rows: int, dim: int, count: int) -> np.ndarray:
    """Rows in tight clusters, as embeddings of the same people are: many near ties."""
    x = unit_rows(rng, count, dim)[rng.integers(0, count, rows)]
    x = x + 0.3 / np.sqrt(dim) * rng.standard_normal((rows, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def some_masks(
    rng: np.random.Generator, queries: int, gallery: int, rule: str | None = None
) -> dict[str, Any]:
    """Every mask at once; a rule of the cameras is drawn when none is given."""
    return {
        "valid": rng.random(gallery) < 0.8,
        "query_camera": rng.integers(0, 4, queries),
        "gallery_camera": rng.integers(0, 4, gallery),
        "camera_rule": rule or rng.choice(["any", "exclude_same", "only_same"]),
        "adjacency": rng.random((4, 4)) < 0.7,
        "query_time": rng.integers(0, 10**12, queries),
        "gallery_time": rng.integers(0, 10**12, gallery),
        "window": (-3 * 10**11, 5 * 10**11),
    }


def defined(q: np.ndarray, g: np.ndarray, k: int, **masks: Any) -> TopK:
    """The documented chain of fused multiply-adds, one rounding each (exact in longdouble)."""
    sums = np.zeros((len(q), len(g)), np.float32)
    for d in range(q.shape[1]):
        product = q[:, d, None].astype(np.longdouble) * g[None, :, d].astype(np.longdouble)
        sums = (product + sums).astype(np.float32)
    sums[~reference.allowed_pairs(len(q), len(g), **masks)] = -np.inf
    order = np.argsort(-sums, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(sums, order, 1)
    return TopK(best, np.where(best > -np.inf, order, -1))


def assert_identical(found: TopK, expected: TopK) -> None:
    """Equal to the last bit."""
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_array_equal(found.similarity, expected.similarity)
