"""int8 that TensorRT would misread.

TensorRT has no unsigned numbers on GPUs. Its parser takes a pair whose zero point is unsigned and 0
for a signed one, with a warning: everything above 127 is cut off, and the answers are wrong. So the
builder looks for such pairs itself. Graphs that `crosscam build` writes for GPUs have none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from crosscam_deploy.precision.rewriting import constants

_PAIR = ("QuantizeLinear", "DequantizeLinear")


def unsigned_pairs(model: Any) -> list[str]:
    """Return the names of nodes that quantise to unsigned numbers or around another zero than 0.

    Args:
        model: An ``onnx.ModelProto``.
    """
    import onnx

    known = constants(model.graph)
    found: list[str] = []
    written: set[str] = set()
    for node in model.graph.node:
        if node.op_type not in _PAIR:
            continue
        given = _zero(node)
        if given:
            zero = known.get(given)
            wrong = (
                zero is None
                or zero.data_type == onnx.TensorProto.UINT8
                or bool(onnx.numpy_helper.to_array(zero).astype(np.float32).any())
            )
        elif node.op_type == "QuantizeLinear":
            wrong = True  # uint8 is what the standard then makes of floats
        else:  # of the type of what it reads
            kept = known.get(node.input[0])
            unsigned = kept is not None and kept.data_type == onnx.TensorProto.UINT8
            wrong = unsigned or node.input[0] in written
        if wrong:
            found.append(node.name or node.output[0])
            written.update(node.output)
    return found


def _zero(node: Any) -> str:
    return str(node.input[2]) if len(node.input) > 2 else ""
