"""Runtimes: both engines, any batch, honest loops, and manifests that do not fit their graph."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscam_deploy.bundle import Bundle
from crosscam_deploy.manifest import RunWith
from crosscam_deploy.runtime import (
    available_runtimes,
    open_runtime,
    openvino_engine,
    openvino_graph,
)
from crosscam_deploy.runtime.openvino_engine import OpenVinoEngine, parts_of
from crosscam_deploy.runtime.openvino_graph import opens_to_any_batch
from crosscam_kernels.errors import InputError, RunError, ShapeError, UsageError

ENGINES = available_runtimes()


def noise(count: int, size=(32, 16)) -> np.ndarray:
    return np.random.default_rng(count).random((count, 3, *size), np.float32)


def outputs_of(bundle: Bundle, batch: np.ndarray, **options) -> np.ndarray:
    with open_runtime(bundle, precision="f32", threads=1, **options) as runtime:
        return runtime.infer(batch)[0]


@given(st.integers(1, 500))
def test_openvino_meets_few_sizes_of_batches(count):
    """It keeps tens of megabytes for each, for good."""
    parts = parts_of(count, None)
    assert sum(parts) == count
    assert set(parts) <= {1, 2, 4}
    assert len(parts) <= count // 4 + 2


@given(st.integers(1, 500), st.integers(1, 16))
def test_openvino_fills_fixed_batches(count, fixed):
    parts = parts_of(count, fixed)
    assert set(parts) == {fixed}
    assert 0 <= sum(parts) - count < fixed


@pytest.fixture
def fixed(tmp_path, make):
    def build(batch, **options):
        file = make.write_embedder(tmp_path / f"fixed{batch}.onnx", batch=batch, **options)
        return make.pack_embedder(tmp_path / f"fixed{batch}", file, name="fixed")

    return build


def test_both_engines_are_here():
    assert ENGINES == ["openvino", "onnxruntime"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_any_batch_equals_one_by_one(tiny, engine, count):
    batch = noise(count)
    with open_runtime(tiny, runtime=engine, precision="f32") as runtime:
        assert runtime.max_batch is None
        assert runtime.precision == "f32"
        together = runtime.infer(batch)[0]
        assert together.shape == (count, 8)
        assert together.dtype == np.float32
        for index in range(count):
            alone = runtime.infer(batch[index : index + 1])[0]
            np.testing.assert_allclose(together[index], alone[0], atol=1e-5)


def test_engines_agree(tiny):
    batch = noise(4)
    np.testing.assert_allclose(
        outputs_of(tiny, batch, runtime="openvino"),
        outputs_of(tiny, batch, runtime="onnxruntime"),
        atol=1e-5,
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("graph_batch", [1, 4])
@pytest.mark.parametrize("streams", [1, 3])
def test_fixed_batch_takes_any_number(tiny, fixed, engine, graph_batch, streams):
    bundle = fixed(graph_batch)
    batch = noise(9)
    found = outputs_of(bundle, batch, runtime=engine, streams=streams)
    np.testing.assert_allclose(found, outputs_of(tiny, batch), atol=1e-5)


def test_graph_that_mixes_images_is_looped_not_opened(fixed):
    """With a free batch this graph still runs, and would give wrong embeddings."""
    bundle = fixed(1, mixes_batch=True)
    assert opens_to_any_batch(bundle) is False
    batch = noise(3)
    with open_runtime(bundle, runtime="openvino", precision="f32") as runtime:
        assert runtime.max_batch == 1
        together = runtime.infer(batch)[0]
        for index in range(3):
            alone = runtime.infer(batch[index : index + 1])[0]
            np.testing.assert_allclose(together[index], alone[0], atol=1e-6)


def test_graph_that_can_be_opened_is_and_the_verdict_is_kept(fixed, monkeypatch):
    bundle = fixed(1)
    assert opens_to_any_batch(bundle) is True
    monkeypatch.setattr(openvino_graph, "_probe_any_batch", lambda _b: pytest.fail("tried again"))
    with open_runtime(bundle, runtime="openvino") as runtime:
        assert runtime.max_batch is None


@pytest.mark.parametrize("engine", ENGINES)
def test_free_image_size(tmp_path, make, engine):
    file = make.write_embedder(tmp_path / "free.onnx", size=("h", "w"))
    bundle = make.pack_embedder(tmp_path / "free", file)
    assert outputs_of(bundle, noise(2), runtime=engine).shape == (2, 8)


def with_manifest(bundle: Bundle, **changes) -> Bundle:
    return Bundle(bundle.path, bundle.manifest.model_copy(update=changes))


@pytest.mark.parametrize("engine", ENGINES)
class TestManifestThatDoesNotFit:
    def test_size(self, tiny, engine):
        prep = tiny.manifest.preprocessing.model_copy(update={"height": 256, "width": 128})
        with pytest.raises(InputError) as caught:
            open_runtime(with_manifest(tiny, preprocessing=prep), runtime=engine)
        assert "256x128" in str(caught.value)
        assert "the graph takes 32x16" in str(caught.value)
        assert "preprocessing" in caught.value.expected

    def test_input_name(self, tiny, engine):
        with pytest.raises(InputError, match="has the inputs"):
            open_runtime(with_manifest(tiny, input_name="x"), runtime=engine)

    def test_output_name(self, tiny, engine):
        with pytest.raises(InputError, match=r"no output \['boxes'\]"):
            open_runtime(with_manifest(tiny, output_names=("boxes",)), runtime=engine)

    def test_embedding_length(self, tiny, engine):
        with pytest.raises(InputError, match="the graph returns 8"):
            open_runtime(with_manifest(tiny, embedding_dim=256), runtime=engine)

    def test_not_a_graph(self, tiny, engine):
        tiny.model_path.unlink()
        tiny.model_path.write_bytes(b"not a graph" * 50)
        with pytest.raises(InputError, match="is no ONNX graph"):
            open_runtime(tiny, runtime=engine)

    def test_wrong_batch_shape_and_type(self, tiny, engine):
        with open_runtime(tiny, runtime=engine) as runtime:
            with pytest.raises(ShapeError, match="batch of shape"):
                runtime.infer(np.zeros((1, 3, 32, 17), np.float32))
            with pytest.raises(ShapeError, match="float64"):
                runtime.infer(np.zeros((1, 3, 32, 16)))
            with pytest.raises(ShapeError, match="batch of shape"):
                runtime.submit(np.zeros((3, 32, 16), np.float32))


@pytest.mark.parametrize("engine", ENGINES)
def test_submit_gives_each_caller_its_own_answer(tiny, engine):
    batches = [noise(1 + i % 4) for i in range(24)]
    expected = [outputs_of(tiny, batch) for batch in batches]
    runtime = open_runtime(tiny, runtime=engine, precision="f32", threads=2, streams=2)
    results: list = [None] * len(batches)

    def work(start):
        for index in range(start, len(batches), 3):
            results[index] = runtime.submit(batches[index]).result(timeout=30)[0]

    threads = [threading.Thread(target=work, args=(start,)) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    runtime.close()
    for found, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_submit_waits_when_too_many_wait(tiny, monkeypatch):
    runtime = open_runtime(tiny)
    gate = threading.Event()
    running = runtime.infer
    monkeypatch.setattr(runtime, "infer", lambda batch: (gate.wait(30), running(batch))[1])
    futures = [runtime.submit(noise(1)) for _ in range(3)]  # one runs, two wait
    fourth: list = []
    thread = threading.Thread(target=lambda: fourth.append(runtime.submit(noise(1))))
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    assert not fourth
    gate.set()
    thread.join(30)
    assert len([future.result(30) for future in futures + fourth]) == 4
    runtime.close()


def test_failed_submissions_free_their_place(tiny, monkeypatch):
    runtime = open_runtime(tiny)

    def fail(_batch):
        raise RunError("engine on fire", fix="none")

    monkeypatch.setattr(runtime, "infer", fail)
    for _ in range(12):  # more than may wait
        with pytest.raises(RunError, match="on fire"):
            runtime.submit(noise(1)).result(10)


@pytest.mark.parametrize("streams", [1, 2])
def test_openvino_warms_up_all_that_takes_memory(tiny, fixed, monkeypatch, streams):
    met = []

    def watched(engine, batch, sizes):
        met.append(sizes)
        assert len(batch) == sum(sizes)
        return run(engine, batch, sizes)

    run = OpenVinoEngine._run_parts
    monkeypatch.setattr(OpenVinoEngine, "_run_parts", watched)
    for bundle, sizes in ((tiny, {1, 2, 4}), (fixed(3, mixes_batch=True), {3})):
        with open_runtime(bundle, runtime="openvino", streams=streams) as runtime:
            runtime.warm_up()
        assert sorted(map(tuple, met)) == [(size,) * streams for size in sorted(sizes)]
        met.clear()


def test_closed_runtime(tiny):
    runtime = open_runtime(tiny)
    runtime.warm_up()
    runtime.close()
    runtime.close()
    with pytest.raises(RunError, match="is closed"):
        runtime.infer(noise(1))


def test_unusable_options(tiny):
    with pytest.raises(UsageError, match="bf16"):
        open_runtime(tiny, runtime="onnxruntime", precision="bf16")
    with pytest.raises(UsageError, match="streams"):
        open_runtime(tiny, streams=0)
    ir = with_manifest(tiny, format="openvino")
    with pytest.raises(InputError, match="is an OpenVINO model"):
        open_runtime(ir, runtime="onnxruntime")


def test_without_openvino(tiny, monkeypatch):
    monkeypatch.setattr("crosscam_deploy.runtime.open.available_runtimes", lambda: ["onnxruntime"])
    with open_runtime(tiny) as runtime:
        assert runtime.name == "onnxruntime"
    with pytest.raises(RunError, match="not installed"):
        open_runtime(tiny, runtime="openvino")
    with pytest.raises(RunError, match="no installed engine"):
        open_runtime(with_manifest(tiny, format="openvino"))


def test_graphs_that_quantise_while_running_go_to_the_engine_that_computes_them_in_int8(
    tmp_path, make
):
    from onnxruntime.quantization import quantize_dynamic

    plain = make.write_embedder(tmp_path / "plain.onnx")
    quantize_dynamic(plain, tmp_path / "int8.onnx")
    for file, engine in ((plain, "openvino"), (tmp_path / "int8.onnx", "onnxruntime")):
        bundle = make.pack_embedder(tmp_path / file.stem, file, name=file.stem)
        with open_runtime(bundle) as runtime:
            assert runtime.name == engine
        with open_runtime(bundle, runtime="openvino") as runtime:
            assert runtime.name == "openvino"


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_built_model_runs_as_it_was_verified(tiny, engine, monkeypatch):
    chosen = RunWith(runtime=engine, precision="f32")
    built = Bundle(tiny.path, tiny.manifest.model_copy(update={"run_with": chosen}))
    with open_runtime(built) as runtime:
        assert (runtime.name, runtime.precision) == (engine, "f32")
    other = "onnxruntime" if engine == "openvino" else "openvino"
    with open_runtime(built, runtime=other) as runtime:  # what the user says comes first
        assert runtime.name == other
    monkeypatch.setattr("crosscam_deploy.runtime.open.available_runtimes", lambda: [other])
    with open_runtime(built) as runtime:  # not installed here
        assert runtime.name == other


def test_no_usage_reports_and_no_network(tiny):
    """Opening and running in a fresh process with connections made impossible."""
    import subprocess
    import sys

    code = f"""
