"""The public operators.

Each has a plain NumPy reference in `crosscam_kernels.reference` that defines what it computes, and
one implementation in C++ that picks its instruction set at run time.
"""

from __future__ import annotations

from crosscam_kernels._losses import LossAndGradient
from crosscam_kernels.camera_adversarial import camera_adversarial_loss, camera_classifier_loss
from crosscam_kernels.crop import crop_resize_normalize, letterbox_transform
from crosscam_kernels.gallery import GalleryIndex, GalleryMatches, GalleryRows
from crosscam_kernels.instance_memory import instance_infonce, update_instances
from crosscam_kernels.memory import memory_infonce, update_memory
from crosscam_kernels.normalise import QuantisedUnitRows, normalise_quantise
from crosscam_kernels.quantise import QuantisedRows, quantise_rows
from crosscam_kernels.rerank import (
    CameraAware,
    Reranked,
    Reranking,
    k_reciprocal_encode,
    k_reciprocal_rerank,
)
from crosscam_kernels.retrieval import (
    RetrievalMetrics,
    RetrievalRanks,
    average_tracklets,
    retrieval_metrics,
    retrieval_metrics_from_distances,
    single_shot_galleries,
)
from crosscam_kernels.simd import simd_level, simd_levels
from crosscam_kernels.similarity import TopK, pack_adjacency, similarity_topk
from crosscam_kernels.triplet import BatchHard, TripletLoss, batch_hard, triplet_loss

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
