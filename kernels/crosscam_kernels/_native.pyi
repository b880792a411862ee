"""The C++ module. Arguments are checked by `similarity` and `crop`, not here."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

def simd_levels() -> list[str]: ...
def normalise_quantise(
    *,
    rows: NDArray[np.float32],
    threads: int,
    simd: str,
    codes: NDArray[np.int8],
    scale: NDArray[np.float32],
) -> None: ...
def bfloat16_bits(array: Any) -> NDArray[np.uint16] | None: ...
def batch_hard(
    *,
    features: NDArray[np.float32],
    candidates: NDArray[np.float32] | None,
    labels: NDArray[np.int64],
    candidate_labels: NDArray[np.int64] | None,
    cameras: NDArray[np.int64] | None,
    candidate_cameras: NDArray[np.int64] | None,
    self_index: NDArray[np.int64] | None,
    positives: str,
    negatives: str,
    distance: str,
    threads: int,
    simd: str,
    positive_index: NDArray[np.int64],
    negative_index: NDArray[np.int64],
    positive_distance: NDArray[np.float32],
    negative_distance: NDArray[np.float32],
) -> None: ...
def batch_hard_gradient(
    *,
    features: NDArray[np.float32],
    candidates: NDArray[np.float32] | None,
    positive_index: NDArray[np.int64],
    negative_index: NDArray[np.int64],
    positive_distance: NDArray[np.float32],
    negative_distance: NDArray[np.float32],
    positive_weight: NDArray[np.float32],
    negative_weight: NDArray[np.float32],
    distance: str,
    threads: int,
    gradient: NDArray[np.float32],
    candidate_gradient: NDArray[np.float32] | None,
) -> None: ...
def triplet_terms(
    *,
    positive_distance: NDArray[np.float32],
    negative_distance: NDArray[np.float32],
    margin: float | None,
    reduction: str,
    loss: NDArray[np.float32],
    slope: NDArray[np.float32],
) -> tuple[float, float]: ...
def similarity_topk(
    *,
    queries: NDArray[np.float32],
    gallery: NDArray[Any],
    element: str,
    scale: NDArray[np.float32] | None,
    exact: NDArray[Any] | None,
    exact_element: str,
    valid: NDArray[np.uint8] | None,
    query_camera: NDArray[np.int32] | None,
    gallery_camera: NDArray[np.int32] | None,
    rule: str,
    adjacency: NDArray[np.uint64] | None,
    query_time: NDArray[np.int64] | None,
    gallery_time: NDArray[np.int64] | None,
    window: tuple[int, int],
    threads: int,
    simd: str,
    dot: bool,
    similarity: NDArray[np.float32],
    index: NDArray[np.int64],
) -> None: ...
def retrieval_ranks(
    *,
    queries: NDArray[np.float32] | None,
    gallery: NDArray[np.float32] | None,
    distances: NDArray[np.float32] | None,
    metric: str,
    query_id: NDArray[np.int64],
    gallery_id: NDArray[np.int64],
    query_group: NDArray[np.int64] | None,
    gallery_group: NDArray[np.int64] | None,
    query_clothes: NDArray[np.int64] | None,
    gallery_clothes: NDArray[np.int64] | None,
    valid: NDArray[np.uint8] | None,
    protocol: str,
    threads: int,
    simd: str,
    average_precision: NDArray[np.float64],
    first_rank: NDArray[np.int64],
    last_rank: NDArray[np.int64],
    positives: NDArray[np.int64],
) -> None: ...
def crop_resize_normalize(
    *,
    images: Sequence[NDArray[np.uint8]],
    chroma: Sequence[NDArray[np.uint8]],
    boxes: NDArray[np.int64],
    places: NDArray[np.int64] | None,
    padding: float,
    yuv: tuple[int, int, int, int, int, int],
    source_channel: tuple[int, int, int],
    gain: tuple[float, float, float],
    bias: tuple[float, float, float],
    quantization: tuple[float, int],
    threads: int,
    simd: str,
    out: NDArray[Any],
) -> None: ...
