"""Every model in every precision, read and built by the real TensorRT-RTX, which needs no GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_graphs import in_precision
from every_engine import ARCHITECTURES, PRECISIONS, build, in_full, those_with

from crosscam_deploy.bundle import load_bundle
from crosscam_deploy.engines import TensorRT
from crosscam_deploy.paths import packaged_dir
from crosscam_deploy.zoo import resolve
from crosscam_kernels.errors import InputError, RunError


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
    in_full(built, precision, bundle)
    if precision != "fp8":  # They are plain convolutions: all of them are in it.
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
    in_full(build(rtx, bundle, those_with(precision, bundle), (1, 4)), precision, bundle)


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
