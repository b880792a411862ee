"""Engines that travel with a bundle: found where they fit, and only those that it lists."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_tensorrt_run import Machine

from crosscam_deploy.bundle import Bundle, load_bundle, write_bundle
from crosscam_deploy.engines import Device, EngineOptions, EngineStore
from crosscam_deploy.engines.beside import engines_beside, find_beside, put_beside, store_beside
from crosscam_deploy.manifest import EngineFor, RunWith
from crosscam_deploy.runtime import gpu, open_runtime
from crosscam_deploy.runtime import open as open_module
from crosscam_deploy.runtime.first_use import FirstUse
from crosscam_deploy.runtime.tensorrt_engine import TensorRtEngine
from crosscam_deploy.verify import engine_rows
from crosscam_deploy.verify.engine_rows import built_for, facts, rows_not_run
from crosscam_edge.cli import main
from crosscam_kernels.errors import RunError


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = Machine(tmp_path)
    for module in (open_module, engine_rows):
        monkeypatch.setattr(module, "find_device", lambda: made.cuda.device)
    for module in (gpu, engine_rows):
        monkeypatch.setattr(module, "find_tensorrt", lambda flavour: made.tensorrt)
    monkeypatch.setattr(open_module, "is_installed", lambda flavour: flavour == "tensorrt")
    monkeypatch.setattr(gpu, "open_cuda", lambda: made.cuda)
    yield made
    made.cuda.assert_clean()


def shipped(tiny: Bundle, machine: Machine, folder: Path, *, listed: bool = True) -> Bundle:
    """A bundle as `crosscam build` writes it, with an engine beside it."""
    engine = machine.build(tiny, buckets=(1, 2))
    put_beside(folder, engine)
    plans = (engine.manifest.plan_sha256,) if listed else ()
    told = EngineFor(buckets=(1, 2), plans=plans)
    how = RunWith(runtime="tensorrt", precision="f32", measured=False, engine=told)
    manifest = tiny.manifest.model_copy(update={"run_with": how})
    files = {name: tiny.path / name for name in manifest.files}
    return write_bundle(folder, manifest, files)


def test_what_travels_is_run_and_nothing_is_built(
    tiny: Bundle, machine: Machine, tmp_path: Path
) -> None:
    bundle = shipped(tiny, machine, tmp_path / "out")
    assert load_bundle(bundle.path).manifest == bundle.manifest
    builds = machine.module.builds
    with open_runtime(bundle, runtime="tensorrt") as runtime:
        assert isinstance(runtime, TensorRtEngine)
        assert runtime.engine.path.parent == store_beside(bundle.path).root
        assert runtime.infer(np.ones((3, 3, 32, 16), np.float32))[0].shape == (3, 8)
    assert machine.module.builds == builds
    assert list(EngineStore()) == []


def test_a_plan_that_the_manifest_does_not_list_is_not_loaded(
    tiny: Bundle, machine: Machine, tmp_path: Path
) -> None:
    bundle = shipped(tiny, machine, tmp_path / "out", listed=False)
    assert list(engines_beside(bundle)) == []
    seen = len(machine.module.seen)
    with open_runtime(bundle, runtime="tensorrt") as runtime:
        assert isinstance(runtime, TensorRtEngine)
        assert runtime.engine.path.parent == EngineStore().root
    assert len(machine.module.seen) == seen + 2  # what it built itself: read back, and opened


@pytest.mark.parametrize("damage", ["plan", "manifest", "replaced"])
def test_a_damaged_or_replaced_one_is_left_aside_and_built_anew(
    tiny: Bundle, machine: Machine, tmp_path: Path, damage: str
) -> None:
    bundle = shipped(tiny, machine, tmp_path / "out")
    (engine,) = engines_beside(bundle)
    if damage == "plan":
        (engine.path / "engine.plan").write_bytes(b"something else")
    elif damage == "manifest":
        (engine.path / "engine.json").write_text("{}")
    else:  # whole, with the sha256 of its own manifest
        other = machine.build(tiny, buckets=(1, 8))
        shutil.rmtree(engine.path)
        shutil.copytree(other.path, engine.path)
    assert list(engines_beside(bundle)) == []
    builds = machine.module.builds
    with open_runtime(bundle, runtime="tensorrt") as runtime:
        assert isinstance(runtime, TensorRtEngine)
        assert runtime.engine.path.parent == EngineStore().root
    assert machine.module.builds == builds + 1


def test_one_that_tensorrt_refuses_is_built_anew(
    tiny: Bundle, machine: Machine, tmp_path: Path
) -> None:
    bundle = shipped(tiny, machine, tmp_path / "out")
    plain, refused = machine.module._engine, [True]
    machine.module._engine = (  # type: ignore[method-assign]
        lambda plan, logger: None if refused and refused.pop() else plain(plan, logger)
    )
    builds = machine.module.builds
    with open_runtime(bundle, runtime="tensorrt") as runtime:
        assert isinstance(runtime, TensorRtEngine)
        assert runtime.engine.path.parent == EngineStore().root
    assert machine.module.builds == builds + 1


def test_one_for_another_gpu_is_told_and_not_used(
    tiny: Bundle, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = shipped(tiny, machine, tmp_path / "out")
    assert list(rows_not_run(bundle)) == []  # it runs here: that is measured
    thor = Device("Thor", "11.0", "13.0")
    assert find_beside(bundle, machine.tensorrt, machine.cuda.device) is not None
    assert find_beside(bundle, machine.tensorrt, thor) is None
    monkeypatch.setattr(engine_rows, "find_device", lambda: thor)
    (row,) = rows_not_run(bundle)
    assert (row.status, row.accuracy, row.speed) == ("built", None, ())
    assert row.candidate.how() == "TensorRT"
    assert "built for Orin by tensorrt" in row.reasons[0]
    assert "compute capability 8.7, and Thor has 11.0" in row.reasons[0]
    assert row.engine is not None
    assert row.engine.buckets == (1, 2)
    monkeypatch.setattr(engine_rows, "find_device", lambda: None)
    assert "there is no CUDA device here" in next(rows_not_run(bundle)).reasons[0]

    def missing(flavour: str) -> Any:
        raise RunError(f"{flavour} is not installed", fix="install it")

    monkeypatch.setattr(engine_rows, "find_tensorrt", missing)
    (row,) = rows_not_run(bundle)
    assert row.reasons[0].endswith("tensorrt is not installed")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (EngineOptions(), "Orin"),
        (EngineOptions(hardware="same-capability"), "compute capability 8.7"),
        (EngineOptions(hardware="ampere-and-later"), "compute capability 8.0 and later"),
    ],
)
def test_for_which_gpus_it_is(
    tiny: Bundle, machine: Machine, options: EngineOptions, words: str
) -> None:
    engine = machine.build(tiny, **options.model_dump(exclude={"buckets"}))
    assert built_for(engine.manifest) == words
    assert facts(engine.manifest).computes_in() == "f32 1 layers"


def test_a_model_built_for_a_gpu_is_served_until_its_engine_agrees(
    tiny: Bundle, machine: Machine, tmp_path: Path
) -> None:
    bundle = shipped(tiny, machine, tmp_path / "out")
    with open_runtime(bundle, threads=1) as runtime:
        assert isinstance(runtime, FirstUse)
        runtime.infer(np.random.default_rng(0).random((2, 3, 32, 16), np.float32))
        assert runtime._thread is not None
        runtime._thread.join(60)
        assert (runtime.state, runtime.name) == ("switched", "tensorrt")
    assert list(EngineStore()) == []


def test_buckets_and_options_of_the_manifest_are_those_of_the_engine(
    tiny: Bundle, machine: Machine
) -> None:
    told = EngineFor(buckets=(2, 5), hardware="same-capability", version_compatible=True)
    how = RunWith(runtime="tensorrt", precision="f32", measured=False, engine=told)
    bundle = Bundle(tiny.path, tiny.manifest.model_copy(update={"run_with": how}))
    open_runtime(bundle, runtime="tensorrt").close()
    (engine,) = EngineStore()
    options = engine.manifest.options
    assert (options.buckets, options.hardware) == ((2, 5), "same-capability")
    assert options.version_compatible
    with pytest.raises(ValueError, match="must rise"):
        EngineFor(buckets=(4, 1))


def test_models_show_tells_of_engines(
    tiny: Bundle, machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = shipped(tiny, machine, tmp_path / "out")
    with pytest.raises(SystemExit):
        main(["models", "show", str(bundle.path)])
    said = capsys.readouterr().out
    assert "for a box that was not at hand" in said
    assert "f32 1 layers" in said
    with pytest.raises(SystemExit):
        main(["models", "show", str(bundle.path), "--json"])
    told = json.loads(capsys.readouterr().out)
    (beside,) = engines_beside(bundle)
    assert [each["path"] for each in told["engines"]] == [str(beside.path)]
    assert told["engines"][0]["manifest"]["plan_sha256"] == beside.manifest.plan_sha256
    with pytest.raises(SystemExit):
        main(["models", "show", str(tiny.path)])
    assert "computes in" not in capsys.readouterr().out
