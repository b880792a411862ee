"""Graphs written for one image size, against the same network built for another."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from crosscam_deploy import resize_graph
from crosscam_deploy.bundle import load_bundle
from crosscam_deploy.manifest import Decoder
from crosscam_deploy.runtime import available_runtimes, open_runtime, verdicts
from crosscam_kernels.errors import InputError

STRIDES = (8, 16, 32)
OLD = (160, 160)
CLASSES, BINS, WIDTH = 3, 4, 8


def grid(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Anchor centres in cells `(1, 2, A)` and strides `(1, A)`, written out the slow way."""
    points, steps = [], []
    for stride in STRIDES:
        for y in range(size[0] // stride):
            for x in range(size[1] // stride):
                points.append((x + 0.5, y + 0.5))
                steps.append(stride)
    return np.array(points, np.float32).T[None], np.array([steps], np.float32)


def yolo(
    size: tuple[int, int],
    *,
    attention: bool = True,
    odd_table: bool = False,
    sizes_of_resize: bool = True,
    anchors: np.ndarray | None = None,
) -> bytes:
    """A network with the head of YOLOv8 and the attention of YOLO11, exported for one size."""
    rng = np.random.default_rng(7)
    nodes: list[Any] = []
    constants: dict[str, np.ndarray] = {}
    points, steps = grid(size)
    count = steps.shape[1]
    coarse = size[0] // 32, size[1] // 32

    def add(op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def weights(name: str, *shape: int) -> str:
        constants[name] = (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype("f4")
        return name

    def ints(name: str, *values: int) -> str:
        constants[name] = np.array(values, np.int64)
        return name

    p3 = add("Conv", ["images", weights("w3", WIDTH, 3, 8, 8)], "p3", strides=[8, 8])
    p4 = add("Conv", [p3, weights("w4", WIDTH, WIDTH, 2, 2)], "p4", strides=[2, 2])
    p5 = add("Conv", [p4, weights("w5", WIDTH, WIDTH, 2, 2)], "p5", strides=[2, 2])
    if attention:
        flat = add("Reshape", [p5, ints("to_cells", 1, WIDTH, coarse[0] * coarse[1])], "flat")
        turned = add("Transpose", [flat], "turned", perm=[0, 2, 1])
        alike = add("Softmax", [add("MatMul", [turned, flat], "logits")], "alike", axis=-1)
        mixed = add("MatMul", [flat, alike], "mixed")
        p5 = add("Reshape", [mixed, ints("to_picture", 1, WIDTH, *coarse)], "p5a")
    up = ["p5", "", "", ints("twice", 1, WIDTH, coarse[0] * 2, coarse[1] * 2)]
    if not sizes_of_resize:
        constants["double"] = np.array([1, 1, 2, 2], np.float32)
        up = ["p5", "", "double"]
    up[0] = p5
    p4 = add("Add", [p4, add("Resize", up, "up", mode="nearest")], "p4u")
    boxes, scores = [], []
    for level, feature in enumerate((p3, p4, p5)):
        for kind, channels, out in (("box", 4 * BINS, boxes), ("class", CLASSES, scores)):
            name = f"{kind}{level}"
            raw = add("Conv", [feature, weights(f"w_{name}", channels, WIDTH, 1, 1)], f"r_{name}")
            out.append(add("Reshape", [raw, ints(f"s_{name}", 1, channels, -1)], name))
    add("Concat", boxes, "boxes", axis=2)
    add("Sigmoid", [add("Concat", scores, "logits_all", axis=2)], "scores")
    add("Reshape", ["boxes", ints("to_bins", 1, 4, BINS, count)], "bins")
    add("Transpose", ["bins"], "bins_first", perm=[0, 2, 1, 3])
    constants["bin_values"] = np.arange(BINS, dtype="f4").reshape(1, BINS, 1, 1)
    add("Conv", [add("Softmax", ["bins_first"], "p", axis=1), "bin_values"], "mean")
    add("Reshape", ["mean", ints("to_sides", 1, 4, count)], "sides")
    add("Split", ["sides"], "near", axis=1)
    nodes[-1].output.append("far")
    constants["points"] = points if anchors is None else anchors
    constants["strides"] = steps * np.float32(1.5) if odd_table else steps
    constants["two"] = np.array(2, np.float32)
    low, high = add("Sub", ["points", "near"], "low"), add("Add", ["points", "far"], "high")
    centre = add("Div", [add("Add", [low, high], "sum"), "two"], "centre")
    extent = add("Sub", [high, low], "extent")
    pixels = add("Mul", [add("Concat", [centre, extent], "xywh", axis=1), "strides"], "pixels")
    add("Concat", [pixels, "scores"], "output0", axis=1)
    graph = helper.make_graph(
        nodes,
        "yolo",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *size])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 4 + CLASSES, count])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    # half of the exporters keep numbers as nodes
    for name in ("to_bins", "strides"):
        tensor = next(t for t in graph.initializer if t.name == name)
        node = helper.make_node("Constant", [], [name], value=tensor)
        graph.node.insert(0, node)
        graph.initializer.remove(tensor)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model)  # leaves sizes all over the graph
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def run(content: bytes, size: tuple[int, int]) -> np.ndarray:
    image = np.random.default_rng(1).random((1, 3, *size), np.float32)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"images": image})
    return np.asarray(answer)


