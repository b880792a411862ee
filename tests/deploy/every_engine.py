"""Engines for every architecture, built by the real TensorRT-RTX, and what they compute in."""

from __future__ import annotations

import onnx

from crosscam_deploy.bundle import Bundle
from crosscam_deploy.engines import EngineBuilder, EngineOptions, TensorRT
from crosscam_deploy.engines.manifest import EngineManifest

PRECISIONS = ("f32", "f16", "bf16", "int8", "fp8")
ARCHITECTURES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")


def build(
    rtx: TensorRT, bundle: Bundle, capabilities: tuple[str, ...], buckets: tuple[int, ...]
) -> EngineManifest:
    options = EngineOptions(buckets=buckets, capabilities=capabilities, level=0)
    built = EngineBuilder(rtx).build(bundle, options).manifest
    assert built.options.capabilities == capabilities
    assert [profile.most for profile in built.profiles] == list(
        buckets if bundle.manifest.dynamic_batch else (1,)
    )
    assert {tensor.dtype for tensor in (*built.inputs, *built.outputs)} == {"float"}
    return built


def in_full(manifest: EngineManifest, precision: str, bundle: Bundle) -> None:
    """Convolutions and products with weights are in the precision that was asked for.

    All but few, which the graph keeps float. Of fp8 there may be few, because its kernels take
    multiples of 16 channels: exactly those that the graph says.
    """
    assert manifest.products is not None
    if precision == "fp8":
        assert manifest.products["fp8"] == in_pairs(bundle)
        return
    most = max(manifest.products, key=lambda kind: (manifest.products or {})[kind])
    assert most == precision


def in_pairs(bundle: Bundle) -> int:
    """Convolutions and products that take what was quantised before."""
    nodes = onnx.load(bundle.model_path, load_external_data=False).graph.node
    dequantised = {node.output[0] for node in nodes if node.op_type == "DequantizeLinear"}
    return sum(
        node.op_type in {"Conv", "Gemm", "MatMul"} and node.input[0] in dequantised
        for node in nodes
    )


def those_with(precision: str, bundle: Bundle) -> tuple[str, ...]:
    """Architectures that compute in it.

    Turing has no bfloat16, and TensorRT-RTX no products of matrices in float32 for it; fp8 came
    with Ada.
    """
    if precision == "fp8":
        return ARCHITECTURES[3:]
    if precision == "bf16" or (precision == "f32" and has_products(bundle)):
        return ARCHITECTURES[1:]
    return ARCHITECTURES


def has_products(bundle: Bundle) -> bool:
    """Whether there are products of matrices, beside convolutions."""
    graph = onnx.load(bundle.model_path, load_external_data=False).graph
    return any(node.op_type in {"Gemm", "MatMul"} for node in graph.node)
