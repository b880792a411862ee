"""A graph's search written as the two nodes that TensorRT launches."""

from __future__ import annotations

from typing import Any

from crosscam_deploy.export.search_ops import DOMAIN
from crosscam_kernels.errors import UsageError

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
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    nodes = []
    for node in model.graph.node:
        if (node.domain, node.op_type) == (DOMAIN, "SimilarityTopK"):
            nodes += _two(made, node)
        elif (node.domain, node.op_type) == (DOMAIN, QUANTISE):
            nodes.append(_plugin(QUANTISE, [*node.input], [*node.output], node.name))
        else:
            nodes.append(node)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    for function in [each for each in made.functions if each.domain == DOMAIN]:
        made.functions.remove(function)
    return made


def _two(made: Any, node: Any) -> list[Any]:
    from onnx import TensorProto, helper

    k = next(attribute.i for attribute in node.attribute if attribute.name == "k")
    gallery = next(each for each in made.graph.input if each.name == node.input[1])
    dim = gallery.type.tensor_type.shape.dim[1].dim_value
    if k > LISTS or dim % FEATURES or dim == 0:
        raise UsageError(
            f"a search for {k} results by embeddings of length {dim}",
            expected=f"at most {LISTS} results and a multiple of {FEATURES}, for plugins",
            fix="build the engine without plugins",
        )
    stem = f"{node.name or node.output[0]}_"
    queries, keys, similarity, index, first, last, axis = (
        stem + part for part in ("queries", "keys", "similarity", "index", "first", "last", "axis")
    )
    for name, value in ((first, 0), (last, k), (axis, 1)):
        tensor = helper.make_tensor(name, TensorProto.INT64, [1], [value])
        made.graph.initializer.append(tensor)
    kind = gallery.type.tensor_type.elem_type
    inputs = [queries, *node.input[1:]]
    part = MASKED if len(node.input) > 2 else PARTIAL
    cut = [first, last, axis]
    return [
        helper.make_node("Cast", [node.input[0]], [queries], to=kind),
        _plugin(part, inputs, [keys], stem + "partial"),
        _plugin(MERGE, [keys], [similarity, index], stem + "merge"),
        helper.make_node("Slice", [similarity, *cut], [node.output[0]]),
        helper.make_node("Slice", [index, *cut], [node.output[1]]),
    ]


def _plugin(name: str, inputs: list[str], outputs: list[str], called: str) -> Any:
    """A node that TensorRT's parser takes for a plugin with kernels compiled ahead of time."""
    from onnx import helper

    return helper.make_node(
        name, inputs, outputs, name=called, domain=DOMAIN,
        plugin_namespace=DOMAIN, plugin_version="1", aot=1,
    )  # fmt: skip
