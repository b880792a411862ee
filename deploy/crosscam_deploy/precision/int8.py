"""Static int8: `QuantizeLinear`/`DequantizeLinear` pairs before convolutions and products.

Only what enters a convolution or product is quantised, per tensor; its weights per output channel.
What leaves it stays in 32 bits, so that normalisations, additions and poolings behind it lose
nothing. Engines fuse the pairs into int8 kernels. Biases stay float and are not corrected: see ADR
0020 for what that did to a network with instance normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.precision.ranges import bounds, centred
from crosscam_deploy.precision.rewriting import add, constants, replace

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from crosscam_deploy.precision.observe import Observed
    from crosscam_deploy.precision.ranges import Method

OPERATORS = ("Conv", "Gemm", "MatMul")
_STEPS = 255
_LARGEST_WEIGHT = 127
_LEAST_SCALE = 1e-12  # channels that were never used have weights near the least float


def quantisable(model: Any) -> dict[str, str]:
    """Return the nodes that can be computed in int8, with the tensor that enters each.

    Args:
        model: As from `rewriting.named`.
    """
    found = constants(model.graph)
    return {
        node.name: node.input[0]
        for node in model.graph.node
        if node.op_type in OPERATORS and node.input[0] not in found and node.input[1] in found
    }


@dataclass(frozen=True, slots=True)
class _Weights:
    """Weights in int8.

    Attributes:
        values: As the float weights, int8.
        scale: `(C,)`, or a scalar where there is no axis.
        axis: Of the channels; None for one scale.
    """

    values: NDArray[np.int8]
    scale: NDArray[np.float32]
    axis: int | None


class Quantiser:
    """Writes int8 graphs of one network; weights are rounded once.

    Args:
        model: As from `rewriting.named`; left as it is.
        seen: Observations of the tensors that enter the `quantisable` nodes.
    """

    def __init__(self, model: Any, seen: Mapping[str, Observed]) -> None:
        import onnx

        self._model, self._seen = model, seen
        self.nodes = quantisable(model)
        found = constants(model.graph)
        self._weights: dict[tuple[str, int | None], _Weights] = {}
        self._axis: dict[str, int | None] = {}
        self._bounds: dict[tuple[str, Method], tuple[float, float]] = {}
        for node in model.graph.node:
            if node.name not in self.nodes:
                continue
            values = onnx.numpy_helper.to_array(found[node.input[1]])
            axis = _output_axis(node, values.ndim)
            self._axis[node.name] = axis
            self._weights[node.input[1], axis] = _rounded(values, axis)

    def graph(self, method: Method, *, symmetric: bool, keep: Collection[str] = ()) -> Any:
        """Return a graph with Q/DQ pairs; its inputs and outputs are as before.

        Args:
            method: How ranges follow from the observations.
            symmetric: Whether ranges with negative values have their zero in the middle, or
                anywhere. Those without use all 256 steps either way.
            keep: Nodes that stay float.
        """
        import onnx

        result = onnx.ModelProto()
        result.CopyFrom(self._model)
        graph = result.graph
        pairs: dict[str, str] = {}
        nodes: list[Any] = []
        for node in list(graph.node):
            if node.name in self.nodes and node.name not in keep:
                entering = node.input[0]
                if entering not in pairs:
                    low, high = self._range(entering, method)
                    if symmetric:
                        low, high = centred(low, high)
                    pairs[entering] = _pair(graph, nodes, entering, low, high)
                weights = f"{node.input[1]} {self._axis[node.name]}"
                if weights not in pairs:
                    kept = self._weights[node.input[1], self._axis[node.name]]
                    pairs[weights] = _constant(graph, nodes, node.input[1], kept)
                node.input[0], node.input[1] = pairs[entering], pairs[weights]
            nodes.append(node)
        replace(graph, nodes)
        return result

    def _range(self, tensor: str, method: Method) -> tuple[float, float]:
        if (tensor, method) not in self._bounds:
            self._bounds[tensor, method] = bounds(self._seen[tensor], method)
        return self._bounds[tensor, method]


def _output_axis(node: Any, rank: int) -> int | None:
    if node.op_type == "Conv":
        return 0
    if rank != 2:  # a batch of matrices: one scale for all
        return None
    transposed = any(each.name == "transB" and each.i for each in node.attribute)
    return 0 if transposed else 1


def _rounded(values: NDArray[np.float32], axis: int | None) -> _Weights:
    others = tuple(k for k in range(values.ndim) if k != axis)
    largest = np.abs(values).max(axis=others, keepdims=True)
    scale = np.maximum(largest / _LARGEST_WEIGHT, _LEAST_SCALE).astype(np.float32)
    whole = np.clip(np.round(values / scale), -_LARGEST_WEIGHT, _LARGEST_WEIGHT)
    return _Weights(
        whole.astype(np.int8), scale.reshape(()) if axis is None else scale.ravel(), axis
    )


def _pair(graph: Any, nodes: list[Any], name: str, low: float, high: float) -> str:
    """Write a Q/DQ pair of a tensor; returns the name of what leaves it."""
    import onnx

    scale = np.float32(max((high - low) / _STEPS, _LEAST_SCALE))
    zero = np.uint8(np.clip(round(-low / float(scale)), 0, _STEPS))
    add(graph, f"{name}/scale", np.array(scale))
    add(graph, f"{name}/zero", np.array(zero))
    parameters = [f"{name}/scale", f"{name}/zero"]
    quantised, restored = f"{name}/quantised", f"{name}/restored"
    nodes += [
        onnx.helper.make_node(
            "QuantizeLinear", [name, *parameters], [quantised], f"{name}/quantise"
        ),
        onnx.helper.make_node(
            "DequantizeLinear", [quantised, *parameters], [restored], f"{name}/restore"
        ),
    ]
    return restored


def _constant(graph: Any, nodes: list[Any], name: str, weights: _Weights) -> str:
    """Write int8 weights; returns the name of what they are restored to."""
    import onnx

    base = f"{name}/{weights.axis}"
    add(graph, f"{base}/int8", weights.values)
    add(graph, f"{base}/scale", weights.scale)
    add(graph, f"{base}/zero", np.zeros(weights.scale.shape, np.int8))
    axis: dict[str, Any] = {} if weights.axis is None else {"axis": weights.axis}
    inputs = [f"{base}/int8", f"{base}/scale", f"{base}/zero"]
    restored = f"{base}/restored"
    nodes.append(
        onnx.helper.make_node("DequantizeLinear", inputs, [restored], f"{base}/restore", **axis)
    )
    return restored