def rewrite(content: bytes, new: tuple[int, int]) -> bytes | None:
    return resize_graph.rewrite(content, OLD, new, STRIDES)


def pack(make, folder, content: bytes):
    folder.mkdir(exist_ok=True)
    file = folder / "yolo.onnx"
    file.write_bytes(content)
    decoder = Decoder(kind="yolo_raw", num_classes=CLASSES, person_class=0)
    return make.pack_detector(folder / "bundle", file, decoder, size=OLD)


@pytest.mark.parametrize("options", [{}, {"attention": False}, {"sizes_of_resize": False}])
@given(rows=st.integers(1, 12), columns=st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_same_as_a_graph_built_for_the_size(options, rows, columns):
    new = rows * 32, columns * 32
    written = rewrite(yolo(OLD, **options), new)
    assert written is not None
    np.testing.assert_array_equal(run(written, new), run(yolo(new, **options), new))
    shape = onnx.load_from_string(written).graph.output[0].type.tensor_type.shape
    assert [dim.dim_value for dim in shape.dim] == [1, 4 + CLASSES, grid(new)[1].shape[1]]


def test_same_size_changes_no_number():
    content = yolo(OLD)
    written = rewrite(content, OLD)
    assert written is not None
    np.testing.assert_array_equal(run(written, OLD), run(content, OLD))


@pytest.mark.parametrize(
    "layout",
    [
        lambda points, steps: points,
        lambda points, steps: points - 0.5,
        lambda points, steps: points * steps,
        lambda points, steps: (points - 0.5) * steps,
        lambda points, steps: steps,
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_tables_in_every_layout(layout, turned):
    def table(size: tuple[int, int]) -> np.ndarray:
        points, steps = grid(size)
        value = np.asarray(layout(points[0], steps), np.float32)
        return value.T[None] if turned else value[None]

    new = (96, 224)
    tables = list(
        zip(resize_graph._tables(OLD, STRIDES), resize_graph._tables(new, STRIDES), strict=True)
    )
    before, after = grid(OLD)[1].size, grid(new)[1].size
    found = resize_graph._counterpart(table(OLD), tables, before, after)
    np.testing.assert_array_equal(found, table(new))
    broken = table(OLD)
    broken[0, 0, -1] += 1e-3
    assert resize_graph._counterpart(broken, tables, before, after) is None


def test_a_number_that_is_not_understood_is_refused():
    assert rewrite(yolo(OLD, odd_table=True), (96, 160)) is None


class TestComparison:
    """What a wrong rewriting would look like."""

    new = (96, 160)

    def test_accepts_the_right_graph(self, make, tmp_path):
        bundle = pack(make, tmp_path, yolo(OLD))
        assert resize_graph.agrees(bundle, yolo(self.new), self.new)

    def test_refuses_anchors_of_another_order(self, make, tmp_path):
        bundle = pack(make, tmp_path, yolo(OLD))
        points, _ = grid(self.new)
        for wrong in (points[:, ::-1].copy(), points[:, :, ::-1].copy(), np.zeros_like(points)):
            assert not resize_graph.agrees(bundle, yolo(self.new, anchors=wrong), self.new)

    def test_refuses_mixed_up_channels(self, make, tmp_path):
        bundle = pack(make, tmp_path, yolo(OLD))
        model = onnx.load_from_string(yolo(self.new))
        for tensor in model.graph.initializer:
            if tensor.name.startswith("w_class"):
                value = numpy_helper.to_array(tensor)[:, ::-1].copy()
                tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
        assert not resize_graph.agrees(bundle, model.SerializeToString(), self.new)

    def test_refuses_what_does_not_run_or_has_other_anchors(self, make, tmp_path):
        bundle = pack(make, tmp_path, yolo(OLD))
        assert not resize_graph.agrees(bundle, yolo((96, 192)), self.new)
        assert not resize_graph.agrees(bundle, b"no graph", self.new)


class TestEngines:
    new = (64, 224)

    @pytest.mark.parametrize("engine", available_runtimes())
    def test_runs_at_the_size(self, make, tmp_path, engine):
        bundle = pack(make, tmp_path, yolo(OLD))
        images = np.random.default_rng(3).random((3, 3, *self.new), np.float32)
        for _ in range(2):  # written anew, then from the cache
            with open_runtime(
                bundle, runtime=engine, precision="f32", input_size=self.new
            ) as runtime:
                assert runtime.input_size == self.new
                (answer,) = runtime.infer(images)
        session = onnxruntime.InferenceSession(yolo(self.new), providers=["CPUExecutionProvider"])
        alone = [session.run(None, {"images": image[None]})[0][0] for image in images]
        np.testing.assert_allclose(answer, alone, atol=1e-3)

    def test_is_written_once(self, make, tmp_path, monkeypatch):
        bundle = pack(make, tmp_path, yolo(OLD))
        first = resize_graph.resized(bundle, self.new)
        monkeypatch.setattr(resize_graph, "rewrite", None)
        assert resize_graph.resized(load_bundle(bundle.path), self.new) == first

    @pytest.mark.parametrize("engine", available_runtimes())
    def test_refusal_says_what_the_graph_takes_and_is_remembered(self, make, tmp_path, engine):
        bundle = pack(make, tmp_path, yolo(OLD, odd_table=True))
        for _ in range(2):
            with pytest.raises(InputError, match="64x224") as caught:
                open_runtime(bundle, runtime=engine, input_size=self.new)
            assert "160x160" in caught.value.expected
        key = f"resized graph 1 {bundle.manifest.digest()} {self.new}"
        assert verdicts.get(key) is False

    @pytest.mark.parametrize("lazy", [False, True])
    def test_sizes_beside_the_strides_are_refused(self, make, tmp_path, lazy):
        bundle = pack(make, tmp_path, yolo(OLD))
        with pytest.raises(InputError, match="100x160"):
            open_runtime(bundle, runtime="onnxruntime", input_size=(100, 160), lazy=lazy)

    def test_lazy_keeps_no_graph_until_the_first_image(self, make, tmp_path):
        bundle = pack(make, tmp_path, yolo(OLD))
        with open_runtime(bundle, runtime="onnxruntime", input_size=self.new, lazy=True) as runtime:
            assert runtime.max_batch is None
            runtime.warm_up()
            assert runtime.max_batch == 1
