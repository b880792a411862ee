"""Graphs for TensorRT: types and pairs as it takes them, judged and built without a GPU."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from precision_parts import cosines, network, pictures, transformer

from crosscam_deploy.bundle import Bundle, write_bundle
from crosscam_deploy.engines import EngineBuilder, EngineOptions, find_tensorrt
from crosscam_deploy.hashing import sha256_file
from crosscam_deploy.manifest import compute_model_id
from crosscam_deploy.precision.beyond import beyond_half
from crosscam_deploy.precision.emulation import emulated
from crosscam_deploy.precision.judge import Judge
from crosscam_deploy.precision.loss import Limits
from crosscam_deploy.precision.lowering import lowered
from crosscam_deploy.precision.observe import observe, outputs
from crosscam_deploy.precision.quantiser import SWITCHES, Quantiser, quantisable
from crosscam_deploy.precision.rewriting import named
from crosscam_deploy.precision.search import search
from crosscam_deploy.verify.answers import Inputs
from crosscam_kernels.errors import InputError, RunError

FLOAT, HALF, BF16 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16
needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx_bindings") is None, reason="TensorRT-RTX not installed"
)


def inputs(batch: np.ndarray) -> Inputs:
    return Inputs(batch, (), np.tile(batch.shape[:1:-1], (len(batch), 1)))


@pytest.fixture
def bundle_of(tmp_path, make):
    def pack(model: onnx.ModelProto, name: str = "net"):
        file = tmp_path / f"{name}.onnx"
        onnx.save(model, file)
        return make.pack_embedder(tmp_path / name, file, name=name)

    return pack


def types(model: onnx.ModelProto) -> dict[str, int]:
    typed = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    return {each.name: each.type.tensor_type.elem_type for each in typed.value_info}


def product(weights: np.ndarray) -> onnx.ModelProto:
    """Pictures' rows times weights `(96, K)`: 3 x 32 x 1 pixels."""
    nodes = [
        helper.make_node("Flatten", ["images"], ["rows"]),
        helper.make_node("MatMul", ["rows", "w"], ["embedding"], "product"),
    ]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("images", FLOAT, ["batch", 3, 32, 1])],
        [helper.make_tensor_value_info("embedding", FLOAT, ["batch", weights.shape[1]])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def drifting() -> onnx.ModelProto:
    """A network whose second convolution takes away a constant that the first has added: 300, of
    which bfloat16 only tells 2 apart."""
    model = network()
    tensors = {each.name: each for each in model.graph.initializer}
    second = numpy_helper.to_array(tensors["w2"])
    second = second - second.mean(axis=(1, 2, 3), keepdims=True)
    tensors["w2"].CopyFrom(numpy_helper.from_array(second, "w2"))
    model.graph.initializer.append(numpy_helper.from_array(np.full(8, 300, np.float32), "b1"))
    model.graph.node[0].input.append("b1")
    next(each for each in model.graph.node[1].attribute if each.name == "pads").ints[:] = [0] * 4
    return model


class TestSixteenBits:
    def test_bfloat16_between_float32_ends(self):
        model, batch = network(), pictures()
        made = lowered(model, "bf16")
        onnx.checker.check_model(made, full_check=True)
        assert made.opset_import[0].version == 22
        kinds = types(made)
        assert {kinds[name] for name in ("a", "b", "c", "d", "e", "f")} == {BF16}
        ends = [made.graph.input[0], made.graph.output[0]]
        assert {each.type.tensor_type.elem_type for each in ends} == {FLOAT}
        was, becomes = (outputs(each, ["embedding"], batch)[0] for each in (model, emulated(made)))
        assert cosines(was, becomes).min() > 0.999
        assert not np.array_equal(was, becomes)

    @pytest.mark.parametrize(
        ("kind", "numbers"), [("f16", np.float16), ("bf16", ml_dtypes.bfloat16)]
    )
    def test_emulated_is_what_the_types_say(self, kind, numbers):
        rng = np.random.default_rng(0)
        weights = rng.normal(size=(96, 8)).astype(np.float32)
        batch = rng.normal(size=(4, 3, 32, 1)).astype(np.float32)
        found = outputs(emulated(lowered(product(weights), kind)), ["embedding"], batch)[0]
        rows = batch.reshape(4, -1).astype(numbers).astype(np.float64)
        exact = rows @ weights.astype(numbers).astype(np.float64)
        expected = exact.astype(np.float32).astype(numbers).astype(np.float32)
        # sums in float32 may fall on the other side of a step
        step = float(ml_dtypes.finfo(numbers).eps)
        assert (found == expected).mean() > 0.9
        assert np.abs(found - expected).max() <= step * np.abs(expected).max()

    def test_what_float16_cannot_hold_is_seen_and_left_in_float32(self, bundle_of):
        model, batch = network(outlier=1e6), pictures(16)
        broken = outputs(emulated(lowered(model, "f16")), ["embedding"], batch)[0]
        assert not np.isfinite(broken).all()
        assert beyond_half(named(model), batch) == ("one", "two")
        (found,) = search(bundle_of(model), inputs(batch), precision="f16")
        assert (found.precision, found.kept) == ("f16", ("one", "two"))
        assert found.loss <= 1
        kinds = types(found.model)
        assert (kinds["a"], kinds["d"]) == (FLOAT, HALF)

    def test_what_bfloat16_is_too_coarse_for_is_found_by_trying(self, bundle_of):
        found = search(bundle_of(drifting()), inputs(pictures(16)), precision="bf16")[0]
        assert found.tried["bfloat16"] > 1 >= found.loss
        assert set(found.kept) == {"one", "two"}
        assert {each.node for each in found.sensitivity[:2]} == {"one", "two"}
        assert types(found.model)["d"] == BF16
        plain = search(bundle_of(network(), "plain"), inputs(pictures(16)), precision="bf16")
        assert [each.kept for each in plain] == [()]

    def test_a_division_by_a_constant_is_lowered_and_no_other(self):
        rng = np.random.default_rng(0)
        model = product(rng.normal(size=(96, 8)).astype(np.float32))
        model.graph.node[1].output[0] = "x"
        model.graph.initializer.append(numpy_helper.from_array(np.array(2, np.float32), "two"))
        model.graph.node.extend(
            (
                helper.make_node("Div", ["x", "two"], ["half"]),
                helper.make_node("Div", ["half", "x"], ["embedding"]),
            )
        )
        kinds = types(lowered(model, "f16"))
        assert kinds["half"] == HALF
        assert "embedding/half" not in kinds


class TestPairs:
    def quantiser(self, numbers, *, model=None, rest="f16"):
        model = named(model or network(), 19)
        nodes = quantisable(model, numbers)
        return Quantiser(
            model, observe(model, sorted(set(nodes.values())), pictures()), numbers, rest
        )

    def test_int8_for_tensorrt_is_signed_around_zero_with_float16_beside_it(self):
        made = self.quantiser("int8").graph("minmax")
        onnx.checker.check_model(made, full_check=True)
        tensors = {each.name: each for each in made.graph.initializer}
        zeros = [each for name, each in tensors.items() if name.endswith("/zero")]
        assert len(zeros) == 8
        assert {each.data_type for each in zeros} == {TensorProto.INT8}
        assert not any(numpy_helper.to_array(each).any() for each in zeros)
        kinds = types(made)
        assert {kinds[name] for name in ("a", "b", "c", "d", "e", "f")} == {HALF}
        assert kinds["c/quantised"] == TensorProto.INT8
        assert kinds["c/restored"] == kinds["w3/0/restored"] == HALF
        # the same number in both types: what is rounded is restored by what it was divided by
        pair = [numpy_helper.to_array(tensors[n]) for n in ("images/scale", "images/scale/half")]
        assert float(pair[0]) == float(pair[1]) > 0
        batch = pictures()
        was, becomes = (outputs(g, ["embedding"], batch)[0] for g in (network(), emulated(made)))
        assert cosines(was, becomes).min() > 0.999

    def test_fp8_is_what_the_type_says(self):
        rng = np.random.default_rng(0)
        weights = rng.normal(size=(96, 8)).astype(np.float32) * np.arange(1, 9, dtype=np.float32)
        model = product(weights)
        batch = rng.normal(size=(8, 3, 32, 1)).astype(np.float32)
        model = named(model, 19)
        made = Quantiser(model, observe(model, ["rows"], batch), "fp8").graph("minmax")
        onnx.checker.check_model(made, full_check=True)
        batch[0, 0, 0, 0] = 50.0  # beyond what was seen: the largest number, not none
        found = outputs(emulated(made), ["embedding"], batch)[0]

        def rounded(values, scale):
            cut = np.clip(values / scale, -448, 448)
            return cut.astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * scale

        scale = {each.name: numpy_helper.to_array(each) for each in made.graph.initializer}
        assert scale["w/1/scale"] == pytest.approx(np.abs(weights).max(0) / 448, rel=1e-6)
        rows = rounded(batch.reshape(8, -1), scale["rows/scale"])
        expected = rows @ rounded(weights, scale["w/1/scale"])
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)
        assert np.isfinite(found).all()

    def test_fp8_where_there_are_kernels_for_it(self, bundle_of):
        assert set(quantisable(named(network()), "fp8")) == {"three", "four"}  # multiples of 16
        (found,) = search(bundle_of(network()), inputs(pictures(16)), precision="fp8")
        assert found.precision == "fp8"
        kinds = {each.data_type for each in found.model.graph.initializer}
        assert TensorProto.FLOAT8E4M3FN in kinds
        with pytest.raises(InputError, match="multiples of 16 channels"):
            search(
                bundle_of(network_without_products(), "narrow"),
                inputs(pictures(16)),
                precision="fp8",
            )

    def test_switches_tell_what_graphs_would_lose(self, bundle_of):
        model = named(network(outlier=3e3))
        batch = inputs(pictures(16))
        judge = Judge(bundle_of(network(outlier=3e3)), model, batch, Limits(mean=1e-3, worst=1e-2))
        quantiser = self.quantiser("uint8", model=model, rest="f32")
        names = list(quantiser.nodes)
        loss = judge.by_switches(quantiser.switched("minmax"), SWITCHES, names)
        for keep in ((), ("two",), ("one", "three"), tuple(names)):
            real = judge.loss(quantiser.graph("minmax", keep=keep))
            assert loss(keep) == pytest.approx(real, rel=0.05, abs=0.02)

    def test_mixed_for_tensorrt(self, bundle_of):
        found = search(bundle_of(network(outlier=3e3)), inputs(pictures(32)), engine="tensorrt")[0]
        assert (found.precision, found.kept) == ("mixed", ("two",))
        assert found.loss <= 1
        reads = {node.name: list(node.input) for node in found.model.graph.node}
        assert reads["two"] == ["a", "w2/half"]
        assert reads["three"][0] == "c/restored"


