"""What people use for an exact top-k on a CPU, as sides of a comparison.

Each maker returns None where its library is not installed. A gallery in the form that the library
wants is prepared beforehand and not timed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

K = 10
MOST_SIMILARITIES = 1 << 27  # of queries and rows at once, 512 MB, for rivals that hold all of them
Search = Callable[[np.ndarray], np.ndarray]


def in_blocks(search: Search, rows: int) -> Search:
    """The same search, a block of queries after the other where its matrix would be too large."""
    step = max(1, MOST_SIMILARITIES // rows)

    def run(queries: np.ndarray) -> np.ndarray:
        parts = [search(queries[at : at + step]) for at in range(0, len(queries), step)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    return run


def onnxruntime_side(gallery: np.ndarray, threads: int) -> Search | None:
    """MatMul + TopK with the gallery as a constant, which ONNX Runtime packs once beforehand."""
    try:
        import onnxruntime as ort
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        return None
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["queries", "gallery"], ["similarity"]),
            helper.make_node("TopK", ["similarity", "k"], ["values", "indices"]),
        ],
        "topk",
        [helper.make_tensor_value_info("queries", TensorProto.FLOAT, [None, gallery.shape[1]])],
        [
            helper.make_tensor_value_info("values", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("indices", TensorProto.INT64, None),
        ],
        [
            numpy_helper.from_array(np.array([K]), "k"),
            numpy_helper.from_array(np.ascontiguousarray(gallery.T), "gallery"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options)
    return lambda queries: session.run(["indices"], {"queries": queries})[0]


def numpy_search(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    similarity = queries @ gallery.T
    best = np.argpartition(similarity, -K, axis=1)[:, -K:]
    order = np.argsort(-np.take_along_axis(similarity, best, 1), axis=1)
    return np.take_along_axis(best, order, 1)


def faiss_sides(gallery: np.ndarray, threads: int) -> dict[str, Search]:
    try:
        import faiss
    except ImportError:
        return {}
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(gallery)

    def search(queries: np.ndarray, blas_threshold: int) -> np.ndarray:
        faiss.cvar.distance_compute_blas_threshold = blas_threshold
        return index.search(queries, K)[1]

    # 20 is the library's default; 0 always takes the BLAS path, its best setting from Q = 8 on.
    return {
        "faiss": lambda queries: search(queries, 20),
        "faiss, threshold 0": lambda queries: search(queries, 0),
    }


def torch_sides(gallery: np.ndarray, threads: int) -> dict[str, Search]:
    """fp32, and bf16 whose best 2 K rows are ranked again in fp32 (not proven exact)."""
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(threads)
    rows = torch.from_numpy(gallery)
    half = rows.to(torch.bfloat16)

    def fp32(queries: np.ndarray) -> np.ndarray:
        return torch.topk(torch.from_numpy(queries) @ rows.T, K, dim=1).indices.numpy()

    def bf16(queries: np.ndarray) -> np.ndarray:
        q = torch.from_numpy(queries)
        near = torch.topk(q.to(torch.bfloat16) @ half.T, 2 * K, dim=1).indices
        exact = torch.einsum("qd,qkd->qk", q, rows[near])
        return torch.gather(near, 1, torch.topk(exact, K, dim=1).indices).numpy()

    return {"torch": fp32, "torch bf16 + fp32 re-rank": bf16}


def usearch_sides(gallery: np.ndarray, threads: int) -> dict[str, Search]:
    try:
        from usearch.index import MetricKind, search
    except ImportError:
        return {}

    def run(queries: np.ndarray) -> np.ndarray:
        found = search(gallery, queries, K, MetricKind.IP, exact=True, threads=threads)
        return found.keys.reshape(len(queries), -1).astype(np.int64)

    return {"usearch": run}


def rival_sides(gallery: np.ndarray, threads: int) -> dict[str, Search]:
    """Every rival that is installed."""
    whole: dict[str, Search | None] = {
        "numpy": lambda queries: numpy_search(queries, gallery),
        "onnxruntime": onnxruntime_side(gallery, threads),
        **torch_sides(gallery, threads),
    }
    return {
        **{name: in_blocks(side, len(gallery)) for name, side in whole.items() if side is not None},
        **faiss_sides(gallery, threads),
        **usearch_sides(gallery, threads),
    }
