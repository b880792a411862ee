"""Engines: built by a faithful fake of TensorRT and by the real TensorRT-RTX, kept and refused."""

from __future__ import annotations

import gc
import importlib.util
import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from fake_tensorrt import FakeTensorRT
from hypothesis import given
from hypothesis import strategies as st

from crosscam_deploy.bundle import Bundle, load_bundle
from crosscam_deploy.engines import (
    Device,
    EngineBuilder,
    EngineOptions,
    EngineStore,
    TensorRT,
    find_tensorrt,
)
from crosscam_deploy.engines import api as api_module
from crosscam_deploy.engines import builder as builder_module
from crosscam_deploy.engines.store import check_usable, load_engine
from crosscam_deploy.paths import packaged_dir
from crosscam_kernels.errors import InputError, RunError, UsageError

ORIN = Device("Orin", "8.7", "12.6")
needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx_bindings") is None, reason="TensorRT-RTX not installed"
)


@pytest.fixture
def reid() -> Bundle:
    return load_bundle(packaged_dir() / "crosscam-reid")


def fake(version: str = "10.16.1.11") -> TensorRT:
    return TensorRT("tensorrt", FakeTensorRT(version), version)


@pytest.mark.parametrize(("version", "flags"), [("10.16.1.11", 2), ("11.4.0.106", 0)])
def test_networks_are_strongly_typed_in_both_versions(
    reid: Bundle, version: str, flags: int
) -> None:
    tensorrt = fake(version)
    built = EngineBuilder(tensorrt, ORIN).build(reid, EngineOptions(buckets=(1, 8)))
    assert tensorrt.module.networks[0].flags == flags
    config = tensorrt.module.configs[0]
    height, width = 96, 48
    assert config.shapes == [((n, 3, height, width),) * 3 for n in (1, 8)]
    assert built.plan == b"plan of " + reid.model_path.read_bytes()
    manifest = built.manifest
    assert (manifest.version, manifest.device, manifest.capability) == (version, "Orin", "8.7")
    assert manifest.layers == {"f16": 2, "f32": 1, "unknown": 1}
    assert manifest.products == {"f16": 1}
    assert manifest.model_id == reid.model_id


def test_options_reach_the_builder(reid: Bundle) -> None:
    tensorrt = fake()
    options = EngineOptions(
        profiles="one", hardware="ampere-and-later", version_compatible=True, stripped=True,
        refittable=True, level=5, workspace_mib=256,
    )  # fmt: skip
    EngineBuilder(tensorrt, ORIN).build(reid, options)
    config = tensorrt.module.configs[0]
    assert [[shape[0] for shape in shapes] for shapes in config.shapes] == [[1, 16, 64]]
    assert config.flags == {"VC", "STRIP", "REFIT"}
    assert config.pools == {"WORKSPACE": 256 * 2**20}
    assert config.hardware_compatibility_level == "AMPERE_PLUS"
    assert config.builder_optimization_level == 5


