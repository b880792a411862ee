"""What a GPU answers in 16 bits, computed where there is none.

ONNX Runtime has no kernels for bfloat16 on processors, and runs float16 as float32 with casts of
its own, some of which it leaves out: a product that overflows there stays finite here. So the same
graph is written in float32, and every tensor that would be in 16 bits is rounded to them and back.
Products are summed up in float32, as tensor cores do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from crosscam_deploy.precision.rewriting import kinds

_EXACT = frozenset(
    {"DequantizeLinear", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Operators with nothing to round behind them: they change no number, or are part of a product."""


def emulated(model: Any) -> Any:
    """Return a graph in float32 that rounds where another is in float16 or bfloat16.

    Q/DQ pairs of int8 and fp8 stay as they are: ONNX Runtime runs them.

    Args:
        model: As from `lowering.lowered`; left as it is.
    """
    import onnx

    low = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    types = kinds(model)
    if not any(kind in low for kind in types.values()):
        return result
    graph = result.graph
    for tensor in graph.initializer:
        if tensor.data_type in low:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    nodes = []
    for node in list(graph.node):
        if node.op_type == "Constant" and node.attribute[0].t.data_type in low:
            values = onnx.numpy_helper.to_array(node.attribute[0].t).astype(np.float32)
            node.attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(values))
            nodes.append(node)
            continue
        rounded = []
        for k, name in enumerate(node.output):
            if types.get(name) in low and node.op_type not in _EXACT:
                if node.op_type != "Cast":
                    node.output[k] = f"{name}/exact"
                    rounded.append((node.output[k], name, types[name]))
                else:
                    rounded.append((node.input[0], name, types[name]))
        if node.op_type != "Cast" or not rounded:
            nodes.append(node)
        for source, name, kind in rounded:
            nodes += [
                onnx.helper.make_node("Cast", [source], [f"{name}/rounded"], to=kind),
                onnx.helper.make_node(
                    "Cast", [f"{name}/rounded"], [name], to=onnx.TensorProto.FLOAT
                ),
            ]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    return result
