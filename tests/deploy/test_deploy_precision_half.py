"""Graphs in float16: stored, and computed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from precision_parts import cosines, network, pictures

from crosscam_deploy.precision.half import store_half, to_half
from crosscam_deploy.precision.observe import outputs
from crosscam_kernels.errors import InputError

RNG = np.random.default_rng(0)


class TestHalf:
    def test_half_the_file_and_the_same_answers(self):
        model, batch = network(), pictures()
        weights = RNG.normal(size=(16, 4000)).astype(np.float32)
        for tensor in model.graph.initializer:
            if tensor.name == "w4":
                tensor.CopyFrom(numpy_helper.from_array(weights, "w4"))
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4000
        half = store_half(model)
        onnx.checker.check_model(half, full_check=True)
        assert half.ByteSize() < 0.55 * model.ByteSize()
        was, becomes = (outputs(each, ["embedding"], batch)[0] for each in (model, half))
        assert cosines(was, becomes).min() > 0.99999

    def test_weights_beyond_its_range_stay(self):
        model = network()
        large = np.full((16, 8, 3, 3), 7e4, np.float32)
        for tensor in model.graph.initializer:
            if tensor.name == "w2":
                tensor.CopyFrom(numpy_helper.from_array(large, "w2"))
        kinds = {each.name: each.data_type for each in store_half(model).graph.initializer}
        assert kinds["w2"] == TensorProto.FLOAT
        assert kinds["w3/half"] == TensorProto.FLOAT16

    def types(self, model) -> dict[str, int]:
        typed = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
        return {each.name: each.type.tensor_type.elem_type for each in typed.value_info}

    def test_computed_in_float16_between_float32_ends(self):
        model, batch = network(), pictures()
        half = to_half(model)
        onnx.checker.check_model(half, full_check=True)
        kinds = self.types(half)
        assert {kinds[name] for name in ("a", "b", "c", "d", "e", "f")} == {TensorProto.FLOAT16}
        ends = [half.graph.input[0], half.graph.output[0]]
        assert {each.type.tensor_type.elem_type for each in ends} == {TensorProto.FLOAT}
        assert not any(
            each.data_type == TensorProto.FLOAT for each in half.graph.initializer if each.dims
        )
        was, becomes = (outputs(each, ["embedding"], batch)[0] for each in (model, half))
        assert cosines(was, becomes).min() > 0.9999
        assert not np.array_equal(was, becomes)

    def test_kept_nodes_and_large_weights_stay_float32(self):
        model = network()
        for tensor in model.graph.initializer:
            if tensor.name == "w3":
                large = np.full((16, 16, 1, 1), 7e4, np.float32)
                tensor.CopyFrom(numpy_helper.from_array(large, "w3"))
        kinds = self.types(to_half(model, keep=("two",)))
        assert (kinds["a"], kinds["b"], kinds["c"], kinds["d"]) == (
            TensorProto.FLOAT16,
            TensorProto.FLOAT,
            TensorProto.FLOAT,
            TensorProto.FLOAT,
        )

    def test_a_norm_written_out_stays_float32_with_its_small_numbers(self):
        weights = RNG.normal(size=(3, 8)).astype(np.float32)
        nodes = [
            helper.make_node("GlobalAveragePool", ["images"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("MatMul", ["f", "w"], ["x"]),
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1]),
            helper.make_node("Sub", ["x", "mean"], ["centred"]),
            helper.make_node("Mul", ["centred", "centred"], ["squared"]),
            helper.make_node("ReduceMean", ["squared"], ["variance"], axes=[1]),
            helper.make_node("Add", ["variance", "eps"], ["safe"]),
            helper.make_node("Sqrt", ["safe"], ["deviation"]),
            helper.make_node("Div", ["centred", "deviation"], ["normal"]),
            helper.make_node("MatMul", ["normal", "v"], ["embedding"]),
        ]
        graph = helper.make_graph(
            nodes,
            "norm",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 32, 16])],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 8])],
            [
                numpy_helper.from_array(weights, "w"),
                numpy_helper.from_array(RNG.normal(size=(8, 8)).astype(np.float32), "v"),
                numpy_helper.from_array(np.array([1e-9], np.float32), "eps"),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        half = to_half(model)
        onnx.checker.check_model(half, full_check=True)
        kinds = self.types(half)
        inner = ("mean", "centred", "squared", "variance", "safe", "deviation", "normal")
        assert {kinds[name] for name in inner} == {TensorProto.FLOAT}
        assert kinds["x"] == kinds["normal/half"] == TensorProto.FLOAT16
        flat = np.full((4, 3, 32, 16), 0.5, np.float32)
        flat[1:] += pictures(3)
        was, becomes = (outputs(each, ["embedding"], flat)[0] for each in (model, half))
        assert cosines(was, becomes).min() > 0.999

    def test_graphs_within_graphs_are_refused(self):
        body = helper.make_graph(
            [helper.make_node("Identity", ["a"], ["inner"])],
            "body",
            [],
            [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
        )
        model = network()
        model.graph.node.append(
            helper.make_node("If", ["yes"], ["z"], then_branch=body, else_branch=body)
        )
        with pytest.raises(InputError, match="branches or loops"):
            to_half(model)
