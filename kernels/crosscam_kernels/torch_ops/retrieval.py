"""`crosscam::retrieval_ranks`: the ranks behind mAP, CMC and mINP, on CPU and CUDA tensors."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from crosscam_kernels._retrieval_inputs import Labels, RetrievalRanks, checked_labels
from crosscam_kernels.errors import ShapeError
from crosscam_kernels.retrieval import native_ranks

Ranks = tuple[Tensor, Tensor, Tensor, Tensor]
_MAX_PAIRS = 1 << 26  # (query, row of the same identity) pairs held at a time on a GPU


@torch.library.custom_op("crosscam::retrieval_ranks", mutates_args=())
def retrieval_ranks(
    query: Tensor,
    gallery: Tensor,
    query_id: Tensor,
    gallery_id: Tensor,
    query_group: Tensor | None,
    gallery_group: Tensor | None,
    query_clothes: Tensor | None,
    gallery_clothes: Tensor | None,
    valid: Tensor | None,
    protocol: str,
    metric: str,
    threads: int,
) -> Ranks:
    """The figures of `crosscam_kernels.RetrievalRanks` for each query.

    Args:
        query: (Q, D) float32.
        gallery: (G, D) float32.
        query_id: (Q,) int64; so are the labels below, None where the protocol has no use for them.
        gallery_id: (G,).
        query_group: (Q,) camera or tracklet.
        gallery_group: (G,).
        query_clothes: (Q,).
        gallery_clothes: (G,).
        valid: (G,) bool: rows that are False are not in the gallery.
        protocol: ``"standard"``, ``"clothes_changing"``, ``"same_clothes"`` or ``"any"``.
        metric: ``"cosine"``, ``"euclidean"`` or ``"inner_product"``.
        threads: At most this many threads on the CPU; 0 for torch's number.

    Returns:
        (Q,) float64 average precision, and (Q,) int64 first rank, last rank and positives.
    """

    def column(tensor: Tensor | None) -> Any:
        return None if tensor is None else tensor.contiguous().numpy()

    labels = Labels(
        column(query_id),
        column(gallery_id),
        column(query_group),
        column(gallery_group),
        column(query_clothes),
        column(gallery_clothes),
        None if valid is None else column(valid).view(np.uint8),
        protocol,
    )
    q, g = (t.contiguous().numpy() for t in (query, gallery))
    ranks = native_ranks(labels, q, g, None, metric, threads or torch.get_num_threads())
    return cast(Ranks, tuple(torch.from_numpy(figure) for figure in ranks))


@retrieval_ranks.register_fake
def _(query: Tensor, *_: Any) -> Ranks:
    count = query.shape[0]
    whole = [query.new_empty((count,), dtype=torch.int64) for _ in range(3)]
    return query.new_empty((count,), dtype=torch.float64), whole[0], whole[1], whole[2]


@retrieval_ranks.register_kernel("cuda")
def _(
    query: Tensor,
    gallery: Tensor,
    query_id: Tensor,
    gallery_id: Tensor,
    query_group: Tensor | None,
    gallery_group: Tensor | None,
    query_clothes: Tensor | None,
    gallery_clothes: Tensor | None,
    valid: Tensor | None,
    protocol: str,
    metric: str,
    threads: int,
) -> Ranks:
    from crosscam_kernels.gpu.retrieval_ranks import count_ranks

    del threads
    labels = Labels(
        query_id,
        gallery_id,
        query_group,
        gallery_group,
        query_clothes,
        gallery_clothes,
        valid,
        protocol,
    )
    return count_ranks(query, gallery, labels, metric, _MAX_PAIRS)


def tensor_ranks(
    query: Any,
    gallery: Any,
    query_ids: Any,
    gallery_ids: Any,
    metric: str,
    threads: int | None,
    options: dict[str, Any],
) -> RetrievalRanks:
    """Checks what `retrieval_metrics` was given and calls the operator.

    Labels may be tensors on any device or anything that NumPy reads; they go to the device of
    `query`.

    Raises:
        ShapeError: Features are not float32 matrices of one width on one device, or labels are
            wrong.
        UsageError: Labels that the protocol needs are missing.
    """
    for name, value in (("query", query), ("gallery", gallery)):
        if not isinstance(value, Tensor) or value.ndim != 2 or value.dtype != torch.float32:
            found = f"{getattr(value, 'dtype', type(value).__name__)}"
            raise ShapeError(
                f"{name} is {found} of shape {tuple(getattr(value, 'shape', ()))}",
                expected="float32 tensors query (Q, D) and gallery (G, D)",
            )
    if query.shape[1] != gallery.shape[1] or query.shape[1] == 0 or query.device != gallery.device:
        raise ShapeError(
            f"query has {query.shape[1]} features on {query.device} and gallery "
            f"{gallery.shape[1]} on {gallery.device}",
            expected="the same number, at least 1, on one device",
        )
    plain = {name: _host(value) for name, value in options.items()}
    labels = checked_labels(_host(query_ids), _host(gallery_ids), len(query), len(gallery), **plain)
    columns = [
        None if column is None else torch.from_numpy(column).to(query.device)
        for column in labels[:7]
    ]
    if columns[6] is not None:
        columns[6] = columns[6].to(torch.bool)
    return RetrievalRanks(
        *retrieval_ranks(
            query.detach(), gallery.detach(), *columns, labels.protocol, metric, threads or 0
        )
    )


def _host(value: Any) -> Any:
    return value.cpu().numpy() if isinstance(value, Tensor) else value
