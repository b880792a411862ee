"""Every model in every precision, read and built by the real TensorRT-RTX, which needs no GPU."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from engine_graphs import in_precision

from crosscam_deploy.bundle import Bundle, load_bundle
from crosscam_deploy.engines import EngineBuilder, EngineOptions, TensorRT, find_tensorrt
from crosscam_deploy.engines.manifest import EngineManifest
from crosscam_deploy.paths import packaged_dir
from crosscam_deploy.zoo import resolve
from crosscam_kernels.errors import InputError, RunError

PRECISIONS = ("f32", "f16", "bf16", "int8")
ARCHITECTURES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
TOWERS = {
    "crosscam-s": {},
    "crosscam-m": {},
    "crosscam-ibn": {},
    "RN50": {},
    "ViT-B-16": {"pooling": "own"},
    "MobileCLIP2-S0": {},
    "PE-Core-T-16-384": {"pooling": "own"},
}
SMALL = ("crosscam-s", "crosscam-m", "crosscam-ibn")
"""With two profiles; the others, which take longer, with one."""


@pytest.fixture(scope="module")
def rtx() -> TensorRT:
    pytest.importorskip("tensorrt_rtx_bindings")
    return find_tensorrt("tensorrt-rtx")


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


def in_full(manifest: EngineManifest, precision: str) -> None:
    """All convolutions and products with weights are in the precision that was asked for."""
    assert manifest.products is not None
    most = max(manifest.products, key=lambda kind: (manifest.products or {})[kind])
    assert most == precision


def those_with(precision: str, bundle: Bundle) -> tuple[str, ...]:
    """Architectures that compute in it.

    Turing has no bfloat16, and TensorRT-RTX no products of matrices in float32 for it.
    """
    if precision == "bf16" or (precision == "f32" and has_products(bundle)):
        return ARCHITECTURES[1:]
    return ARCHITECTURES


def has_products(bundle: Bundle) -> bool:
    """Whether there are products of matrices, beside convolutions."""
    graph = onnx.load(bundle.model_path, load_external_data=False).graph
    return any(node.op_type in {"Gemm", "MatMul"} for node in graph.node)


def test_the_architectures_are_those_that_it_offers(rtx: TensorRT) -> None:
    offered = [n for n in dir(rtx.module.ComputeCapability) if n.startswith("SM")]
    assert {f"{n[2:-1]}.{n[-1]}" for n in offered} == set(ARCHITECTURES)
    assert all(rtx.builds_for(each) for each in ARCHITECTURES)
    assert not rtx.builds_for("8.7")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["crosscam-reid", "crosscam-detector"])
def test_models_that_come_with_crosscam_for_all_architectures(
    rtx: TensorRT, tmp_path: Path, name: str, precision: str
) -> None:
    bundle = in_precision(load_bundle(packaged_dir() / name), precision, tmp_path / "graph")
    built = build(rtx, bundle, those_with(precision, bundle), (1, 8))
    # They are plain convolutions: all of them are in it.
    assert set(built.products or {}) == {precision}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "name", ["yolox-nano", "person-reidentification-retail-0287", "osnet_x0_25"]
)
def test_models_of_others_for_all_architectures(
    rtx: TensorRT, tmp_path: Path, real_models: Path, monkeypatch: pytest.MonkeyPatch, name: str,
    precision: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("CROSSCAM_MODELS", str(real_models))
    bundle = in_precision(resolve(name), precision, tmp_path / "graph")
    in_full(build(rtx, bundle, those_with(precision, bundle), (1, 4)), precision)


def test_float32_products_for_turing_are_refused_with_the_reason(
    rtx: TensorRT, real_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSCAM_MODELS", str(real_models))
    with pytest.raises(RunError, match=r"FP32 GEMM is not supported.*another precision"):
        build(rtx, resolve("osnet_x0_25"), ("7.5",), (1,))


def test_int8_of_the_kind_that_tensorrt_lacks_is_refused_by_name(
    rtx: TensorRT, real_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSCAM_MODELS", str(real_models))
    with pytest.raises(InputError, match="Quantize"):
        build(rtx, resolve("yolov8n-int8"), ("8.6",), (1,))


# All precisions in one test: exporting a tower takes longer than building an engine of it.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("tower", TOWERS)
def test_towers_of_the_trainer_for_all_architectures(
    rtx: TensorRT, tmp_path: Path, tower: str
) -> None:
    torch = pytest.importorskip("torch")
    from crosscam_trainer.models.build import bare_model
    from crosscam_trainer.models.export import export_bundle
    from crosscam_trainer.recipe import ModelRecipe

    torch.manual_seed(0)
    made = bare_model(ModelRecipe(tower=tower, **TOWERS[tower]))
    fields = {"licence": "Apache-2.0", "source": "test", "training": "random weights"}
    exported = export_bundle(
        made.model, made.preparation, tmp_path / "bundle", name="tower", **fields
    ).bundle
    buckets = (1, 4) if tower in SMALL else (1,)
    for precision in PRECISIONS:
        bundle = in_precision(exported, precision, tmp_path / precision)
        in_full(build(rtx, bundle, those_with(precision, bundle), buckets), precision)
