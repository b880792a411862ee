"""Weights in float16: half the file, the same network.

For processors, which compute in float32 or bf16 whatever the file holds: each large tensor of
weights is stored in half precision with a `Cast` behind it, which engines do once, on opening.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_LEAST_SIZE = 256  # numbers; smaller tensors are not worth their cast
_LARGEST = float(np.finfo(np.float16).max)


def store_half(model: Any) -> Any:
    """Return a copy whose weights are stored in float16.

    Weights beyond float16's range (65,504) stay as they are; the others are off by 5e-4 of
    themselves at most, those below 6e-5 by 3e-8.

    Args:
        model: An ``onnx.ModelProto`` in float32; left as it is.
    """
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    casts = []
    for tensor in graph.initializer:
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
    nodes = [*casts, *(type(node).FromString(node.SerializeToString()) for node in graph.node)]
    del graph.node[:]
    graph.node.extend(nodes)
    stored = {cast.output[0] for cast in casts}
    inputs = [each for each in graph.input if each.name not in stored]
    if len(inputs) != len(graph.input):  # old exporters name weights among the inputs too
        del graph.input[:]
        graph.input.extend(inputs)
    return result
