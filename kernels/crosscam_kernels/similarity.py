"""Exact masked top-k by cosine similarity."""

from __future__ import annotations

import operator
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosscam_kernels import _native
from crosscam_kernels._arrays import as_numpy, integer_column, worker_limit
from crosscam_kernels._elements import Rows, float32_rows, stored_rows
from crosscam_kernels._torch import is_tensor
from crosscam_kernels.errors import InputError, ShapeError, UsageError
from crosscam_kernels.simd import dot_products, simd_level

CameraRule = Literal["any", "exclude_same", "only_same"]
CAMERA_RULES: tuple[CameraRule, ...] = ("any", "exclude_same", "only_same")
MIN_TIME, MAX_TIME = -(2**63), 2**63 - 1
MAX_INT8_DIM = 131_072  # kMaxInt8Dim of the native library: sums fit 32 bits


class TopK(NamedTuple):
    """Best gallery rows of each query, best first.

    Attributes:
        similarity: (Q, k) float32; minus infinity where there is no result.
        index: (Q, k) int64 gallery rows; -1 where there is no result.
    """

    similarity: NDArray[np.float32]
    index: NDArray[np.int64]  # type: ignore[assignment]  # hides tuple.index on purpose


class Masks(NamedTuple):
    """The checked masks of a call, in the types the implementations take."""

    valid: NDArray[np.uint8] | None
    query_camera: NDArray[np.int32] | None
    gallery_camera: NDArray[np.int32] | None
    adjacency: NDArray[np.uint64] | None
    query_time: NDArray[np.int64] | None
    gallery_time: NDArray[np.int64] | None
    window: tuple[int, int]


