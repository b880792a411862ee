"""The arguments of `similarity_topk` as its kernels take them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from crosscam_kernels.errors import ShapeError
from crosscam_kernels.gpu.similarity_keys import MAX_ROWS
from crosscam_kernels.gpu.similarity_tile import RULES
from crosscam_kernels.similarity import checked_window

INT64 = torch.iinfo(torch.int64)
MAX_STRIDE = 2**22  # elements: offsets inside a tile are 32-bit


@dataclass(frozen=True)
class Problem:
    """Checked tensors of one device; absent masks are None.

    Attributes:
        queries: (Q, D), of the gallery's dtype.
        gallery: (G, D) float32, float16, bfloat16 or int8.
        query_scale: (Q,) float32, for int8 only.
        gallery_scale: (G,) float32, for int8 only.
        valid: (G,) uint8.
        query_camera: (Q,) int32 or int64.
        gallery_camera: (G,) int32 or int64.
        rule: Camera rule.
        adjacency: (cameras, words) int32 bitset.
        query_time: (Q,) int64.
        gallery_time: (G,) int64.
        window: Inclusive bounds of query time - gallery time; None, or the end of int64, is none.
    """

    queries: torch.Tensor
    gallery: torch.Tensor
    query_scale: torch.Tensor | None = None
    gallery_scale: torch.Tensor | None = None
    valid: torch.Tensor | None = None
    query_camera: torch.Tensor | None = None
    gallery_camera: torch.Tensor | None = None
    rule: str = "any"
    adjacency: torch.Tensor | None = None
    query_time: torch.Tensor | None = None
    gallery_time: torch.Tensor | None = None
    window: tuple[int | None, int | None] = (None, None)

    def __post_init__(self) -> None:
        if self.gallery_count > MAX_ROWS or max(self.dim, self.query_count) > MAX_STRIDE:
            raise ShapeError(
                f"{self.query_count} queries and {self.gallery_count} gallery rows of {self.dim}",
                expected=f"at most {MAX_STRIDE} queries of {MAX_STRIDE} features in one call, and "
                f"{MAX_ROWS} gallery rows",
                fix="search in parts",
            )

    @property
    def query_count(self) -> int:
        """Q."""
        return int(self.queries.shape[0])

    @property
    def gallery_count(self) -> int:
        """G."""
        return int(self.gallery.shape[0])

    @property
    def dim(self) -> int:
        """D."""
        return int(self.queries.shape[1])

    @property
    def heavy_masks(self) -> bool:
        """Whether there are masks that take registers beside the tile."""
        return self.adjacency is not None or self.query_time is not None

    def operands(self) -> dict[str, Any]:
        """Arguments of a kernel that multiplies."""
        return {
            "queries": self.queries,
            "gallery": self.gallery,
            "query_scale": self.query_scale,
            "gallery_scale": self.gallery_scale,
            "query_count": self.query_count,
            "gallery_count": self.gallery_count,
            "dim": self.dim,
            "query_stride": self.queries.stride(0),
            "gallery_stride": self.gallery.stride(0),
        }

    def masks(self) -> dict[str, Any]:
        """Arguments of a kernel that masks."""
        low, high = checked_window(self.window)
        rows, words = (0, 0) if self.adjacency is None else self.adjacency.shape
        return {
            "valid": self.valid,
            "query_camera": self.query_camera,
            "gallery_camera": self.gallery_camera,
            "adjacency": self.adjacency,
            "query_time": self.query_time,
            "gallery_time": self.gallery_time,
            "camera_rows": rows,
            "camera_words": words,
            "window_low": INT64.min if low is None else low,
            "window_high": INT64.max if high is None else high,
            "unbounded": (low is None) + 2 * (high is None),
            "RULE": RULES[self.rule],
        }

    def of_queries(self, start: int, stop: int) -> Problem:
        """The same problem for the queries [start, stop)."""
        part: dict[str, Any] = {
            name: None if value is None else value[start:stop]
            for name, value in (
                ("query_scale", self.query_scale),
                ("query_camera", self.query_camera),
                ("query_time", self.query_time),
            )
        }
        return replace(self, queries=self.queries[start:stop], **part)

    def of_rows(self, start: int, stop: int) -> Problem:
        """The same problem for the gallery rows [start, stop), which are numbered from 0 anew."""
        part: dict[str, Any] = {
            name: None if value is None else value[start:stop]
            for name, value in (
                ("gallery_scale", self.gallery_scale),
                ("valid", self.valid),
                ("gallery_camera", self.gallery_camera),
                ("gallery_time", self.gallery_time),
            )
        }
        return replace(self, gallery=self.gallery[start:stop], **part)


def dense_rows(features: torch.Tensor) -> torch.Tensor:
    """`features` (N, D) with the elements of a row side by side, copied only if they are not."""
    if features.stride(1) == 1 and 0 <= features.stride(0) <= MAX_STRIDE:
        return features
    return features.contiguous()
