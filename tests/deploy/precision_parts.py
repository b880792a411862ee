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


def transformer(*, outlier: float = 1.0) -> onnx.ModelProto:
    """A small vision transformer of two blocks, pictures of 32 x 16 pixels to 8 tokens of 32.

    With `outlier` two channels of every normalisation are as many times as large and the weights
    that they meet as many times as small: the same network, with the outliers of trained ones.
    """
    rng = np.random.default_rng(5)
    channels, tokens, heads = 32, 8, 2
    nodes: list[onnx.NodeProto] = []
    values: dict[str, np.ndarray] = {
        "patch": rng.normal(size=(channels, 3, 8, 8)).astype(np.float32) / 8,
        "flat": np.array([0, channels, tokens], np.int64),
        "split": np.array([tokens, -1, heads, channels // heads], np.int64),
        "joined": np.array([tokens, -1, channels], np.int64),
        "places": rng.normal(size=(1, tokens, channels)).astype(np.float32),
        "root": np.array((channels // heads) ** -0.5, np.float32),
    }

    def add(op: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op, inputs, [output], f"n-{output}", **attributes))
        return output

    def norm(entering: str, name: str, readers: list[str]) -> str:
        values[f"{name}.gamma"] = np.ones(channels, np.float32)
        values[f"{name}.beta"] = rng.normal(size=channels).astype(np.float32) / 10
        for channel in (3, 17):
            values[f"{name}.gamma"][channel] *= outlier
            values[f"{name}.beta"][channel] *= outlier
            for reader in readers:
                values[reader][channel] /= outlier
        return add("LayerNormalization", [entering, f"{name}.gamma", f"{name}.beta"], name)

    add("Conv", ["images", "patch"], "cells", strides=[8, 8])
    add("Reshape", ["cells", "flat"], "rows")
    add("Transpose", ["rows"], "turned", perm=[0, 2, 1])
    stream = add("Add", ["turned", "places"], "start")
    for k in range(2):
        for name, shape in (
            ("q", (channels, channels)), ("k", (channels, channels)), ("v", (channels, channels)),
            ("out", (channels, channels)), ("up", (channels, 64)), ("down", (64, channels)),
        ):  # fmt: skip
            values[f"{k}.{name}"] = rng.normal(size=shape).astype(np.float32) / shape[0] ** 0.5
        found = norm(stream, f"{k}.first", [f"{k}.{name}" for name in "qkv"])
        first = add("Transpose", [found], f"{k}.tokens", perm=[1, 0, 2])  # as torch's attention
        turned = {"q": [1, 2, 0, 3], "k": [1, 2, 3, 0], "v": [1, 2, 0, 3]}
        for name, perm in turned.items():
            add("MatMul", [first, f"{k}.{name}"], f"{k}.{name}.all")
            add("Reshape", [f"{k}.{name}.all", "split"], f"{k}.{name}.heads")
            add("Transpose", [f"{k}.{name}.heads"], f"{k}.{name}.turned", perm=perm)
        add("Mul", [f"{k}.q.turned", "root"], f"{k}.q.scaled")
        add("MatMul", [f"{k}.q.scaled", f"{k}.k.turned"], f"{k}.likeness")
        add("Softmax", [f"{k}.likeness"], f"{k}.weights", axis=-1)
        add("MatMul", [f"{k}.weights", f"{k}.v.turned"], f"{k}.mixed")
        add("Transpose", [f"{k}.mixed"], f"{k}.back", perm=[2, 0, 1, 3])
        add("Reshape", [f"{k}.back", "joined"], f"{k}.joined")
        add("MatMul", [f"{k}.joined", f"{k}.out"], f"{k}.attended")
        add("Transpose", [f"{k}.attended"], f"{k}.batched", perm=[1, 0, 2])
        stream = add("Add", [stream, f"{k}.batched"], f"{k}.middle")
        second = norm(stream, f"{k}.second", [f"{k}.up"])
        add("MatMul", [second, f"{k}.up"], f"{k}.wide")
        add("Relu", [f"{k}.wide"], f"{k}.active")
        add("MatMul", [f"{k}.active", f"{k}.down"], f"{k}.narrow")
        stream = add("Add", [stream, f"{k}.narrow"], f"{k}.end")
    add("ReduceMean", [stream], "embedding", axes=[1], keepdims=0)
    graph = helper.make_graph(
        nodes,
        "transformer",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 32, 16])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", channels])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