def similarity_topk(
    queries: ArrayLike,
    gallery: ArrayLike,
    k: int,
    *,
    scale: ArrayLike | None = None,
    rescore: ArrayLike | None = None,
    valid: ArrayLike | None = None,
    query_camera: ArrayLike | None = None,
    gallery_camera: ArrayLike | None = None,
    camera_rule: CameraRule = "any",
    adjacency: ArrayLike | None = None,
    query_time: ArrayLike | None = None,
    gallery_time: ArrayLike | None = None,
    window: tuple[int | None, int | None] | None = None,
    threads: int | None = None,
) -> TopK:
    """Finds the k most similar gallery rows of each query among those its masks allow.

    Exact. Results are ordered by similarity descending, then gallery index ascending. A similarity
    that is NaN or minus infinity is never a result. Specification:
    `crosscam_kernels.reference.similarity`.

    The similarity of a pair is ``s = fma(g[d], q[d], s)`` in float32 for d = 0, 1, .. D - 1, with g
    widened to float32, which loses nothing. With an int8 gallery and `rescore`, g is the row of
    `rescore`; without, the query is rounded as by `quantise_rows` and the similarity is
    ``(float32(integer product) * query scale) * scale``. In each case the output is the same to the
    last bit for any number of threads, any instruction set, and wherever in the gallery a row
    stands; equal rows tie exactly. There is no (Q, G) buffer: memory beside the inputs is two
    copies of the queries and O(threads * Q * k).

    If `queries` is a torch tensor, so must be `gallery`, and the results are tensors on their
    device without a gradient (operator ``crosscam::similarity_topk``; other arguments may be
    tensors of that device, or arrays). On the CPU the memory is shared and the answer the same to
    the last bit. On a GPU sums are in float32 in an order of their own, float32 queries of a
    16-bit gallery are rounded to its type, `rescore` looks at the 2 k best of the int8 pass and no
    further, and a camera outside `adjacency` matches nothing.

    Args:
        queries: (Q, D) float32, float16 or bfloat16, rows L2-normalised by contract, so that the
            inner product is the cosine. Rows may be strided; other layouts are copied.
        gallery: (G, D), likewise; float32, float16, bfloat16 or int8. bfloat16 is taken as
            `ml_dtypes.bfloat16`, as an object with DLPack, or as bit patterns in uint16.
        k: Number of results per query, >= 0; may exceed G.
        scale: (G,) float32, int8 galleries only: row i stands for ``scale[i] * gallery[i]``.
        rescore: (G, D) float32, float16 or bfloat16, int8 galleries only: the rows that
            `quantise_rows` made the gallery from. The results are those of a search of `rescore`,
            to the last bit, but most of its rows are never read.
        valid: (G,) bool; rows that are False are never a result.
        query_camera: (Q,) integer camera of each query.
        gallery_camera: (G,) integer camera of each gallery row. Small numbers are fastest.
        camera_rule: ``"any"``, or ``"exclude_same"`` / ``"only_same"``: gallery rows of the query's
            own camera are left out, or are the only ones considered.
        adjacency: (A, B) bool, or its bitset (A, ceil(B / 64)) uint64 made by `pack_adjacency`:
            whether a query of camera a may match camera b. Cameras must lie inside the matrix.
            Applies together with `camera_rule`.
        query_time: (Q,) integer time of each query, ns.
        gallery_time: (G,) integer time of each gallery row, ns.
        window: Inclusive bounds (lo, hi) of ``query_time - gallery_time``, ns, also where the
            difference does not fit int64; None, or the end of int64, is unbounded.
        threads: At most this many threads; None for one per processor, and for tensors as many as
            torch uses. Small problems use fewer.

    Returns:
        `TopK` with (Q, k) similarities and indices; index -1 and similarity -inf pad the rows of
        queries that have fewer than k results.

    Raises:
        ShapeError: An array has the wrong shape or dtype.
        UsageError: Arguments that belong together are not given together, or a value is impossible.
        InputError: A camera lies outside `adjacency`.
    """
    if is_tensor(queries):
        from crosscam_kernels.torch_ops import similarity as torch_ops

        return TopK(
            *torch_ops.checked_similarity_topk(
                queries,
                gallery,
                k,
                scale=scale,
                rescore=rescore,
                valid=valid,
                query_camera=query_camera,
                gallery_camera=gallery_camera,
                camera_rule=camera_rule,
                adjacency=adjacency,
                query_time=query_time,
                gallery_time=gallery_time,
                window=window,
                threads=threads,
            )
        )
    query_rows = float32_rows(queries, "queries", "Q")
    gallery_rows = stored_rows(gallery, "gallery", "G")
    check_call(query_rows, gallery_rows.array, k, camera_rule)
    scales, exact = _int8_parts(gallery_rows, scale, rescore)
    masks = checked_masks(
        query_count=len(query_rows),
        gallery_count=len(gallery_rows.array),
        valid=valid,
        query_camera=query_camera,
        gallery_camera=gallery_camera,
        camera_rule=camera_rule,
        adjacency=adjacency,
        query_time=query_time,
        gallery_time=gallery_time,
        window=window,
    )
    result = TopK(
        np.empty((len(query_rows), k), np.float32), np.empty((len(query_rows), k), np.int64)
    )
    _native.similarity_topk(
        queries=query_rows,
        gallery=gallery_rows.array,
        element=gallery_rows.element,
        scale=scales,
        exact=None if exact is None else exact.array,
        exact_element="float32" if exact is None else exact.element,
        rule=camera_rule,
        threads=worker_limit(threads),
        simd=simd_level(),
        dot=dot_products(),
        **masks._asdict(),
        **result._asdict(),
    )
    return result


