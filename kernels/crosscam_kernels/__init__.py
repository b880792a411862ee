"""Fused similarity, mining and image operators, usable on their own.

The operators are loaded on first use, so that importing a part of this package (its errors, say)
costs neither NumPy nor the native library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crosscam_kernels.ops import (
        BatchHard,
        CameraAware,
        GalleryIndex,
        GalleryMatches,
        GalleryRows,
        LossAndGradient,
        QuantisedRows,
        QuantisedUnitRows,
        Reranked,
        Reranking,
        RetrievalMetrics,
        RetrievalRanks,
        TopK,
        TripletLoss,
        average_tracklets,
        batch_hard,
        camera_adversarial_loss,
        camera_classifier_loss,
        crop_resize_normalize,
        instance_infonce,
        k_reciprocal_encode,
        k_reciprocal_rerank,
        letterbox_transform,
        memory_infonce,
        normalise_quantise,
        pack_adjacency,
        quantise_rows,
        retrieval_metrics,
        retrieval_metrics_from_distances,
        simd_level,
        simd_levels,
        similarity_topk,
        single_shot_galleries,
        update_instances,
        update_memory,
    )

__all__ = [
    "BatchHard",
    "CameraAware",
    "GalleryIndex",
    "GalleryMatches",
    "GalleryRows",
    "LossAndGradient",
    "QuantisedRows",
    "QuantisedUnitRows",
    "Reranked",
    "Reranking",
    "RetrievalMetrics",
    "RetrievalRanks",
    "TopK",
    "TripletLoss",
    "average_tracklets",
    "batch_hard",
    "camera_adversarial_loss",
    "camera_classifier_loss",
    "crop_resize_normalize",
    "instance_infonce",
    "k_reciprocal_encode",
    "k_reciprocal_rerank",
    "letterbox_transform",
    "memory_infonce",
    "normalise_quantise",
    "pack_adjacency",
    "quantise_rows",
    "retrieval_metrics",
    "retrieval_metrics_from_distances",
    "simd_level",
    "simd_levels",
    "similarity_topk",
    "single_shot_galleries",
    "triplet_loss",
    "update_instances",
    "update_memory",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("crosscam_kernels.ops"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
