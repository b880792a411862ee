"""Graphs that compute in 16 bits: float16 or bfloat16, norms and softmax in float32.

TensorRT 11 computes in the types of a graph and nothing else, so every type is written. Inputs and
outputs stay float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from crosscam_deploy.precision.rewriting import add, constants, kinds, named, replace
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

Low = Literal["f16", "bf16"]
LARGEST_HALF = float(np.finfo(np.float16).max)
"""65,504: above, float16 is infinite. bfloat16 has the range of float32, and 8 bits of digits."""
LEADING = frozenset({"Conv", "ConvTranspose", "DequantizeLinear", "Gemm", "MatMul"})
"""Operators that compute in 16 bits wherever they stand: nearly all the work is theirs."""
# fmt: off
FOLLOWING = frozenset({
    "Abs", "Add", "AveragePool", "Clip", "Concat", "DepthToSpace", "Div", "Erf", "Expand",
    "Flatten", "Gather", "Gelu", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "HardSwish",
    "Identity", "LeakyRelu", "MaxPool", "Mul", "Neg", "PRelu", "Pad", "QuantizeLinear", "Relu",
    "Reshape", "Resize", "Sigmoid", "Slice", "SpaceToDepth", "Split", "Squeeze", "Sub", "Tanh",
    "Tile", "Transpose", "Unsqueeze",
})
# fmt: on
"""Operators that do where all that enters them is in 16 bits: none that sums or divides, so norms,
means and softmax stay float32, and what follows them up to the next product. `Div` does where it
divides by a constant."""
_ONLY_FIRST = frozenset({"Resize"})  # its other inputs are float32 by the standard
_OPSET = {"f16": 13, "bf16": 22}  # the first that has bfloat16 in convolutions and pooling
_OPSET_OF_PAIRS = 19  # the first whose Q/DQ pairs have scales in 16 bits


def lowered(model: Any, kind: Low, *, keep: Collection[str] = ()) -> Any:
    """Return a copy that computes in 16 bits, its norms and softmax in float32.

    Q/DQ pairs stay what they are; what they restore is in 16 bits, so scales should be numbers that
    these have. Nodes with weights beyond float16's range stay float32 in a graph of float16.

    Args:
        model: An ``onnx.ModelProto`` in float32; left as it is.
        kind: ``f16``, or ``bf16`` (the copy follows opset 22 or later then).
        keep: Names of nodes that stay float32 (as `rewriting.named` names them).

    Raises:
        InputError: The graph has branches or loops, which are graphs of their own.
    """
    if any(each.g.node for node in model.graph.node for each in node.attribute):
        raise InputError(
            "the graph has branches or loops", expected="a plain network", fix="keep it in float32"
        )
    paired = any(node.op_type == "DequantizeLinear" for node in model.graph.node)
    result = named(model, max(_OPSET[kind], _OPSET_OF_PAIRS if paired else 0))
    writer = _Writer(result.graph, kinds(result), kind)
    for node in list(result.graph.node):
        writer.write(node, wanted=node.name not in keep)
    del result.graph.value_info[:]  # types that were
    replace(result.graph, writer.nodes)
    return result


class _Writer:
    """Writes nodes one after the other, with casts where types change."""

    def __init__(self, graph: Any, types: dict[str, int], kind: Low) -> None:
        import onnx

        self._float = onnx.TensorProto.FLOAT
        self._low = onnx.TensorProto.FLOAT16 if kind == "f16" else onnx.TensorProto.BFLOAT16
        self._numbers = onnx.helper.tensor_dtype_to_np_dtype(self._low)
        self._suffix = "half" if kind == "f16" else "bfloat16"
        self._limited = kind == "f16"
        self._graph, self._types = graph, types
        self._constants = constants(graph)
        self._outputs = {each.name for each in graph.output}
        self._is_low: set[str] = set()
        self._versions: dict[tuple[str, bool], str] = {}
        self.nodes: list[Any] = []

    def write(self, node: Any, *, wanted: bool) -> None:
        """Write a node, in 16 bits if it can be and is wanted so."""
        floats = [
            k for k, name in enumerate(node.input) if name and self._types.get(name) == self._float
        ]
        if node.op_type in _ONLY_FIRST:
            floats = [k for k in floats if k == 0]
        low = wanted and self._can_be_low(node, [node.input[k] for k in floats])
        for k in floats:
            node.input[k] = self._version(node.input[k], low=low)
        self.nodes.append(node)
        if not low:
            return
        for k, name in enumerate(node.output):
            if self._types.get(name) != self._float:
                continue
            if name in self._outputs:
                node.output[k] = f"{name}/{self._suffix}"
                self._cast(node.output[k], name, self._float)
                self._versions[name, True] = node.output[k]
            else:
                self._is_low.add(name)

    def _can_be_low(self, node: Any, floats: list[str]) -> bool:
        fixed = [name for name in floats if name in self._constants]
        if self._limited and any(_largest(self._constants[name]) > LARGEST_HALF for name in fixed):
            return False
        if node.op_type in LEADING:
            return True
        computed = [name for name in floats if name not in self._constants]
        if node.op_type == "Div" and len(computed) > 1:
            return False
        return (
            node.op_type in FOLLOWING
            and bool(computed)
            and all(name in self._is_low for name in computed)
        )

    def _version(self, name: str, *, low: bool) -> str:
        """Return the name of a tensor in the type that is needed, written if it is not there."""
        import onnx

        if (name in self._is_low) == low:
            return name
        if (name, low) not in self._versions:
            other = f"{name}/{self._suffix if low else 'float'}"
            if name in self._constants:
                values = onnx.numpy_helper.to_array(self._constants[name])
                add(self._graph, other, values.astype(self._numbers))
            else:
                self._cast(name, other, self._low if low else self._float)
            self._versions[name, low] = other
        return self._versions[name, low]

    def _cast(self, name: str, other: str, kind: int) -> None:
        import onnx

        self.nodes.append(onnx.helper.make_node("Cast", [name], [other], f"{other}/cast", to=kind))


def _largest(tensor: Any) -> float:
    """Return the largest magnitude of a constant; infinity where one is no number."""
    import onnx

    values: NDArray[Any] = onnx.numpy_helper.to_array(tensor)
    largest = float(np.abs(values).max()) if values.size else 0.0
    return largest if largest == largest else np.inf