import socket, sys
def refuse(*args, **kwargs):
    raise SystemExit("tried to connect")
socket.socket.connect = socket.getaddrinfo = refuse
import numpy as np
from pathlib import Path
from crosscam_deploy.bundle import load_bundle
from crosscam_deploy.runtime import available_runtimes, open_runtime, openvino_engine
for engine in available_runtimes():
    with open_runtime(load_bundle(Path({str(tiny.path)!r})), runtime=engine) as runtime:
        runtime.infer(np.zeros((2, 3, 32, 16), np.float32))
assert sys.modules["openvino_telemetry"] is None
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("engine", ENGINES)
class TestOtherInputSize:
    def test_free_graph_takes_it(self, tmp_path, make, engine):
        file = make.write_embedder(tmp_path / "free.onnx", size=("h", "w"))
        bundle = make.pack_embedder(tmp_path / "free", file)
        with open_runtime(bundle, runtime=engine, precision="f32", input_size=(48, 24)) as runtime:
            assert runtime.input_size == (48, 24)
            runtime.warm_up()
            assert runtime.infer(noise(2, (48, 24)))[0].shape == (2, 8)
            with pytest.raises(ShapeError, match="32, 16"):
                runtime.infer(noise(1))

    def test_bound_graph_says_so(self, fixed, engine):
        bundle = fixed(1)  # OpenVINO reshapes this one, ONNX Runtime cannot
        if engine == "openvino":
            with open_runtime(bundle, runtime=engine, input_size=(48, 24)) as runtime:
                assert runtime.infer(noise(3, (48, 24)))[0].shape == (3, 8)
        else:
            with pytest.raises(InputError, match="48x24") as caught:
                open_runtime(bundle, runtime=engine, input_size=(48, 24))
            assert "32x16" in caught.value.expected