def test_timings_are_kept_and_those_of_another_gpu_left_aside(reid: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "kept" / "orin.timings"
    for expected in (b"timed ", b"timed timed "):
        EngineBuilder(fake(), ORIN, timings=file).build(reid, EngineOptions())
        assert file.read_bytes() == expected
    file.write_bytes(b"of another GPU")
    EngineBuilder(fake(), ORIN, timings=file).build(reid, EngineOptions())
    assert file.read_bytes() == b"timed "


def test_progress_is_that_of_the_outermost_phase(reid: Bundle) -> None:
    told: list[tuple[str, float]] = []
    builder = EngineBuilder(fake(), ORIN, progress=lambda step, share: told.append((step, share)))
    builder.build(reid, EngineOptions())
    assert {step for step, _ in told} == {"Building engine"}
    assert [share for _, share in told] == [0, 0.25, 0.5, 0.75, 1, 1]


def test_a_build_can_be_stopped(reid: Bundle) -> None:
    def progress(step: str, share: float) -> None:
        if share >= 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EngineBuilder(fake(), ORIN, progress=progress).build(reid, EngineOptions())


def test_operators_that_cannot_be_read_are_named(reid: Bundle) -> None:
    tensorrt = fake()
    tensorrt.module.parser_errors = [("NonZero", "/post/nz", "no importer registered")]
    with pytest.raises(InputError, match="NonZero '/post/nz': no importer registered"):
        EngineBuilder(tensorrt, ORIN).build(reid, EngineOptions())


def test_a_failed_build_says_what_tensorrt_said(reid: Bundle) -> None:
    tensorrt = fake()
    tensorrt.module.out_of_memory = True
    with pytest.raises(RunError, match="OutOfMemory") as caught:
        EngineBuilder(tensorrt, ORIN).build(reid, EngineOptions())
    assert "b.cpp" not in str(caught.value)


def test_batches_that_the_graph_refuses(reid: Bundle) -> None:
    with pytest.raises(InputError, match="does not take batches"):
        EngineBuilder(fake(), ORIN).build(reid, EngineOptions(buckets=(65,)))


def test_a_plan_that_cannot_be_read_back_is_refused(reid: Bundle) -> None:
    tensorrt = fake()
    tensorrt.module.unreadable = True
    with pytest.raises(RunError, match="does not read the engine"):
        EngineBuilder(tensorrt, ORIN).build(reid, EngineOptions())


def test_a_graph_that_was_changed_is_not_parsed(reid: Bundle, tmp_path: Path) -> None:
    (tmp_path / reid.manifest.model_file).write_bytes(b"something else")
    tensorrt = fake()
    with pytest.raises(InputError, match="was changed while it was open"):
        EngineBuilder(tensorrt, ORIN).build(Bundle(tmp_path, reid.manifest), EngineOptions())
    assert tensorrt.module.networks[0].graph == b""


@pytest.mark.parametrize(
    ("kind", "said"),
    [("outside", r"\.\./secret"), ("huge", "claims"), ("operator", "evil")],
)
def test_a_malicious_graph_is_not_parsed(
    reid: Bundle, tmp_path: Path, kind: str, said: str
) -> None:
    model = onnx.load(reid.model_path)
    tensor = model.graph.initializer[0]
    if kind == "outside":
        onnx.external_data_helper.set_external_data(tensor, "../secret", 0, 4)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
    elif kind == "huge":
        del tensor.dims[:]
        tensor.dims.extend([100_000, 100_000])
    else:
        model.graph.node[0].domain = "evil"
    file = tmp_path / reid.manifest.model_file
    file.write_bytes(model.SerializeToString())
    files = {file.name: builder_module.hashlib.sha256(file.read_bytes()).hexdigest()}
    bundle = Bundle(tmp_path, reid.manifest.model_copy(update={"files": files}))
    tensorrt = fake()
    with pytest.raises(InputError, match=said):
        EngineBuilder(tensorrt, ORIN).build(bundle, EngineOptions(buckets=(1,)))
    assert tensorrt.module.networks[0].graph == b""


def test_what_cannot_be_built_says_why(reid: Bundle) -> None:
    with pytest.raises(UsageError, match="finds no CUDA device"):
        EngineBuilder(fake()).build(reid, EngineOptions())
    with pytest.raises(UsageError, match="builds for the GPU that it builds on"):
        EngineBuilder(fake(), ORIN).build(reid, EngineOptions(capabilities=("8.6",)))


def test_buckets_must_rise() -> None:
    with pytest.raises(ValueError, match="must rise"):
        EngineOptions(buckets=(4, 1))


def test_a_graph_for_one_picture_has_one_profile() -> None:
    (profile,) = EngineOptions().profiles_for(any_batch=False)
    assert (profile.least, profile.typical, profile.most) == (1, 1, 1)


# Kept, found, refused.


def kept(reid: Bundle, root: Path, options: EngineOptions | None = None) -> tuple[Any, str, Any]:
    options = options or EngineOptions()
    tensorrt, store = fake(), EngineStore(root)
    key = store.key(reid, options, tensorrt, ORIN)
    return store, key, store.keep(key, EngineBuilder(tensorrt, ORIN).build(reid, options))


def test_engines_are_found_by_all_that_decides_them(reid: Bundle, tmp_path: Path) -> None:
    store, key, engine = kept(reid, tmp_path)
    assert store.find(key) == engine
    assert engine.plan().startswith(b"plan of ")
    assert [each.manifest for each in store] == [engine.manifest]
    thor = Device("Thor", "11.0", "13.0")
    others = {
        store.key(reid, EngineOptions(level=4), fake(), ORIN),
        store.key(reid, EngineOptions(), fake("11.4.0.106"), ORIN),
        store.key(reid, EngineOptions(), fake(), thor),
        store.key(reid, EngineOptions(), TensorRT("tensorrt-rtx", None, "10.16.1.11"), ORIN),
        store.key(load_bundle(packaged_dir() / "crosscam-detector"), EngineOptions(), fake(), ORIN),
        key,
    }
    assert len(others) == 6
    assert all(store.find(other) is None for other in others - {key})
    store.remove(key)
    assert store.find(key) is None


def test_a_damaged_plan_is_refused_before_it_is_read(reid: Bundle, tmp_path: Path) -> None:
    store, key, engine = kept(reid, tmp_path)
    plan = engine.path / "engine.plan"
    content = bytearray(plan.read_bytes())
    content[len(content) // 2] ^= 1
    plan.write_bytes(content)
    with pytest.raises(InputError, match="damaged or was replaced"):
        store.find(key)
    with pytest.raises(InputError, match="damaged or was replaced"):
        engine.plan()
    assert list(store) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda told: told | {"plan_bytes": -1}, "plan_bytes"),
        (lambda told: told | {"extra": 1}, "extra"),
        (lambda told: {k: v for k, v in told.items() if k != "version"}, "version"),
        (lambda told: told | {"plan_sha256": "0" * 64}, "damaged or was replaced"),
    ],
)
def test_a_tampered_manifest_is_refused(
    reid: Bundle, tmp_path: Path, change: Any, said: str
) -> None:
    _, _, engine = kept(reid, tmp_path)
    file = engine.path / "engine.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(InputError, match=said):
        load_engine(engine.path)


