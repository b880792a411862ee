"""Nodes whose values float16 cannot hold, found by looking at the values.

A product that exceeds 65,504 is infinite in float16, and everything behind it is lost. Left-alone
nodes do not show it where sums grow block after block, so it is looked for directly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crosscam_deploy.precision.lowering import FOLLOWING, LARGEST_HALF, LEADING
from crosscam_deploy.precision.observe import largest
from crosscam_deploy.precision.rewriting import constants, kinds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ROOM = 4.0  # other pictures have larger values than those that were seen


def beyond_half(model: Any, pictures: NDArray[np.float32]) -> tuple[str, ...]:
    """Return the nodes that read or write numbers beyond float16's range, or nearly so.

    Args:
        model: As from `rewriting.named`, in float32.
        pictures: `(N, 3, H, W)` as the model takes them.

    Returns:
        Names, in the order of the graph, of those that `lowering.lowered` would otherwise lower.
        Values count from a quarter of the largest float16 on.
    """
    import onnx

    types, fixed = kinds(model), constants(model.graph)
    touched = {
        node.name: [
            name
            for name in (*node.input, *node.output)
            if name and name not in fixed and types.get(name) == onnx.TensorProto.FLOAT
        ]
        for node in model.graph.node
        if node.op_type in LEADING | FOLLOWING
    }
    names = sorted({name for tensors in touched.values() for name in tensors})
    if not names:
        return ()
    found = largest(model, names, pictures)
    # not `>=`: numbers that are none are beyond every range
    return tuple(
        node
        for node, tensors in touched.items()
        if not all(found[name] < LARGEST_HALF / _ROOM for name in tensors)
    )