@pytest.mark.parametrize(
    ("cores", "allowed", "threads", "streams", "found"),
    [
        (8, 8, 0, 1, (0, "LATENCY", {})),
        (8, 8, 8, 1, (8, "LATENCY", {})),
        (8, 8, 2, 1, (2, "LATENCY", {"ENABLE_CPU_PINNING": False})),
        (8, 3, 0, 1, (3, "LATENCY", {"ENABLE_CPU_PINNING": False})),
        (8, 8, 0, 4, (0, "THROUGHPUT", {"PERFORMANCE_HINT_NUM_REQUESTS": 4})),
        (
            8, 3, 6, 2,
            (3, "THROUGHPUT", {"PERFORMANCE_HINT_NUM_REQUESTS": 2, "ENABLE_CPU_PINNING": False}),
        ),
    ],
)  # fmt: skip
def test_openvino_takes_the_cores_that_it_may_use(
    monkeypatch, cores, allowed, threads, streams, found
):
    monkeypatch.setattr(openvino_engine.os, "cpu_count", lambda: cores)
    monkeypatch.setattr(openvino_engine, "usable_cores", lambda: allowed)
    made = openvino_engine.cpu_properties("auto", threads=threads, streams=streams)
    count, hint, more = found
    told = {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": count, "PERFORMANCE_HINT": hint}
    assert made == {**told, **more}
    made = openvino_engine.cpu_properties("f32", threads=threads, streams=streams)
    assert made["INFERENCE_PRECISION_HINT"] == "f32"


@pytest.mark.parametrize("streams", [1, 2])
def test_openvino_does_what_it_was_told(tiny, monkeypatch, streams):
    monkeypatch.setattr(openvino_engine.os, "cpu_count", lambda: 8)  # so that all is told
    if openvino_engine.usable_cores() < streams:
        pytest.skip("fewer cores than streams")
    told = openvino_engine.cpu_properties("f32", threads=streams, streams=streams)
    compiled = openvino_engine.compiled_graph(tiny, (32, 16), told)
    for name, value in told.items():
        assert str(compiled.get_property(name)).removeprefix("PerformanceMode.") in (
            str(value), "<Type: 'float32'>",
        )  # fmt: skip
