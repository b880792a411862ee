"""Outliers moved from what enters a product to its weights (Xiao et al., "SmoothQuant", ICML 2023).

Transformers have channels with values a hundred times as large as others', always the same ones.
One scale for a tensor spends its steps on them. Between a layer normalisation and the products that
follow, each channel can be divided by a number of its own and the weights that it meets multiplied
by it: the same network, without a node more.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crosscam_deploy.precision.rewriting import add, constants, replace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

ALPHAS = (0.3, 0.5, 0.7, 0.85)
"""Shares of the outliers that weights take over; the paper's best lie between."""
_LEAST = 1e-5  # of channels and weights that are never used


class Pair(NamedTuple):
    """A normalisation and all that reads it.

    Attributes:
        norm: Name of its node.
        output: Tensor that it writes, `(…, C)`.
        products: Names of the nodes that read it, directly or turned round.
    """

    norm: str
    output: str
    products: tuple[str, ...]


def pairs(model: Any) -> tuple[Pair, ...]:
    """Find normalisations that are read by products with constant weights and by nothing else.

    Args:
        model: As from `rewriting.named`.
    """
    fixed = constants(model.graph)
    readers: dict[str, list[tuple[Any, int]]] = defaultdict(list)
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            readers[name].append((node, place))
    outputs = {each.name for each in model.graph.output}
    found = []
    for node in model.graph.node:
        if node.op_type != "LayerNormalization" or any(n not in fixed for n in node.input[1:] if n):
            continue
        if len(fixed[node.input[1]].dims) != 1:  # more than the last dimension is normalised
            continue
        products = _products(node.output[0], int(fixed[node.input[1]].dims[0]), readers, fixed)
        if products and node.output[0] not in outputs:
            found.append(Pair(node.name, node.output[0], tuple(products)))
    return tuple(found)


def _products(
    tensor: str, channels: int, readers: Mapping[str, list[tuple[Any, int]]], fixed: dict[str, Any]
) -> list[str]:
    """Return the products that read a tensor; none when anything else does."""
    found = []
    for node, place in readers[tensor]:
        if place == 0 and _keeps_channels(node, channels, fixed):
            behind = _products(node.output[0], channels, readers, fixed)
            if not behind:
                return []
            found += behind
        elif place == 0 and _is_product(node, channels, fixed):
            found.append(node.name)
        else:
            return []
    return found


def _is_product(node: Any, channels: int, fixed: dict[str, Any]) -> bool:
    if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in fixed:
        return False
    if any(each.name == "transA" and each.i for each in node.attribute):
        return False
    shape = fixed[node.input[1]].dims
    return len(shape) == 2 and shape[_input_axis(node)] == channels


def _input_axis(node: Any) -> int:
    return int(any(each.name == "transB" and each.i for each in node.attribute))


def _keeps_channels(node: Any, channels: int, fixed: dict[str, Any]) -> bool:
    """Whether a node only moves numbers, and channels stay the last dimension."""
    import onnx

    if node.op_type == "Identity":
        return True
    if node.op_type == "Transpose":
        turned: Sequence[int] = next((e.ints for e in node.attribute if e.name == "perm"), ())
        return bool(turned) and turned[-1] == len(turned) - 1
    if node.op_type == "Reshape" and node.input[1] in fixed:
        shape = onnx.numpy_helper.to_array(fixed[node.input[1]])
        return bool(shape.size) and int(shape[-1]) == channels
    return False


def smoothed(
    model: Any, found: Sequence[Pair], extremes: Mapping[str, Floats], alpha: float
) -> Any:
    """Return a copy that answers the same with its outliers in the weights.

    Channel `j` is divided by ``max|X_j|^alpha / max|W_j|^(1 - alpha)``, the weights of all products
    that read it multiplied by it.

    Args:
        model: As from `rewriting.named`; left as it is.
        found: From `pairs`.
        extremes: `(C,)` largest magnitude in each channel of each pair's output.
        alpha: In [0, 1]: 0 leaves outliers where they are, 1 moves them to the weights altogether.
    """
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    fixed = {name: onnx.numpy_helper.to_array(tensor) for name, tensor in constants(graph).items()}
    nodes = {node.name: node for node in graph.node}
    for pair in found:
        axes = [(nodes[name], _input_axis(nodes[name])) for name in pair.products]
        meets = np.max(
            [np.abs(fixed[node.input[1]]).max(axis=1 - axis) for node, axis in axes], axis=0
        )
        seen = np.maximum(extremes[pair.output], _LEAST)
        scale = (seen**alpha / np.maximum(meets, _LEAST) ** (1 - alpha)).astype(np.float32)
        norm = nodes[pair.norm]
        for place in range(1, len(norm.input)):
            if norm.input[place]:
                name = f"{pair.norm}/smoothed/{place}"
                add(graph, name, fixed[norm.input[place]] / scale)
                norm.input[place] = name
        for node, axis in axes:
            name = f"{node.name}/smoothed"
            add(graph, name, fixed[node.input[1]] * (scale[:, None] if axis == 0 else scale))
            node.input[1] = name
    replace(graph, list(graph.node))
    return result
