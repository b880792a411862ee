"""`crosscam doctor`: tells the truth, goes on when parts are broken, exits as it must."""

from __future__ import annotations

import json
from importlib import metadata

import pytest
from click.testing import CliRunner

from crosscam_deploy.health import Check, Status, can_run, packages, run, run_checks
from crosscam_edge.cli.doctor import command


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSCAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CROSSCAM_MODELS", raising=False)


def named(results: list[Check], name: str) -> Check:
    return next(check for check in results if check.name == name)


def test_this_machine_can_run():
    result = CliRunner().invoke(command, ["--json"])
    report = json.loads(result.output)
    assert result.exit_code == 0
    assert report["can_run"] is True
    checks = {check["name"]: check for check in report["checks"]}
    assert checks["ONNX Runtime"]["status"] == "ok"
    assert checks["video decoding"]["status"] == "ok"
    assert checks["native kernels"]["found"].split()[0] in ("avx512", "avx2", "neon", "scalar")
    assert checks["detector"]["status"] == "warning"  # only what comes with crosscam
    assert "crosscam models pull" in checks["detector"]["fix"]
    for check in report["checks"]:
        assert check["found"]
        assert check["fix"] or check["status"] in ("ok", "info")


def test_report_for_people():
    output = CliRunner().invoke(command).output
    assert "the main job can run" in output
    assert "pip install 'crosscam[yolo]'" in output or "installed: export" in output


def test_unwritable_cache_is_a_problem(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CROSSCAM_CACHE", str(tmp_path / "file" / "cache"))
    result = CliRunner().invoke(command, ["--json"])
    assert result.exit_code == 4
    report = json.loads(result.output)
    assert report["can_run"] is False
    cache = next(check for check in report["checks"] if check["name"] == "cache")
    assert cache["status"] == "problem"
    assert "CROSSCAM_CACHE" in cache["fix"]


def test_folder_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("CROSSCAM_MODELS", str(tmp_path / "absent"))
    assert named(run_checks(), "folders").status is Status.WARNING


def test_broken_engine_is_found_by_trying_it(monkeypatch):
    import onnxruntime

    def broken(*args, **kwargs):
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(onnxruntime, "InferenceSession", broken)
    results = run_checks()
    engine = named(results, "ONNX Runtime")
    assert engine.status is Status.WARNING
    assert "libgomp" in engine.found
    assert "pip install --force-reinstall onnxruntime" in engine.fix
    monkeypatch.setattr(
        "crosscam_deploy.runtime.openvino_graph.core", lambda: broken(), raising=True
    )
    results = run_checks()
    assert named(results, "inference").status is Status.PROBLEM
    assert not can_run(results)


def test_a_check_that_breaks_is_a_finding(monkeypatch):
    def explode():
        raise RuntimeError("boom")

    monkeypatch.setitem(run._GROUPS, "engines", explode)
    results = run_checks()
    assert named(results, "engines").status is Status.PROBLEM
    assert named(results, "detector")  # the others still ran


def test_two_owners_of_cv2(monkeypatch):
    real = metadata.version
    both = {"opencv-python": "5.0", "opencv-python-headless": "5.0"}
    monkeypatch.setattr(metadata, "version", lambda name: both.get(name) or real(name))
    check = packages._owners_of_cv2()
    assert check.status is Status.WARNING
    assert "pip uninstall -y opencv-python opencv-python-headless" in check.fix


def test_missing_dependency_is_named(monkeypatch):
    real = metadata.version

    def version(name):
        if name == "pyarrow":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    check = named(run_checks(), "dependencies")
    assert check.status is Status.PROBLEM
    assert check.fix == "pip install pyarrow"