def network_without_products() -> onnx.ModelProto:
    """One convolution from 3 channels, pooled."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["a"], "one"),
        helper.make_node("GlobalAveragePool", ["a"], ["p"]),
        helper.make_node("Flatten", ["p"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "narrow",
        [helper.make_tensor_value_info("images", FLOAT, ["batch", 3, 32, 16])],
        [helper.make_tensor_value_info("embedding", FLOAT, ["batch", 16])],
        [numpy_helper.from_array(rng.normal(size=(16, 3, 3, 3)).astype(np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def made_of(source: Bundle, model: onnx.ModelProto, folder: Path) -> Bundle:
    """Write a bundle without opening it: ONNX Runtime takes neither bfloat16 nor fp8 products."""
    file = folder / "made.onnx"
    onnx.save(model, file)
    files = {source.manifest.model_file: sha256_file(file)}
    said = source.manifest
    model_id = compute_model_id(
        task=said.task,
        files=files,
        output_names=said.output_names,
        preprocessing=said.preprocessing,
        decoder=said.decoder,
    )
    manifest = said.model_copy(update={"files": files, "model_id": model_id})
    return write_bundle(folder / "made", manifest, {said.model_file: file})


@needs_rtx
@pytest.mark.parametrize("net", [network, transformer])
@pytest.mark.parametrize("precision", ["int8", "fp8", "f16", "bf16"])
def test_every_precision_builds_in_tensorrt_rtx(precision, net, bundle_of, tmp_path):
    source = bundle_of(net())
    (found,) = search(
        source,
        inputs(pictures(8)),
        precision=precision,
        engine="tensorrt",
        limits=Limits(mean=0.5, worst=1),
    )
    bundle = made_of(source, found.model, tmp_path)
    builder = EngineBuilder(find_tensorrt("tensorrt-rtx"))
    where = ("8.9", "12.0") if precision == "fp8" else ("8.6", "12.0")
    options = EngineOptions(buckets=(1, 8), capabilities=where, level=0)
    assert builder.build(bundle, options).manifest.plan_bytes > 1000
    if precision == "fp8":
        with pytest.raises(RunError, match="fp8"):
            builder.build(bundle, EngineOptions(capabilities=("8.6",), level=0))
