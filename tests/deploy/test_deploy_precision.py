"""Graphs in fewer bits: ranges, Q/DQ graphs, the search for what may not be quantised."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from precision_parts import cosines, network, pictures

from crosscam_deploy.precision.loss import Limits, lost
from crosscam_deploy.precision.observe import Observed, observe, outputs
from crosscam_deploy.precision.quantiser import Quantiser, quantisable
from crosscam_deploy.precision.ranges import METHODS, bounds, centred
from crosscam_deploy.precision.rewriting import named
from crosscam_deploy.precision.search import search
from crosscam_deploy.precision.sensitivity import Sensitivity, fewest_kept, sweep
from crosscam_deploy.verify.answers import Inputs
from crosscam_kernels.errors import InputError

RNG = np.random.default_rng(0)


def inputs(batch: np.ndarray) -> Inputs:
    return Inputs(batch, (), np.tile(batch.shape[:1:-1], (len(batch), 1)))


def seen(values: np.ndarray) -> Observed:
    """Observe `(N, K)` values."""
    found = Observed(values.min(1).astype(float), values.max(1).astype(float))
    found.add(values)
    return found


@pytest.fixture
def bundle_of(tmp_path, make):
    def pack(model: onnx.ModelProto, name: str = "net"):
        file = tmp_path / f"{name}.onnx"
        onnx.save(model, file)
        return make.pack_embedder(tmp_path / name, file, name=name)

    return pack


class TestRanges:
    @given(
        st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=40),
        st.sampled_from(METHODS),
    )
    def test_ranges_hold_zero_and_nothing_that_was_not_seen(self, values, method):
        found = seen(np.array([values, values[::-1]], np.float32))
        low, high = bounds(found, method)
        least, most = found.range
        assert min(least, 0) - 1e-6 <= low <= 0 <= high <= max(most, 0) + 1e-6
        below, above = centred(low, high)
        assert below <= low
        assert above >= high
        assert below in (-above, 0)

    def test_an_outlier_costs_some_methods_little(self):
        values = np.random.default_rng(0).normal(size=(50, 2000)).astype(np.float32)
        values[7, 0] = 100.0
        found = seen(values)
        assert bounds(found, "minmax")[1] == 100
        assert bounds(found, "average")[1] < 6
        assert bounds(found, "percentile")[1] < 5

    def test_least_squared_error_has_the_least(self):
        values = np.random.default_rng(0).laplace(size=(20, 5000)).astype(np.float32)
        found = seen(values)

        def error(low: float, high: float) -> float:
            step = (high - low) / 255
            return float(np.square(np.clip(values, low, high) - values).mean() + step**2 / 12)

        errors = {method: error(*bounds(found, method)) for method in METHODS}
        assert errors["mse"] == pytest.approx(min(errors.values()), rel=0.02)
        assert errors["mse"] < 0.85 * errors["minmax"]

    def test_constants_have_a_range(self):
        for value in (0.0, 5.0, -5.0):
            found = seen(np.full((3, 10), value, np.float32))
            for method in METHODS:
                low, high = bounds(found, method)
                assert low <= 0 <= high
                assert np.isfinite([low, high]).all()


class TestInt8:
    def quantised(self, model, batch, **options):
        prepared = named(model)
        found = observe(prepared, sorted(set(quantisable(prepared).values())), batch)
        return Quantiser(prepared, found).graph("minmax", **{"symmetric": True, **options})

    @pytest.mark.parametrize("symmetric", [True, False])
    def test_answers_stay(self, symmetric):
        model, batch = network(), pictures()
        graph = self.quantised(model, batch, symmetric=symmetric)
        onnx.checker.check_model(graph, full_check=True)
        found = Counter(node.op_type for node in graph.graph.node)
        assert (found["QuantizeLinear"], found["DequantizeLinear"]) == (4, 8)
        types = {each.name: each.data_type for each in graph.graph.initializer}
        assert sum(kind == TensorProto.INT8 for kind in types.values()) == 8
        assert not {"w1", "w2", "w3", "w4"} & set(types)
        was, becomes = (outputs(each, ["embedding"], batch)[0] for each in (model, graph))
        assert cosines(was, becomes).min() > 0.999
        assert not np.array_equal(was, becomes)

    def test_the_model_given_stays_as_it_is(self):
        model = network()
        before = model.SerializeToString()
        self.quantised(model, pictures())
        assert model.SerializeToString() == before

    def test_kept_nodes_stay_float(self):
        graph = self.quantised(network(), pictures(), keep=("one", "three"))
        inputs_of = {node.name: list(node.input) for node in graph.graph.node}
        assert inputs_of["one"] == ["images", "w1"]
        assert inputs_of["three"] == ["c", "w3"]
        assert inputs_of["two"][0] == "a/restored"
        everything = self.quantised(network(), pictures(), keep=("one", "two", "three", "four"))
        assert not any("Quantize" in node.op_type for node in everything.graph.node)

    def test_both_engines_agree_on_it(self, bundle_of):
        from crosscam_deploy.runtime import open_runtime

        batch = pictures()
        bundle = bundle_of(self.quantised(network(), batch))
        rows = []
        for engine in ("openvino", "onnxruntime"):
            with open_runtime(bundle, runtime=engine, precision="f32") as runtime:
                rows.append(runtime.infer(batch)[0])
        assert cosines(*rows).min() > 0.999

    def test_products_of_both_orders_and_weights_in_nodes(self):
        weights = RNG.normal(size=(8, 3)).astype(np.float32) * np.arange(1, 9)[:, None]
        nodes = [
            helper.make_node("GlobalAveragePool", ["images"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node(
                "Constant", [], ["w"], value=numpy_helper.from_array(weights.astype(np.float32))
            ),
            helper.make_node("Gemm", ["f", "w"], ["embedding"], transB=1),
        ]
        graph = helper.make_graph(
            nodes,
            "product",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 32, 16])],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 8])],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        result = self.quantised(model, pictures())
        onnx.checker.check_model(result, full_check=True)
        assert not any(node.op_type == "Constant" for node in result.graph.node)
        scale = next(each for each in result.graph.initializer if each.name == "w/0/scale")
        assert scale.dims == [8]  # one for each output
        was, becomes = (outputs(each, ["embedding"], pictures())[0] for each in (model, result))
        assert np.abs(was - becomes).max() < 0.02 * np.abs(was).max()

    def test_dead_channels_do_not_become_noise(self):
        model = network()
        for tensor in model.graph.initializer:
            if tensor.name == "w1":
                values = numpy_helper.to_array(tensor).copy()
                values[0], values[1] = 0.0, 1e-42
                tensor.CopyFrom(numpy_helper.from_array(values, "w1"))
        batch = pictures()
        was, becomes = (
            outputs(each, ["embedding"], batch)[0] for each in (model, self.quantised(model, batch))
        )
        assert cosines(was, becomes).min() > 0.999


class TestSearch:
    def test_a_plain_network_is_quantised_whole(self, bundle_of):
        bundle = bundle_of(network())
        (found,) = search(bundle, inputs(pictures(32)))
        assert found.precision == "int8"
        assert found.loss <= 1
        assert found.loss == min(found.tried.values())
        assert found.sensitivity == ()

    def test_the_node_that_breaks_it_is_found_and_left_in_float(self, bundle_of):
        bundle = bundle_of(network(outlier=3e3))
        found = search(bundle, inputs(pictures(32)))[0]
        assert min(found.tried.values()) > 1  # however the ranges are chosen
        assert found.sensitivity[0].node == "two"
        assert found.kept == ("two",)
        assert found.precision == "mixed"
        assert found.loss <= 1

    def test_what_cannot_be_quantised_is_said(self, bundle_of):
        whole = bundle_of(network())
        with pytest.raises(InputError, match="7 pictures"):
            search(whole, inputs(pictures(7)))
        prepared = named(network())
        graph = Quantiser(
            prepared, observe(prepared, sorted(set(quantisable(prepared).values())), pictures())
        ).graph("minmax", symmetric=True)
        with pytest.raises(InputError, match="quantised already"):
            search(bundle_of(graph, "again"), inputs(pictures()))

    @given(st.lists(st.floats(0.001, 0.4), min_size=2, max_size=40))
    def test_as_few_as_possible_stay_float(self, costs):
        nodes = [f"n{k}" for k in range(len(costs))]
        cost = dict(zip(nodes, costs, strict=True))

        def loss(keep):
            return sum(cost[node] for node in nodes if node not in keep)

        ranked = sweep(nodes, loss)
        assert [each.loss for each in ranked] == pytest.approx(sorted(costs, reverse=True))
        found = fewest_kept(ranked, loss)
        least = next(
            (
                count
                for count in range(1, len(nodes) // 2 + 1)
                if loss([each.node for each in ranked[:count]]) <= 1
            ),
            None,
        )
        assert (None if found is None else len(found)) == least

    def test_nothing_to_leave(self):
        assert fewest_kept([Sensitivity("only", 9.0)], lambda _: 9.0) is None


class TestLoss:
    def test_numbers_that_are_none_are_a_whole_loss(self, bundle_of):
        bundle = bundle_of(network())
        rows = RNG.normal(size=(4, 8)).astype(np.float32)
        batch = inputs(pictures(4))
        assert lost(bundle, batch, [rows], [rows]) == pytest.approx(0, abs=1e-6)
        assert lost(bundle, batch, [rows], [-rows]) == pytest.approx(2)
        broken = rows.copy()
        broken[1, 2] = np.nan
        assert lost(bundle, batch, [rows], [broken]).tolist() == [1, 1, 1, 1]

    def test_limits_ask_for_the_mean_and_the_worst(self):
        limits = Limits(mean=0.01, worst=0.1)
        assert limits.share(np.array([0.005, 0.005])) == pytest.approx(0.5)
        assert limits.share(np.array([0.0] * 99 + [0.2])) == pytest.approx(2)
