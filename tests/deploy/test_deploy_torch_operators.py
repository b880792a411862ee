"""Each operator that the torch runtime knows, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

torch = pytest.importorskip("torch")

from crosscam_deploy.runtime import torch_operators, torch_program  # noqa: E402
from crosscam_kernels.errors import InputError  # noqa: E402

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 4, 6, 8)).astype(np.float32)


def numbers(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def node(op: str, *constants: Any, opset: int = 18, **attributes: Any) -> Any:
    """The images, then constants, into one node; a name alone is an input that is left out."""
    return [(op, constants, attributes)], opset


def chain(*nodes: tuple[str, tuple[Any, ...], dict[str, Any]], opset: int = 18) -> Any:
    return list(nodes), opset


POSITIVE = chain(("Abs", (), {}), ("Sqrt", (), {}))
POOL = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
SIZES = chain(
    ("Shape", (), {}),
    ("Gather", (ints(0, 2, 3),), {}),
    ("Slice", (ints(1), ints(2**31)), {}),
    ("Mul", (ints(3, 5),), {}),
    ("Sub", (ints(1, 1),), {}),
    ("Add", (ints(2, 2),), {}),
    ("Div", (ints(2, 2),), {}),
    ("Cast", (), {"to": TensorProto.INT64}),
    ("Concat", (ints(7),), {"axis": 0}),
    ("Identity", (), {}),
    ("Gather", (np.array(0),), {}),
    ("Unsqueeze", (ints(0),), {}),
    ("Reshape", (ints(-1),), {}),
    ("Squeeze", (ints(0),), {}),
    ("Unsqueeze", (ints(0),), {}),
    ("Expand", (ints(3),), {}),
    ("Cast", (), {"to": TensorProto.FLOAT}),
)
CASES: dict[str, Any] = {
    "Abs": node("Abs"),
    "Add": node("Add", numbers(4, 1, 1)),
    "AveragePool": node("AveragePool", **POOL),
    "AveragePool with its padding": node("AveragePool", **POOL, count_include_pad=1),
    "AveragePool, rounded up": node(
        "AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, pads=[0, 0, 0, 0]
    ),
    "BatchNormalization": node(
        "BatchNormalization", numbers(4), numbers(4), numbers(4), numbers(4) ** 2, epsilon=1e-3
    ),
    "Cast": node("Cast", to=TensorProto.DOUBLE),
    "Clip": node("Clip", np.float32(-0.5), np.float32(0.5)),
    "Clip from below": node("Clip", np.float32(-0.5)),
    "Clip as it was": node("Clip", opset=6, min=-0.5, max=0.5),
    "Concat": node("Concat", numbers(2, 3, 6, 8), axis=1),
    "Conv": node("Conv", numbers(6, 2, 3, 3), numbers(6), group=2, pads=[1, 1, 1, 1]),
    "Conv, one side padded": node("Conv", numbers(6, 4, 3, 3), pads=[0, 1, 1, 0], strides=[2, 1]),
    "Conv, dilated": node("Conv", numbers(6, 4, 3, 3), dilations=[2, 2]),
    "Div": node("Div", np.abs(numbers(8)) + 1),
    "Div of whole numbers": chain(
        ("Mul", (np.float32(10),), {}),
        ("Cast", (), {"to": TensorProto.INT64}),
        ("Div", (ints(3),), {}),
    ),
    "Dropout": node("Dropout"),
    "Erf": node("Erf"),
    "Exp": node("Exp"),
    "Expand": chain(
        ("ReduceMean", (ints(1),), {"keepdims": 1}), ("Expand", (ints(1, 3, 1, 1),), {})
    ),
    "Flatten": node("Flatten"),
    "Flatten at 2": node("Flatten", axis=2),
    "Gather": node("Gather", ints(2, -1, 0), axis=3),
    "Gather one": node("Gather", np.array(-1), axis=1),
    "Gelu": node("Gelu", opset=20),
    "Gelu by tanh": node("Gelu", opset=20, approximate="tanh"),
    "Gemm": chain(
        ("Flatten", (), {}),
        ("Gemm", (numbers(5, 192), numbers(5)), {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    ),
    "GlobalAveragePool": node("GlobalAveragePool"),
    "GlobalMaxPool": node("GlobalMaxPool"),
    "HardSigmoid": node("HardSigmoid", alpha=0.3),
    "HardSwish": node("HardSwish"),
    "Identity": node("Identity"),
    "InstanceNormalization": node("InstanceNormalization", numbers(4), numbers(4)),
    "LayerNormalization": node("LayerNormalization", numbers(8), numbers(8)),
    "LayerNormalization of two axes": node("LayerNormalization", numbers(6, 8), axis=2),
    "LeakyRelu": node("LeakyRelu", alpha=0.2),
    "LpNormalization": node("LpNormalization", axis=1),
    "MatMul": node("MatMul", numbers(8, 5)),
    "MaxPool": node("MaxPool", **POOL),
    "MaxPool, padded a lot": node(
        "MaxPool", kernel_shape=[3, 3], pads=[0, 2, 1, 0], strides=[1, 1]
    ),
    "Mul": node("Mul", numbers(1, 4, 1, 1)),
    "Neg": node("Neg"),
    "PRelu": node("PRelu", numbers(4, 1, 1)),
    "Pad": node("Pad", ints(0, 0, 1, 0, 0, 0, 0, 2), np.float32(3)),
    "Pad as it was": node("Pad", opset=9, pads=[0, 0, 1, 0, 0, 0, 0, 2], value=2.0),
    "Pow": node("Pow", np.float32(2)),
    "Reciprocal": node("Reciprocal"),
    "ReduceL2": node("ReduceL2", ints(1), keepdims=1),
    "ReduceMax": node("ReduceMax", ints(2, 3), keepdims=0),
    "ReduceMean": node("ReduceMean", ints(-1)),
    "ReduceMean as it was": node("ReduceMean", opset=13, axes=[2, 3], keepdims=0),
    "ReduceMin": node("ReduceMin", ints(1)),
    "ReduceSum": node("ReduceSum"),
    "Relu": node("Relu"),
    "Reshape": node("Reshape", ints(0, -1, 2)),
    "Resize": node(
        "Resize", np.float32([]), np.float32([1, 1, 2, 3]), mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    ),
    "Resize to a size": node(
        "Resize", np.float32([]), np.float32([]), ints(2, 4, 9, 13), mode="linear",
    ),
    "Shape": SIZES,
    "Sigmoid": node("Sigmoid"),
    "Slice": node("Slice", ints(1, 0), ints(2**63 - 1, -1), ints(2, 3), ints(2, 1)),
    "Slice of two axes": node("Slice", ints(0, 1), ints(2, 3)),
    "Softmax": node("Softmax", axis=1),
    "Split": node("Split", ints(1, 3), axis=1),
    "Split evenly": node("Split", axis=2, num_outputs=2),
    "Sqrt": POSITIVE,
    "Squeeze": chain(
        ("ReduceMean", (ints(1, 2),), {"keepdims": 1}), ("Squeeze", (ints(1, 2),), {})
    ),
    "Sub": node("Sub", numbers(8)),
    "Tanh": node("Tanh"),
    "Transpose": node("Transpose", perm=[0, 2, 3, 1]),
    "Unsqueeze": node("Unsqueeze", ints(1, -1)),
}  # fmt: skip


def graph(nodes: Any, opset: int) -> Any:
    """A graph of a case, in which each node takes the first output of the one before."""
    made, initializers, last = [], [], "images"
    for place, (op, constants, attributes) in enumerate(nodes):
        names = [f"c{place}_{k}" for k in range(len(constants))]
        initializers += [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in zip(names, constants, strict=True)
        ]
        outputs = [f"y{place}"]
        if op == "Split":
            outputs.append(f"z{place}")
        if op == "Resize":  # a region is only for one mode
            names[0] = ""
            names = names[:2] if len(names) == 2 else [names[0], "", names[2]]
        made.append(helper.make_node(op, [last, *names], outputs, **attributes))
        last = outputs[0]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 4, 6, 8])
    answers = [helper.make_empty_tensor_value_info(name) for name in made[-1].output]
    built = helper.make_graph(made, "case", [image], answers, initializers)
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def in_torch(model: Any, images: np.ndarray) -> list[np.ndarray]:
    names = [output.name for output in model.graph.output]
    network = torch_program._network(torch, model, names).eval()
    with torch.inference_mode():
        return [np.asarray(each) for each in network(torch.from_numpy(images))]


@pytest.mark.parametrize("case", CASES)
def test_answers_are_those_of_onnx_runtime(case: str) -> None:
    model = graph(*CASES[case])
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"images": IMAGES})
    found = in_torch(model, IMAGES)
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.shape == theirs.shape
        assert mine.dtype == theirs.dtype
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)


def test_every_operator_has_a_case() -> None:
    used = {op for nodes, _ in CASES.values() for op, _, _ in nodes}
    assert used == torch_operators.KNOWN


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (node("Selu"), "does not know the operator Selu"),
        (node("Conv", numbers(6, 4, 3, 3), auto_pad="SAME_UPPER"), "auto_pad"),
        (node("Pad", ints(0, 0, 1, 1, 0, 0, 1, 1), mode="reflect"), "another mode than constant"),
        (node("Slice", ints(5), ints(0), ints(2), ints(-1)), "a step backwards"),
        (node("MaxPool", kernel_shape=[3]), "another number of axes"),
        (
            node("Resize", np.float32([]), np.float32([1, 1, 1.5, 1.5]), mode="nearest"),
            "nearest, half_pixel",
        ),
        (node("Softmax", axis=1, opset=11), "before opset 13"),
        (node("Cast", to=TensorProto.STRING), "into the type"),
    ],
)
def test_what_is_not_carried_over_is_refused(case: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        in_torch(graph(*case), IMAGES)


def test_operators_of_other_domains_are_refused() -> None:
    model = graph(*node("Relu"))
    model.graph.node[0].domain = "com.microsoft"
    with pytest.raises(InputError, match=r"of com\.microsoft"):
        in_torch(model, IMAGES)