@given(st.binary(max_size=200))
def test_any_bytes_for_a_manifest_give_a_clear_error(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "engine.json").write_bytes(content)
        with pytest.raises(InputError):
            load_engine(Path(folder))


def test_engines_run_where_they_were_built_for(reid: Bundle, tmp_path: Path) -> None:
    _, _, engine = kept(reid, tmp_path)
    check_usable(engine, fake(), ORIN)
    with pytest.raises(RunError, match=r"built by tensorrt 10\.16\.1\.11, here is 11\.4\.0"):
        check_usable(engine, fake("11.4.0.106"), ORIN)
    with pytest.raises(RunError, match=r"capability 8\.7, and Thor has 11\.0"):
        check_usable(engine, fake(), Device("Thor", "11.0", "13.0"))
    with pytest.raises(RunError, match="built on Orin, and this is Orin NX"):
        check_usable(engine, fake(), Device("Orin NX", "8.7", "12.6"))
    with pytest.raises(RunError, match="no CUDA device"):
        check_usable(engine, fake(), None)


def test_compatible_engines_run_in_more_places(reid: Bundle, tmp_path: Path) -> None:
    options = EngineOptions(version_compatible=True, hardware="ampere-and-later")
    _, _, engine = kept(reid, tmp_path, options)
    for version in ("10.17.0", "11.4.0.106"):
        check_usable(engine, fake(version), Device("Thor", "11.0", "13.0"))
    for version in ("10.15.0", "12.0.1"):
        with pytest.raises(RunError, match="was built by"):
            check_usable(engine, fake(version), ORIN)
    with pytest.raises(RunError, match=r"8\.0 and later"):
        check_usable(engine, fake(), Device("T4", "7.5", "12.6"))


# The real builder, which needs no GPU.


@needs_rtx
@pytest.mark.parametrize("name", ["crosscam-reid", "crosscam-detector"])
def test_shipped_models_build_in_tensorrt_rtx(name: str, tmp_path: Path) -> None:
    bundle = load_bundle(packaged_dir() / name)
    tensorrt = find_tensorrt("tensorrt-rtx")
    options = EngineOptions(buckets=(1, 8), capabilities=("8.6", "12.0"), level=0)
    shares: list[float] = []
    builder = EngineBuilder(tensorrt, progress=lambda _, share: shares.append(share))
    built = builder.build(bundle, options)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert [tensor.name for tensor in built.manifest.inputs] == [bundle.manifest.input_name]
    assert built.manifest.plan_bytes > 10**6
    assert set(built.manifest.products or {}) == {"f32"}
    assert built.manifest.layers is None, "there was no GPU to open it on"
    store = EngineStore(tmp_path)
    engine = store.keep(store.key(bundle, options, tensorrt, None), built)
    there = Device("RTX A2000", "8.6", "13.0")
    assert engine.manifest.problems(tensorrt, there) == []
    assert engine.manifest.problems(tensorrt, ORIN) == [
        "it is for compute capability 8.6, 12.0, and Orin has 8.7"
    ]


@needs_rtx
def test_tensorrt_rtx_names_the_gpus_that_it_builds_for(reid: Bundle) -> None:
    builder = EngineBuilder(find_tensorrt("tensorrt-rtx"))
    with pytest.raises(UsageError, match=r"one of .*12\.0.*8\.6"):
        builder.build(reid, EngineOptions(capabilities=("8.7",)))
    with pytest.raises(UsageError, match="say for which GPUs"):
        builder.build(reid, EngineOptions())


@needs_rtx
def test_operators_that_the_real_parser_lacks(reid: Bundle, tmp_path: Path) -> None:
    file = tmp_path / reid.manifest.model_file
    model = onnx.load(reid.model_path)
    next(node for node in model.graph.node if node.op_type == "Conv").op_type = "Convolve"
    onnx.save(model, file)
    expected = builder_module.hashlib.sha256(file.read_bytes()).hexdigest()
    files = {reid.manifest.model_file: expected}
    manifest = reid.manifest.model_copy(update={"files": files})
    builder = EngineBuilder(find_tensorrt("tensorrt-rtx"))
    for _ in range(3):
        with pytest.raises(InputError, match="cannot read crosscam-reid: Convolve") as caught:
            builder.build(Bundle(tmp_path, manifest), EngineOptions(capabilities=("8.6",)))
        held = caught.value  # a builder that the error kept alive would hang in the collector
        cycle: list[Any] = [held]
        cycle.append(cycle)
        del caught, held, cycle
        gc.collect()


def test_tensorrt_that_is_not_there_says_what_to_install() -> None:
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("TensorRT is installed")
    with pytest.raises(RunError, match="tensorrt is not installed"):
        find_tensorrt("tensorrt")


def test_a_warning_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(api_module._log, "warning", told.append)
    module: Any = FakeTensorRT("10.13.0")
    logger = api_module._logger_class(module)()
    for text in ("layer in fp32", "layer in fp32", "another", "layer in fp32"):
        logger.log(module.ILogger.Severity.WARNING, text)
    assert told == ["layer in fp32", "another"]
    assert not logger.errors
