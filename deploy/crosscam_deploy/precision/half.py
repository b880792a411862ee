"""float16: graphs that compute in it, for GPUs, and files that store it, for processors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.precision.rewriting import add, constants, named, replace
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection

_LEAST_SIZE = 256  # numbers; smaller tensors are not worth their cast
_LARGEST = float(np.finfo(np.float16).max)
LEADING = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that compute in float16 wherever they stand: nearly all the work is theirs."""
# fmt: off
FOLLOWING = frozenset({
    "Abs", "Add", "AveragePool", "Clip", "Concat", "DepthToSpace", "Expand", "Flatten",
    "Gather", "Gelu", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "HardSwish",
    "Identity", "LeakyRelu", "MaxPool", "Mul", "Neg", "PRelu", "Pad", "Relu", "Reshape",
    "Resize", "Sigmoid", "Slice", "SpaceToDepth", "Split", "Squeeze", "Sub", "Tanh", "Tile",
    "Transpose", "Unsqueeze",
})
# fmt: on
"""Operators that do where all that enters them is float16: none that sums or divides, so norms,
means and softmax stay float32, and what follows them up to the next product."""
_ONLY_FIRST = frozenset({"Resize"})  # its other inputs are float32 by the standard


def to_half(model: Any, *, keep: Collection[str] = ()) -> Any:
    """Return a copy that computes in float16, its norms and softmax in float32.

    Inputs and outputs stay float32. Nodes with weights beyond float16's range (65,504) stay too.

    Args:
        model: An ``onnx.ModelProto`` in float32; left as it is.
        keep: Names of nodes that stay float32 (as `rewriting.named` names them).

    Raises:
        InputError: The graph has branches or loops, which are graphs of their own.
    """
    import onnx

    result = named(model)
    if any(each.g.node for node in result.graph.node for each in node.attribute):
        raise InputError(
            "the graph has branches or loops", expected="a plain network", fix="keep it in float32"
        )
    typed = onnx.shape_inference.infer_shapes(result).graph
    kinds = {
        each.name: each.type.tensor_type.elem_type
        for each in (*typed.input, *typed.value_info, *typed.output)
    }
    writer = _Writer(result.graph, kinds)
    for node in list(result.graph.node):
        writer.write(node, wanted=node.name not in keep)
    del result.graph.value_info[:]  # types that were
    replace(result.graph, writer.nodes)
    return result


class _Writer:
    """Writes nodes one after the other, with casts where types change."""

    def __init__(self, graph: Any, kinds: dict[str, int]) -> None:
        import onnx

        self._float, self._half = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
        self._graph, self._kinds = graph, kinds
        self._constants = constants(graph)
        self._outputs = {each.name for each in graph.output}
        self._is_half: set[str] = set()
        self._versions: dict[tuple[str, bool], str] = {}
        self.nodes: list[Any] = []

    def write(self, node: Any, *, wanted: bool) -> None:
        """Write a node, in float16 if it can be and is wanted so."""
        floats = [
            k for k, name in enumerate(node.input) if name and self._kind(name) == self._float
        ]
        if node.op_type in _ONLY_FIRST:
            floats = [k for k in floats if k == 0]
        half = wanted and self._can_be_half(node, [node.input[k] for k in floats])
        for k in floats:
            node.input[k] = self._version(node.input[k], half=half)
        self.nodes.append(node)
        if not half:
            return
        for k, name in enumerate(node.output):
            if self._kind(name) != self._float:
                continue
            if name in self._outputs:
                node.output[k] = f"{name}/half"
                self._cast(node.output[k], name, self._float)
                self._versions[name, True] = node.output[k]
            else:
                self._is_half.add(name)

    def _kind(self, name: str) -> int | None:
        if name in self._constants:
            return int(self._constants[name].data_type)
        return self._kinds.get(name)

    def _can_be_half(self, node: Any, floats: list[str]) -> bool:
        import onnx

        for name in floats:
            if name in self._constants:
                values = onnx.numpy_helper.to_array(self._constants[name])
                if values.size and not np.abs(values).max() <= _LARGEST:
                    return False
        if node.op_type in LEADING:
            return True
        computed = [name for name in floats if name not in self._constants]
        return (
            node.op_type in FOLLOWING
            and bool(computed)
            and all(name in self._is_half for name in computed)
        )

    def _version(self, name: str, *, half: bool) -> str:
        """Return the name of a tensor in the type that is needed, written if it is not there."""
        import onnx

        if (name in self._is_half) == half:
            return name
        if (name, half) not in self._versions:
            other = f"{name}/{'half' if half else 'float'}"
            if name in self._constants:
                values = onnx.numpy_helper.to_array(self._constants[name])
                add(self._graph, other, values.astype(np.float16))
            else:
                self._cast(name, other, self._half if half else self._float)
            self._versions[name, half] = other
        return self._versions[name, half]

    def _cast(self, name: str, other: str, kind: int) -> None:
        import onnx

        self.nodes.append(onnx.helper.make_node("Cast", [name], [other], f"{other}/cast", to=kind))


def store_half(model: Any) -> Any:
    """Return a copy whose weights are stored in float16: half the file, the same network.

    For processors, which compute in float32 or bf16 whatever the file holds: behind each large
    tensor of weights stands a `Cast`, which engines do once, on opening. Weights beyond float16's
    range (65,504) stay as they are; the others are off by 5e-4 of themselves at most, those below
    6e-5 by 3e-8.

    Args:
        model: An ``onnx.ModelProto`` in float32; left as it is.
    """
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    casts = []
    for tensor in list(graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < _LEAST_SIZE:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        if not np.abs(values).max() <= _LARGEST:
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}/half"))
        casts.append(
            onnx.helper.make_node(
                "Cast", [f"{name}/half"], [name], f"{name}/cast", to=onnx.TensorProto.FLOAT
            )
        )
    replace(graph, [*casts, *graph.node])
    return result
