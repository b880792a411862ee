"""What doctor says of GPUs and TensorRT."""

from __future__ import annotations

from typing import Any

import pytest

from crosscam_deploy.engines import Device, TensorRT
from crosscam_deploy.health import engines
from crosscam_deploy.health.check import Check, Status
from crosscam_deploy.runtime import torch_compile
from crosscam_kernels.errors import RunError

ORIN = Device("Orin", "8.7", "12.6")


def told(monkeypatch: pytest.MonkeyPatch, device: Any, tensorrt: Any) -> dict[str, Check]:
    """Look with a device (None, or an error) and a TensorRT (None, an error, or its version)."""

    def find_device() -> Device | None:
        if isinstance(device, Exception):
            raise device
        return device

    def find_tensorrt(flavour: Any) -> TensorRT:
        if isinstance(tensorrt, Exception):
            raise tensorrt
        return TensorRT(flavour, None, tensorrt)

    monkeypatch.setattr(engines, "find_device", find_device)
    monkeypatch.setattr(engines, "find_tensorrt", find_tensorrt)
    monkeypatch.setattr(engines, "is_installed", lambda flavour: tensorrt is not None)
    checks = {check.name: check for check in engines._gpu_engines()}
    assert checks.pop("torch").status is Status.INFO
    return checks


def test_a_gpu_with_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = told(monkeypatch, ORIN, "10.16.1.11")
    assert {check.status for check in checks.values()} == {Status.OK}
    assert "Orin, compute capability 8.7" in checks["CUDA device"].found
    assert "10.16.1.11" in checks["TensorRT"].found


def test_a_gpu_without_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = told(monkeypatch, ORIN, None)
    assert checks["TensorRT-RTX"].status is Status.INFO
    assert "crosscam[tensorrt-rtx]" in checks["TensorRT-RTX"].fix


def test_no_gpu_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = told(monkeypatch, None, None)
    assert {check.status for check in checks.values()} == {Status.INFO}
    checks = told(monkeypatch, None, "1.7.1.116")
    assert "builds none" in checks["TensorRT"].found
    assert "builds engines" in checks["TensorRT-RTX"].found


@pytest.mark.parametrize(
    "error", [RunError("its libraries are missing", fix="install them"), ValueError("odd version")]
)
def test_what_does_not_work_is_a_warning(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    checks = told(monkeypatch, RunError("the CUDA driver answered CUDA_ERROR_UNKNOWN"), error)
    assert {check.status for check in checks.values()} == {Status.WARNING}
    assert "CUDA_ERROR_UNKNOWN" in checks["CUDA device"].found
    assert str(error).split(".")[0] in checks["TensorRT"].found
    assert all(check.fix for check in checks.values())


def test_torch_is_told_of_and_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.importlib.metadata, "version", lambda _name: "2.14")
    monkeypatch.setattr(torch_compile, "compiler", lambda: "/usr/bin/g++")
    assert engines._torch().found == "2.14, a runtime by name; compiles by /usr/bin/g++"
    monkeypatch.setattr(torch_compile, "compiler", lambda: None)
    assert "no C++ compiler" in engines._torch().found

    def missing(name: str) -> str:
        raise engines.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(engines.importlib.metadata, "version", missing)
    found = engines._torch()
    assert (found.status, found.fix) == (Status.INFO, "")
    assert "not installed" in found.found
