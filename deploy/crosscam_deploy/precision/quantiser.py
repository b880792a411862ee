"""Static int8 and fp8: `QuantizeLinear`/`DequantizeLinear` pairs before convolutions and products.

Only what enters a convolution or product is quantised, per tensor; its weights per output channel.
What leaves it stays in more bits, so that normalisations, additions and poolings behind it lose
nothing. Engines fuse the pairs into kernels of 8 bits. Biases stay float and are not corrected: see
ADR 0020 for what that did to a network with instance normalisation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.precision.eight_bits import (
    Numbers,
    Scales,
    Weights,
    parameters,
    rounded,
)
from crosscam_deploy.precision.lowering import lowered
from crosscam_deploy.precision.ranges import bounds
from crosscam_deploy.precision.rewriting import add, constants, replace

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from crosscam_deploy.precision.observe import Observed
    from crosscam_deploy.precision.ranges import Method

OPERATORS = ("Conv", "Gemm", "MatMul")
OPSETS = {"uint8": 13, "int8": 19, "fp8": 19}
"""Least version of the standard by numbers: 19 has fp8, and scales in 16 bits."""
_FP8_CHANNELS = 16  # kernels of fp8 convolutions take multiples of it
_FP8_WINDOW = 32  # and no larger windows


def quantisable(model: Any, numbers: Numbers = "uint8") -> dict[str, str]:
    """Return the nodes that can be computed in 8 bits, with the tensor that enters each.

    Args:
        model: As from `rewriting.named`.
        numbers: Of ``fp8``, convolutions count whose channels (of each group) are multiples of 16.
    """
    found = constants(model.graph)
    return {
        node.name: node.input[0]
        for node in model.graph.node
        if node.op_type in OPERATORS
        and node.input[0] not in found
        and node.input[1] in found
        and (numbers != "fp8" or _has_fp8(node, found[node.input[1]].dims))
    }


def _has_fp8(node: Any, shape: Any) -> bool:
    if node.op_type != "Conv":
        return True
    channels_fit = shape[0] % _FP8_CHANNELS == 0 and shape[1] % _FP8_CHANNELS == 0
    return channels_fit and int(np.prod(shape[2:])) <= _FP8_WINDOW


class Quantiser:
    """Writes graphs of one network in 8 bits; weights are rounded once.

    Args:
        model: As from `rewriting.named`, at the opset of the numbers or later; left as it is.
        seen: Observations of the tensors that enter the `quantisable` nodes.
        numbers: Of what enters products.
        rest: What all else computes in, norms and softmax apart.
        float_nodes: Names of nodes that compute in float32 whatever the rest does.
    """

    def __init__(
        self,
        model: Any,
        seen: Mapping[str, Observed],
        numbers: Numbers = "uint8",
        rest: Scales = "f32",
        float_nodes: Collection[str] = (),
    ) -> None:
        import onnx

        self._model, self._seen = model, seen
        self._numbers, self._rest, self._float_nodes = numbers, rest, frozenset(float_nodes)
        self.nodes = {
            name: entering
            for name, entering in quantisable(model, numbers).items()
            if name not in self._float_nodes
        }
        found = constants(model.graph)
        self._weights: dict[tuple[str, int | None], Weights] = {}
        self._axis: dict[str, int | None] = {}
        self._bounds: dict[tuple[str, Method], tuple[float, float]] = {}
        for node in model.graph.node:
            if node.name not in self.nodes:
                continue
            values = onnx.numpy_helper.to_array(found[node.input[1]])
            axis = _output_axis(node, values.ndim)
            self._axis[node.name] = axis
            self._weights[node.input[1], axis] = rounded(values, axis, numbers, rest)

    def graph(self, method: Method, *, symmetric: bool = True, keep: Collection[str] = ()) -> Any:
        """Return a graph with Q/DQ pairs; its inputs and outputs are as before.

        Args:
            method: How ranges follow from the observations.
            symmetric: Of ``uint8``: whether ranges with negative values have their zero in the
                middle, or anywhere. Those without use all 256 steps either way.
            keep: Nodes that are not quantised; they compute in what the rest does.
        """
        result = self._paired(method, keep, symmetric=symmetric, switched=False)
        if self._rest == "f32":
            return result
        return lowered(result, self._rest, keep=self._float_nodes)

    def switched(self, method: Method, *, symmetric: bool = True) -> Any:
        """Return a graph in float32 whose pairs can be switched off, to try many in one session.

        Args:
            method: As of `graph`.
            symmetric: As of `graph`.

        Returns:
            A graph with an input `SWITCHES` more: `(K,)` bool, whether each of `nodes` is in 8
            bits. Products are those of rounded values; what the rest computes in is left out.
        """
        import onnx

        result = self._paired(method, (), symmetric=symmetric, switched=True)
        result.graph.input.append(
            onnx.helper.make_tensor_value_info(SWITCHES, onnx.TensorProto.BOOL, [len(self.nodes)])
        )
        return result

    def _paired(
        self, method: Method, keep: Collection[str], *, symmetric: bool, switched: bool
    ) -> Any:
        import onnx

        result = onnx.ModelProto()
        result.CopyFrom(self._model)
        graph = result.graph
        pairs: dict[str, str] = {}
        nodes: list[Any] = []
        places = {name: k for k, name in enumerate(self.nodes)}
        for node in list(graph.node):
            if node.name in self.nodes and node.name not in keep:
                entering, fixed = node.input[0], node.input[1]
                if entering not in pairs:
                    low, high = self._range(entering, method)
                    scale, zero = parameters(
                        low, high, self._numbers, self._rest, symmetric=symmetric
                    )
                    pairs[entering] = _pair(graph, nodes, entering, scale, zero)
                axis = self._axis[node.name]
                if (weights := f"{fixed} {axis}") not in pairs:
                    pairs[weights] = _constant(graph, nodes, fixed, self._weights[fixed, axis])
                node.input[0], node.input[1] = pairs[entering], pairs[weights]
                if switched:
                    originals = (entering, fixed)
                    _add_switch(graph, nodes, node, places[node.name], originals)
            nodes.append(node)
        replace(graph, nodes)
        return result

    def _range(self, tensor: str, method: Method) -> tuple[float, float]:
        if (tensor, method) not in self._bounds:
            self._bounds[tensor, method] = bounds(self._seen[tensor], method)
        return self._bounds[tensor, method]


SWITCHES = "crosscam/switches"
"""Input of a graph from `Quantiser.switched`."""


def _output_axis(node: Any, rank: int) -> int | None:
    if node.op_type == "Conv":
        return 0
    if rank != 2:  # a batch of matrices: one scale for all
        return None
    transposed = any(each.name == "transB" and each.i for each in node.attribute)
    return 0 if transposed else 1


def _pair(graph: Any, nodes: list[Any], name: str, scale: Any, zero: Any) -> str:
    """Write a Q/DQ pair of a tensor; returns the name of what leaves it."""
    import onnx

    add(graph, f"{name}/scale", scale)
    add(graph, f"{name}/zero", zero)
    constants_of_it = [f"{name}/scale", f"{name}/zero"]
    quantised, restored = f"{name}/quantised", f"{name}/restored"
    nodes += [
        onnx.helper.make_node(
            "QuantizeLinear", [name, *constants_of_it], [quantised], f"{name}/quantise"
        ),
        onnx.helper.make_node(
            "DequantizeLinear", [quantised, *constants_of_it], [restored], f"{name}/restore"
        ),
    ]
    return restored


def _constant(graph: Any, nodes: list[Any], name: str, weights: Weights) -> str:
    """Write weights in 8 bits; returns the name of what they are restored to."""
    import onnx

    base = f"{name}/{weights.axis}"
    kind = weights.values.dtype
    add(graph, f"{base}/{'int8' if kind == np.int8 else 'fp8'}", weights.values)
    add(graph, f"{base}/scale", weights.scale)
    add(graph, f"{base}/zero", np.zeros(weights.scale.shape, kind))
    axis: dict[str, Any] = {} if weights.axis is None else {"axis": weights.axis}
    inputs = [f"{base}/{'int8' if kind == np.int8 else 'fp8'}", f"{base}/scale", f"{base}/zero"]
    restored = f"{base}/restored"
    nodes.append(
        onnx.helper.make_node("DequantizeLinear", inputs, [restored], f"{base}/restore", **axis)
    )
    return restored


def _add_switch(
    graph: Any, nodes: list[Any], node: Any, place: int, originals: tuple[str, str]
) -> None:
    """Let an input choose between what enters a node in 8 bits and as it was."""
    import onnx

    base = f"{SWITCHES}/{place}"
    add(graph, f"{base}/place", np.array(place, np.int64))
    nodes.append(onnx.helper.make_node("Gather", [SWITCHES, f"{base}/place"], [base]))
    for k, original in enumerate(originals):
        nodes.append(
            onnx.helper.make_node("Where", [base, node.input[k], original], [f"{base}/{k}"])
        )
        node.input[k] = f"{base}/{k}"
