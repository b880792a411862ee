"""A graph's search written as TensorRT's plugins take it: as two nodes in Python, as one in C++."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crosscam_deploy.export.search_ops import DOMAIN
from crosscam_kernels.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

PARTIAL, MASKED = "SimilarityPartial", "SimilarityPartialMasked"
MERGE, QUANTISE = "SimilarityMerge", "NormaliseQuantise"
LISTS = 16
"""Results that the plugins' kernels keep of a query."""

FEATURES = 64
"""The plugins' kernels take features by as many, or by a divisor of it."""


def two_nodes(model: Any) -> Any:
    """Write each ``crosscam::SimilarityTopK`` of a graph as two plugins.

    Args:
        model: An ``onnx.ModelProto`` from `append_retrieval_head`; it is not changed.

    Returns:
        A graph for TensorRT with crosscam's plugins, which nothing else reads. Queries are brought
        to the type of the gallery, as `crosscam_kernels.similarity_topk` does it on a GPU.

    Raises:
        UsageError: The plugins do not take the search: its `k`, or the length of its embeddings.
    """
    return _lowered(model, _two, aot=1)


def one_node(model: Any) -> Any:
    """Write each ``crosscam::SimilarityTopK`` of a graph for the C++ plugins, ``libcrosscam_trt``.

    Args:
        model: An ``onnx.ModelProto`` from `append_retrieval_head`; it is not changed.

    Returns:
        A graph for TensorRT with that library, which nothing else reads. Queries are brought to the
        type of the gallery.

    Raises:
        UsageError: The plugins do not take the search: its `k`, or the length of its embeddings.
    """
    return _lowered(model, _one)


def _lowered(model: Any, search: Callable[[Any, Any], list[Any]], **attributes: int) -> Any:
    """A graph with plugins in the place of crosscam's operators, and without their functions."""
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    nodes = []
    for node in model.graph.node:
        if (node.domain, node.op_type) == (DOMAIN, "SimilarityTopK"):
            nodes += search(made, node)
        elif (node.domain, node.op_type) == (DOMAIN, QUANTISE):
            given, answers = [*node.input], [*node.output]
            nodes.append(_plugin(QUANTISE, given, answers, node.name, **attributes))
        else:
            nodes.append(node)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    for function in [each for each in made.functions if each.domain == DOMAIN]:
        made.functions.remove(function)
    return made


def _search_of(made: Any, node: Any) -> tuple[int, int]:
    """The `k` of a search that the plugins take, and the type of its gallery."""
    k = next(attribute.i for attribute in node.attribute if attribute.name == "k")
    gallery = next(each for each in made.graph.input if each.name == node.input[1])
    dim = gallery.type.tensor_type.shape.dim[1].dim_value
    if k > LISTS or dim % FEATURES or dim == 0:
        raise UsageError(
            f"a search for {k} results by embeddings of length {dim}",
            expected=f"at most {LISTS} results and a multiple of {FEATURES}, for plugins",
            fix="build the engine without plugins",
        )
    return k, gallery.type.tensor_type.elem_type


def _one(made: Any, node: Any) -> list[Any]:
    from onnx import helper

    k, kind = _search_of(made, node)
    stem = node.name or node.output[0]
    queries = f"{stem}_queries"
    inputs, outputs = [queries, *node.input[1:]], [*node.output]
    return [
        helper.make_node("Cast", [node.input[0]], [queries], to=kind),
        _plugin("SimilarityTopK", inputs, outputs, stem, k=k),
    ]


def _two(made: Any, node: Any) -> list[Any]:
    from onnx import TensorProto, helper

    k, kind = _search_of(made, node)
    stem = f"{node.name or node.output[0]}_"
    queries, keys, similarity, index, first, last, axis = (
        stem + part for part in ("queries", "keys", "similarity", "index", "first", "last", "axis")
    )
    for name, value in ((first, 0), (last, k), (axis, 1)):
        tensor = helper.make_tensor(name, TensorProto.INT64, [1], [value])
        made.graph.initializer.append(tensor)
    inputs = [queries, *node.input[1:]]
    part = MASKED if len(node.input) > 2 else PARTIAL
    cut = [first, last, axis]
    return [
        helper.make_node("Cast", [node.input[0]], [queries], to=kind),
        _plugin(part, inputs, [keys], stem + "partial", aot=1),
        _plugin(MERGE, [keys], [similarity, index], stem + "merge", aot=1),
        helper.make_node("Slice", [similarity, *cut], [node.output[0]]),
        helper.make_node("Slice", [index, *cut], [node.output[1]]),
    ]


def _plugin(
    name: str, inputs: list[str], outputs: list[str], called: str, **attributes: Any
) -> Any:
    """A node that TensorRT's parser takes for a plugin; ``aot=1``: compiled ahead of time."""
    from onnx import helper

    return helper.make_node(
        name, inputs, outputs, name=called, domain=DOMAIN,
        plugin_namespace=DOMAIN, plugin_version="1", **attributes,
    )  # fmt: skip
