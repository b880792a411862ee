"""A small network, pictures for it, and how alike answers are, for tests of precision."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def pictures(count: int = 16, size: tuple[int, int] = (32, 16)) -> np.ndarray:
    """Blocks of colour and a little noise."""
    coarse = np.random.default_rng(1).random((count, 3, 4, 2), np.float32)
    scale = (size[0] // 4, size[1] // 2)
    blocks = coarse.repeat(scale[0], 2).repeat(scale[1], 3)
    return blocks + 0.1 * np.random.default_rng(2).random(blocks.shape, np.float32)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def network(*, outlier: float = 0.0) -> onnx.ModelProto:
    """Three convolutions and a product. With `outlier` the second one's input has values as large
    in a channel that hardly matters, so that int8 has no steps left for the others."""
    rng = np.random.default_rng(3)
    first, second, third = (
        rng.normal(size=shape).astype(np.float32) / 6
        for shape in ((8, 3, 3, 3), (16, 8, 3, 3), (16, 16, 1, 1))
    )
    if outlier:
        first[0] *= outlier
        second[:, 0] /= 1e3 * outlier
    weights = {"w1": first, "w2": second, "w3": third}
    weights["w4"] = rng.normal(size=(16, 8)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["images", "w1"], ["a"], "one", pads=[1] * 4),
        helper.make_node("Conv", ["a", "w2"], ["b"], "two", pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "w3"], ["d"], "three"),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("MatMul", ["f", "w4"], ["embedding"], "four"),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 32, 16])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 8])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
