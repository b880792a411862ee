"""What a GPU answers in 16 bits, computed where there is none.

ONNX Runtime has no kernels for bfloat16 on processors, and runs float16 as float32 with casts of
its own, some of which it leaves out: a product that overflows there stays finite here. So the same
graph is written in float32, and every tensor that would be in 16 bits is rounded to them and back.
Products are summed up in float32, as tensor cores do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from crosscam_deploy.precision.rewriting import add, constants, kinds, replace

_EXACT = frozenset(
    {"DequantizeLinear", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Operators with nothing to round behind them: they change no number, or are part of a product."""


def emulated(model: Any) -> Any:
    """Return a graph in float32 that rounds where another is in float16 or bfloat16.

    Pairs of int8 stay as they are. Those of fp8 are written as their definition: ONNX Runtime
    (1.31) runs them alone, but puts products of int8 in the place of those of fp8, and fails.

    Args:
        model: As from `lowering.lowered` or `Quantiser.graph`; left as it is.
    """
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(model)
    writer = _Writer(result.graph, kinds(result))
    for node in list(result.graph.node):
        writer.write(node)
    del result.graph.value_info[:]
    replace(result.graph, writer.nodes)
    return result


class _Writer:
    """Writes nodes one after the other, with what rounds behind them."""

    def __init__(self, graph: Any, types: dict[str, int]) -> None:
        import onnx

        known = onnx.TensorProto
        self._graph, self._types = graph, types
        self._low, self._fp8 = (known.FLOAT16, known.BFLOAT16), known.FLOAT8E4M3FN
        self._constants = {
            name: onnx.numpy_helper.to_array(tensor) for name, tensor in constants(graph).items()
        }
        for tensor in graph.initializer:
            if tensor.data_type in self._low:
                values = self._constants[tensor.name].astype(np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        self.nodes: list[Any] = []

    def write(self, node: Any) -> None:
        """Write a node as it is computed in float32."""
        if node.op_type == "DequantizeLinear" and self._types.get(node.input[0]) == self._fp8:
            self._restore(node)
        elif node.op_type == "QuantizeLinear" and self._types.get(node.output[0]) == self._fp8:
            self._quantise(node)
        elif node.op_type == "Constant" and self._types.get(node.output[0]) in self._low:
            add(self._graph, node.output[0], self._constants[node.output[0]].astype(np.float32))
        elif node.op_type == "Cast" and self._types.get(node.output[0]) in self._low:
            self._round(node.input[0], node.output[0])
        else:
            self.nodes.append(node)
            for k, name in enumerate(node.output):
                if self._types.get(name) in self._low and node.op_type not in _EXACT:
                    node.output[k] = f"{name}/exact"
                    self._round(node.output[k], name)

    def _round(self, source: str, name: str) -> None:
        import onnx

        make, kind = onnx.helper.make_node, self._types[name]
        self.nodes += [
            make("Cast", [source], [f"{name}/rounded"], to=kind),
            make("Cast", [f"{name}/rounded"], [name], to=onnx.TensorProto.FLOAT),
        ]

    def _quantise(self, node: Any) -> None:
        import onnx

        make, output = onnx.helper.make_node, node.output[0]
        add(self._graph, f"{output}/by", self._constants[node.input[1]].astype(np.float32))
        self.nodes += [  # what is too large becomes the largest number
            make("Div", [node.input[0], f"{output}/by"], [f"{output}/scaled"]),
            make("Cast", [f"{output}/scaled"], [output], to=self._fp8, saturate=1),
        ]

    def _restore(self, node: Any) -> None:
        import onnx

        name, output = node.input[0], node.output[0]
        scale = self._constants[node.input[1]].astype(np.float32)
        if name in self._constants:  # weights
            values = self._constants[name].astype(np.float32)
            axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
            shape = [-1 if k == axis else 1 for k in range(values.ndim)] if scale.ndim else []
            add(self._graph, output, values * scale.reshape(shape))
            return
        add(self._graph, f"{output}/by", scale)
        self.nodes += [
            onnx.helper.make_node("Cast", [name], [f"{output}/float"], to=onnx.TensorProto.FLOAT),
            onnx.helper.make_node("Mul", [f"{output}/float", f"{output}/by"], [output]),
        ]
