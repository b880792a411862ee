"""run.json tells of engines that took over while the run went on."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from crosscam_edge.offline.record import add_engines
from crosscam_edge.sinks.run_file import ModelRecord, RunFile, RunStatus


def engine(name: str, device: str, precision: str = "f32") -> Any:
    return SimpleNamespace(name=name, device=device, precision=precision)


def run_file() -> RunFile:
    begun = ModelRecord(name="m", runtime="openvino", device="CPU", precision="f32")
    return RunFile(
        crosscam_version="0.1.0",
        status=RunStatus.RUNNING,
        started=datetime.now(UTC),
        models={"detector": begun, "embedder": begun},
    )


def test_an_engine_that_took_over_is_told() -> None:
    run = run_file()
    add_engines(
        run,
        SimpleNamespace(runtimes=[engine("openvino", "CPU"), engine("tensorrt", "Orin")]),
        SimpleNamespace(runtime=engine("tensorrt", "Orin", "f16")),
    )
    detector, embedder = run.models["detector"], run.models["embedder"]
    assert detector.runtime == embedder.runtime == "openvino, then tensorrt"
    assert detector.device == embedder.device == "CPU, then Orin"
    assert (detector.precision, embedder.precision) == ("f32", "f32, then f16")


def test_without_one_the_record_stays() -> None:
    run = run_file()
    plain = SimpleNamespace(runtime=engine("openvino", "CPU"))
    add_engines(run, SimpleNamespace(), plain)  # motion has no engine
    assert run.models == run_file().models
