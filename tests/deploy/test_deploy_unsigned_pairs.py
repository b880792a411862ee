"""int8 that TensorRT would misread is found before it is built."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from fake_tensorrt import FakeTensorRT
from onnx import TensorProto, helper, numpy_helper
from precision_parts import network, pictures

from crosscam_deploy.bundle import Bundle
from crosscam_deploy.engines import Device, EngineBuilder, EngineOptions, TensorRT, find_tensorrt
from crosscam_deploy.engines.unsigned_pairs import unsigned_pairs
from crosscam_deploy.hashing import sha256_file
from crosscam_deploy.precision.observe import observe
from crosscam_deploy.precision.quantiser import OPSETS, Quantiser, quantisable
from crosscam_deploy.precision.rewriting import named
from crosscam_kernels.errors import InputError

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx_bindings") is None, reason="TensorRT-RTX not installed"
)
ORIN = Device("Orin", "8.7", "12.6")


def quantised(numbers: str) -> onnx.ModelProto:
    """The small network as processors take it (uint8), or TensorRT (int8)."""
    model = named(network(), OPSETS[numbers])
    seen = observe(model, sorted(set(quantisable(model).values())), pictures())
    rest = "f32" if numbers == "uint8" else "f16"
    return Quantiser(model, seen, numbers, rest).graph("minmax")


def pair(zero: np.ndarray | None) -> onnx.ModelProto:
    """A graph of one pair."""
    given = [] if zero is None else ["zero"]
    tensors = [numpy_helper.from_array(np.array(0.1, np.float32), "scale")]
    if zero is not None:
        tensors.append(numpy_helper.from_array(zero, "zero"))
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", *given], ["q"], "quantise"),
        helper.make_node("DequantizeLinear", ["q", "scale", *given], ["y"], "restore"),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy")
    graph = helper.make_graph(nodes, "pair", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("zero", "found"),
    [
        (np.uint8(0), ["quantise", "restore"]),
        (np.uint8(128), ["quantise", "restore"]),
        (np.int8(3), ["quantise", "restore"]),
        (None, ["quantise", "restore"]),  # the standard makes uint8 of floats
        (np.int8(0), []),
    ],
)
def test_what_tensorrt_would_misread_is_found(zero: np.ndarray | None, found: list[str]) -> None:
    assert unsigned_pairs(pair(None if zero is None else np.array(zero))) == found


def bundle_of(model: onnx.ModelProto, tiny: Bundle, folder: Path) -> Bundle:
    folder.mkdir()
    file = folder / tiny.manifest.model_file
    onnx.save(model, file)
    files = {file.name: sha256_file(file)}
    return Bundle(folder, tiny.manifest.model_copy(update={"files": files}))


def test_a_graph_that_would_be_misread_is_not_built(tiny: Bundle, tmp_path: Path) -> None:
    module = FakeTensorRT("10.16.1.11")
    builder = EngineBuilder(TensorRT("tensorrt", module, "10.16.1.11"), ORIN)
    unsigned = quantised("uint8")
    assert unsigned_pairs(unsigned)
    with pytest.raises(InputError, match="unsigned numbers or around another zero"):
        builder.build(bundle_of(unsigned, tiny, tmp_path / "unsigned"), EngineOptions(buckets=(1,)))
    assert module.networks[0].graph == b""
    signed = quantised("int8")
    assert unsigned_pairs(signed) == []
    bundle = bundle_of(signed, tiny, tmp_path / "signed")
    assert builder.build(bundle, EngineOptions(buckets=(1,))).manifest.products == {"f16": 1}


@needs_rtx
def test_the_real_parser_takes_unsigned_for_signed_and_all_signed_products_become_int8(
    tiny: Bundle, tmp_path: Path
) -> None:
    rtx = find_tensorrt("tensorrt-rtx")
    options = EngineOptions(buckets=(1, 2), capabilities=("8.6",), level=0)
    bundle = bundle_of(quantised("int8"), tiny, tmp_path / "signed")
    assert EngineBuilder(rtx).build(bundle, options).manifest.products == {"int8": 4}
    messages, trt = rtx.messages(), rtx.module
    builder = trt.Builder(messages.logger)
    made = builder.create_network(rtx.strongly_typed())
    parser = trt.OnnxParser(made, messages.logger)
    # no error: that is why the builder looks itself
    assert parser.parse(pair(np.array(0, np.uint8)).SerializeToString())
    del parser, made, builder