def pack_adjacency(allowed: ArrayLike) -> NDArray[np.uint64]:
    """Packs a boolean camera matrix into the bitset that `similarity_topk` takes.

    Args:
        allowed: (A, B) bool: whether a query of camera a may match gallery camera b.

    Returns:
        (A, ceil(B / 64)) uint64; bit ``b % 64`` of word ``b // 64``.

    Raises:
        ShapeError: `allowed` is not a boolean matrix.
    """
    matrix = as_numpy(allowed, "adjacency")
    if matrix.ndim != 2 or matrix.dtype != np.bool_:
        raise ShapeError(
            f"adjacency is {matrix.dtype} of shape {matrix.shape}",
            expected="bool of shape (query cameras, gallery cameras)",
        )
    rows, columns = matrix.shape
    padded = np.zeros((rows, -(-columns // 64) * 64), np.bool_)
    padded[:, :columns] = matrix
    packed = np.packbits(padded, axis=1, bitorder="little")
    return np.ascontiguousarray(packed).view("<u8").astype(np.uint64)


def check_call(queries: NDArray[Any], gallery: NDArray[Any], k: int, camera_rule: str) -> None:
    """Checks what does not concern the masks.

    Raises:
        ShapeError: The feature dimensions differ or are zero.
        UsageError: `k` is negative or the rule unknown.
    """
    if queries.shape[1] != gallery.shape[1] or queries.shape[1] == 0:
        raise ShapeError(
            f"queries have {queries.shape[1]} features and the gallery {gallery.shape[1]}",
            expected="the same number, at least 1",
            fix="compare embeddings of one model only",
        )
    if k < 0:
        raise UsageError(f"k={k}", expected="a number of results of at least 0")
    if camera_rule not in CAMERA_RULES:
        raise UsageError(
            f"camera_rule={camera_rule!r}", expected="one of " + ", ".join(CAMERA_RULES)
        )


def checked_masks(
    *,
    query_count: int,
    gallery_count: int,
    valid: ArrayLike | None,
    query_camera: ArrayLike | None,
    gallery_camera: ArrayLike | None,
    camera_rule: str,
    adjacency: ArrayLike | None,
    query_time: ArrayLike | None,
    gallery_time: ArrayLike | None,
    window: tuple[int | None, int | None] | None,
) -> Masks:
    """Checks the masks of `similarity_topk` and brings them to their native types.

    Raises:
        ShapeError: An array has the wrong shape or dtype.
        UsageError: Arguments that belong together are not given together.
        InputError: A camera lies outside `adjacency`.
    """
    cameras = _pair(query_camera, gallery_camera, "camera", query_count, gallery_count, np.int32)
    times = _pair(query_time, gallery_time, "time", query_count, gallery_count, np.int64)
    if cameras is None and (camera_rule != "any" or adjacency is not None):
        raise UsageError(
            "camera_rule or adjacency is given without cameras",
            fix="pass query_camera and gallery_camera as well",
        )
    if (times is None) != (window is None):
        raise UsageError(
            "times and window must be given together",
            fix="pass query_time, gallery_time and window, or none of them",
        )
    bits = None
    if adjacency is not None and cameras is not None:
        bits = _adjacency_bits(adjacency, *cameras)
    return Masks(
        valid=None if valid is None else _valid_bytes(valid, gallery_count),
        query_camera=None if cameras is None else cameras[0],
        gallery_camera=None if cameras is None else cameras[1],
        adjacency=bits,
        query_time=None if times is None else times[0],
        gallery_time=None if times is None else times[1],
        window=_native_window(window),
    )


def _int8_parts(
    gallery: Rows, scale: ArrayLike | None, rescore: ArrayLike | None
) -> tuple[NDArray[np.float32] | None, Rows | None]:
    """The checked `scale` and `rescore` of an int8 gallery; None twice for any other."""
    if gallery.element != "int8":
        if scale is not None or rescore is not None:
            raise UsageError(
                f"scale or rescore is given with a gallery of {gallery.element}",
                expected="them with an int8 gallery only",
            )
        return None, None
    if scale is None:
        raise UsageError("an int8 gallery is given without scale", fix="use quantise_rows")
    count, dim = gallery.array.shape
    if dim > MAX_INT8_DIM:
        raise ShapeError(f"the int8 gallery has {dim} features", expected=f"at most {MAX_INT8_DIM}")
    scales = as_numpy(scale, "scale")
    if scales.shape != (count,) or scales.dtype != np.float32:
        raise ShapeError(
            f"scale is {scales.dtype} of shape {scales.shape}",
            expected=f"float32 of shape ({count},), one per gallery row",
        )
    if rescore is None:
        return np.ascontiguousarray(scales), None
    exact = stored_rows(rescore, "rescore", "G")
    if exact.element == "int8" or exact.array.shape != gallery.array.shape:
        raise ShapeError(
            f"rescore is {exact.element} of shape {exact.array.shape}",
            expected=f"float32, float16 or bfloat16 of shape ({count}, {dim}), as the gallery",
        )
    return np.ascontiguousarray(scales), exact


def _pair(
    of_queries: ArrayLike | None,
    of_gallery: ArrayLike | None,
    kind: str,
    query_count: int,
    gallery_count: int,
    dtype: type[np.signedinteger[Any]],
) -> tuple[Any, Any] | None:
    if of_queries is None and of_gallery is None:
        return None
    if of_queries is None or of_gallery is None:
        raise UsageError(
            f"only one of query_{kind} and gallery_{kind} is given", fix="pass both or neither"
        )
    return (
        integer_column(of_queries, f"query_{kind}", query_count, dtype),
        integer_column(of_gallery, f"gallery_{kind}", gallery_count, dtype),
    )


def _valid_bytes(valid: ArrayLike, count: int) -> NDArray[np.uint8]:
    array = as_numpy(valid, "valid")
    if array.shape != (count,) or array.dtype != np.bool_:
        raise ShapeError(
            f"valid is {array.dtype} of shape {array.shape}",
            expected=f"bool of shape ({count},), one per gallery row",
        )
    return np.ascontiguousarray(array).view(np.uint8)


def _adjacency_bits(
    adjacency: ArrayLike, query_camera: NDArray[np.int32], gallery_camera: NDArray[np.int32]
) -> NDArray[np.uint64]:
    matrix = as_numpy(adjacency, "adjacency")
    if matrix.dtype == np.uint64 and matrix.ndim == 2:
        bits, columns = np.ascontiguousarray(matrix), matrix.shape[1] * 64
    else:
        bits, columns = pack_adjacency(matrix), matrix.shape[-1] if matrix.ndim else 0
    for name, cameras, limit in (
        ("query_camera", query_camera, len(bits)),
        ("gallery_camera", gallery_camera, columns),
    ):
        if cameras.size and (cameras.min() < 0 or cameras.max() >= limit):
            raise InputError(
                f"{name} holds cameras from {cameras.min()} to {cameras.max()}",
                expected=f"cameras inside the adjacency matrix, 0 to {limit - 1}",
            )
    return bits


def checked_window(window: tuple[int | None, int | None]) -> tuple[int | None, int | None]:
    """The bounds of a time window, inside int64; None where one is at its end of int64 or beyond.

    Raises:
        UsageError: A bound is no integer, or lies beyond the other end of int64.
    """
    low, high = (None if bound is None else _bound(bound) for bound in window)
    if (low is not None and low > MAX_TIME) or (high is not None and high < MIN_TIME):
        raise UsageError(f"window={window} lies beyond int64", expected="bounds in ns")
    return (
        None if low is None or low <= MIN_TIME else low,
        None if high is None or high >= MAX_TIME else high,
    )


def _bound(bound: int) -> int:
    try:
        return operator.index(bound)
    except TypeError as error:
        raise UsageError(
            f"window holds {bound!r}", expected="integers, in ns, or None", fix="round the bound"
        ) from error


def _native_window(window: tuple[int | None, int | None] | None) -> tuple[int, int]:
    """As the native library takes it: the ends of int64 are no bounds."""
    low, high = (None, None) if window is None else checked_window(window)
    return (MIN_TIME if low is None else low, MAX_TIME if high is None else high)
