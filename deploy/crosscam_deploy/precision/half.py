"""float16: graphs that compute in it, for GPUs, and files that store it, for processors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.precision.lowering import LARGEST_HALF, lowered
from crosscam_deploy.precision.rewriting import replace

if TYPE_CHECKING:
    from collections.abc import Collection

_LEAST_SIZE = 256  # numbers; smaller tensors are not worth their cast


def to_half(model: Any, *, keep: Collection[str] = ()) -> Any:
    """Return a copy that computes in float16, its norms and softmax in float32.

    Inputs and outputs stay float32. Nodes with weights beyond float16's range (65,504) stay too.
    Whether values of others exceed it is not known here: see `search`.

    Args:
        model: An ``onnx.ModelProto`` in float32; left as it is.
        keep: Names of nodes that stay float32 (as `rewriting.named` names them).

    Raises:
        InputError: The graph has branches or loops, which are graphs of their own.
    """
    return lowered(model, "f16", keep=keep)


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
        if not np.abs(values).max() <= LARGEST_HALF:
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
