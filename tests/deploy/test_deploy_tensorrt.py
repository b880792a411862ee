"""The TensorRT runtime on a fake device and a fake TensorRT whose engines give real numbers."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_cuda import ORIN, FakeCuda
from fake_tensorrt_run import Machine
from hypothesis import given
from hypothesis import strategies as st

from crosscam_deploy.bundle import Bundle
from crosscam_deploy.engines import (
    Device,
    EngineBuilder,
    EngineOptions,
    EngineStore,
    TensorRT,
    find_device,
    find_tensorrt,
)
from crosscam_deploy.runtime import open_runtime
from crosscam_deploy.runtime.cuda import OutOfMemoryError
from crosscam_deploy.runtime.tensorrt_engine import TensorRtEngine, split
from crosscam_deploy.runtime.tensorrt_plan import _DTYPES, Bucket
from crosscam_kernels.errors import InputError, RunError


@pytest.fixture(params=[False, True], ids=["tensorrt", "tensorrt-rtx"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    return Machine(tmp_path, rtx=request.param)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(count).random((count, 3, 32, 16), np.float32)


def expected(bundle: Bundle, batch: np.ndarray) -> np.ndarray:
    with open_runtime(bundle, runtime="onnxruntime", precision="f32", threads=1) as runtime:
        return runtime.infer(batch)[0]


def test_any_batch_gives_what_onnx_runtime_gives(tiny: Bundle, either: Machine) -> None:
    with either.open(tiny) as runtime:
        assert (runtime.name, runtime.device) == (either.tensorrt.flavour, "Orin")
        assert (runtime.precision, runtime.max_batch) == ("f32", None)
        for count in (0, 1, 3, 4, 5, 8, 9, 21, 3):
            (found,) = runtime.infer(noise(count))
            assert (found.shape, found.dtype) == ((count, 8), np.float32)
            np.testing.assert_allclose(found, expected(tiny, noise(count)), atol=1e-5)
    either.cuda.assert_clean()


def test_what_was_returned_is_not_overwritten_by_the_next_batch(
    tiny: Bundle, machine: Machine
) -> None:
    with machine.open(tiny) as runtime:
        first = runtime.infer(noise(4))[0]
        kept = first.copy()
        runtime.infer(np.zeros((4, 3, 32, 16), np.float32))
    np.testing.assert_array_equal(first, kept)


def test_a_bucket_becomes_a_graph_after_its_first_batch(tiny: Bundle, either: Machine) -> None:
    with either.open(tiny) as runtime:
        launches = []
        for count in (3, 4, 8, 2, 1):
            runtime.infer(noise(count))
            launches.append(either.cuda.launches)
        assert launches == [0, 1, 1, 2, 2]
        assert len(either.cuda.captured) == 3


def test_memory_is_taken_for_buckets_that_are_used(tiny: Bundle, machine: Machine) -> None:
    with machine.open(tiny) as runtime:
        before = machine.cuda.used()
        runtime.infer(noise(1))
        one = machine.cuda.used() - before
        runtime.infer(noise(8))
        assert machine.cuda.used() - before - one == 8 * one
        assert machine.module.contexts == 2


@pytest.mark.parametrize("how", ["begin", "end", "rtx says no", "backend has none"])
def test_without_graphs_the_answers_are_the_same(
    tiny: Bundle, tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(tmp_path, rtx=how == "rtx says no", graphs=how != "backend has none")
    if how == "rtx says no":
        machine.module.capturable = False
    elif how != "backend has none":
        name = "capture" if how == "begin" else "end capture"
        machine.cuda.fails[name] = RunError("capture was invalidated")
    with machine.open(tiny) as runtime:
        for count in (4, 3, 8, 8):
            np.testing.assert_allclose(
                runtime.infer(noise(count))[0], expected(tiny, noise(count)), atol=1e-5
            )
    assert machine.cuda.launches == 0
    assert capsys.readouterr().err.count("no CUDA graphs") == (how != "backend has none")
    machine.cuda.assert_clean()


def test_streams_run_side_by_side(tiny: Bundle, machine: Machine) -> None:
    batches = [noise(1 + k % 9) for k in range(24)]
    wanted = [expected(tiny, batch) for batch in batches]
    with machine.open(tiny, streams=3) as runtime:
        assert len(machine.cuda.streams) == 3
        futures = [runtime.submit(batch) for batch in batches]
        for future, answer in zip(futures, wanted, strict=True):
            np.testing.assert_allclose(future.result(30)[0], answer, atol=1e-5)
    machine.cuda.assert_clean()


def test_closing_waits_for_those_who_still_run(tiny: Bundle, machine: Machine) -> None:
    runtime = machine.open(tiny)
    inside, on = threading.Event(), threading.Event()
    plain = machine.cuda.synchronise

    def slow(stream: int) -> None:
        inside.set()
        assert on.wait(30)
        plain(stream)

    runtime.infer(noise(1))
    machine.cuda.synchronise = slow  # type: ignore[method-assign]
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(runtime.infer(noise(1))))
    thread.start()
    assert inside.wait(30)
    closer = threading.Thread(target=runtime.close)
    closer.start()
    closer.join(0.2)
    assert closer.is_alive()
    on.set()
    for each in (thread, closer):
        each.join(30)
    np.testing.assert_allclose(found[0][0], expected(tiny, noise(1)), atol=1e-5)
    machine.cuda.assert_clean()
    with pytest.raises(RunError, match="closed"):
        runtime.infer(noise(1))
    with pytest.raises(RunError, match="closed"):
        runtime._run(noise(1))


def test_one_profile_serves_all_buckets(tiny: Bundle, machine: Machine) -> None:
    engine = machine.build(tiny, profiles="one")
    with machine.open(tiny, engine) as runtime:
        for count in (1, 2, 8, 11):
            found = runtime.infer(noise(count))[0]
            np.testing.assert_allclose(found, expected(tiny, noise(count)), atol=1e-5)
        assert machine.module.contexts == 3


def test_graphs_for_one_picture_are_looped(tmp_path: Path, make: Any, machine: Machine) -> None:
    file = make.write_embedder(tmp_path / "one.onnx", batch=1)
    bundle = make.pack_embedder(tmp_path / "one", file, name="one")
    with machine.open(bundle) as runtime:
        assert runtime.max_batch == 1
        np.testing.assert_allclose(
            runtime.infer(noise(3))[0], expected(bundle, noise(3)), atol=1e-5
        )


def test_stripped_plans_get_their_weights_from_the_bundle(tiny: Bundle, machine: Machine) -> None:
    engine = machine.build(tiny, stripped=True)
    with machine.open(tiny, engine) as runtime:
        np.testing.assert_allclose(runtime.infer(noise(2))[0], expected(tiny, noise(2)), atol=1e-5)
    machine.module.broken = {"refit"}
    with pytest.raises(RunError, match="no weights for w"):
        machine.open(tiny, engine)
    machine.module.broken = set()
    tiny.model_path.write_bytes(b"something else")
    with pytest.raises(InputError, match="was changed while it was open"):
        machine.open(tiny, engine)
    machine.cuda.assert_clean()


# Wrong engines.


def test_a_damaged_plan_never_reaches_tensorrt(tiny: Bundle, machine: Machine) -> None:
    engine = machine.build(tiny)
    machine.module.seen.clear()
    (engine.path / "engine.plan").write_bytes(b"something else")
    with pytest.raises(InputError, match="damaged or was replaced"):
        machine.open(tiny, engine)
    assert machine.module.seen == []
    machine.cuda.assert_clean()


def test_a_plan_that_tensorrt_refuses(tiny: Bundle, machine: Machine) -> None:
    engine = machine.build(tiny)
    machine.module.unreadable = True
    with pytest.raises(InputError, match="Serialization assertion failed") as caught:
        machine.open(tiny, engine)
    assert "build the engine again" in caught.value.fix
    assert "b.cpp" not in str(caught.value)


def test_engines_for_another_device_or_version(tiny: Bundle, machine: Machine) -> None:
    engine = machine.build(tiny)
    machine.cuda.device = Device("Thor", "11.0", "13.0")
    with pytest.raises(RunError, match=r"capability 8\.7, and Thor has 11\.0"):
        machine.open(tiny, engine)
    machine.cuda.device = ORIN
    machine.tensorrt = TensorRT("tensorrt", machine.module, "11.4.0.106")
    with pytest.raises(RunError, match=r"built by tensorrt 10\.16"):
        machine.open(tiny, engine)
    machine.cuda.assert_clean()


def test_the_engine_of_another_model(
    tiny: Bundle, tmp_path: Path, make: Any, machine: Machine
) -> None:
    other = make.pack_embedder(
        tmp_path / "other", make.write_embedder(tmp_path / "other.onnx", seed=1)
    )
    with pytest.raises(InputError, match="was built from another model"):
        machine.open(tiny, machine.build(other))


def test_no_profile_for_the_size_of_the_pictures(
    tmp_path: Path, make: Any, machine: Machine
) -> None:
    file = make.write_embedder(tmp_path / "free.onnx", size=("h", "w"))
    bundle = make.pack_embedder(tmp_path / "free", file)
    engine = machine.build(bundle)
    prep = bundle.manifest.preprocessing.model_copy(update={"height": 64, "width": 32})
    larger = Bundle(bundle.path, bundle.manifest.model_copy(update={"preprocessing": prep}))
    with pytest.raises(InputError, match=r"no profile for pictures of 64x32"):
        machine.open(larger, engine)


def test_numbers_that_numpy_has_not(tiny: Bundle, machine: Machine) -> None:
    engine = machine.build(tiny)
    machine.module.broken = {"bf16 output"}
    with pytest.raises(InputError, match=r"'embedding' .* is in BF16"):
        machine.open(tiny, engine)


# What goes wrong while running.


def test_a_batch_that_does_not_fit_leaves_the_smaller_ones_running(
    tiny: Bundle, machine: Machine
) -> None:
    machine.cuda.capacity = 64 << 10
    with machine.open(tiny) as runtime:
        for _ in range(3):
            runtime.infer(noise(4))
            used = machine.cuda.used()
            with pytest.raises(OutOfMemoryError, match="out of memory"):
                runtime.infer(noise(8))
            assert machine.cuda.used() == used
    machine.cuda.assert_clean()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("run", "could not run tiny: .*misaligned address"),
        ("context", "could not prepare tiny: .*OutOfMemory"),
        ("free output", "'embedding' of the engine has shape"),
    ],
)
def test_failures_are_told_and_nothing_leaks(
    tiny: Bundle, machine: Machine, what: str, said: str
) -> None:
    with machine.open(tiny) as runtime:
        machine.module.broken = {what}
        for _ in range(2):
            with pytest.raises(RunError, match=said):
                runtime.infer(noise(1))
        machine.module.broken = set()
        np.testing.assert_allclose(runtime.infer(noise(1))[0], expected(tiny, noise(1)), atol=1e-5)
    machine.cuda.assert_clean()


def test_a_fault_of_the_device_is_an_error_and_not_a_crash(tiny: Bundle, machine: Machine) -> None:
    runtime = machine.open(tiny)
    machine.cuda.fails["synchronise"] = RunError("CUDA answered cudaErrorIllegalAddress")
    with pytest.raises(RunError, match="IllegalAddress"):
        runtime.infer(noise(1))


@given(st.integers(1, 500), st.sets(st.integers(1, 64), min_size=1))
def test_parts_cover_a_batch_once(count: int, sizes: set[int]) -> None:
    buckets = tuple(Bucket(size, place) for place, size in enumerate(sorted(sizes)))
    parts = split(count, buckets)
    ends = [start + bucket.size for start, bucket in parts]
    assert [start for start, _ in parts] == [0, *ends[:-1]]
    assert ends[-1] >= count > parts[-1][0]
    smaller = [b.size for b in buckets if b.size < parts[-1][1].size]
    assert all(count - parts[-1][0] > size for size in smaller)


# The real module, as far as it goes without a GPU.


@pytest.fixture(scope="module")
def rtx() -> TensorRT:
    pytest.importorskip("tensorrt_rtx_bindings")
    return find_tensorrt("tensorrt-rtx")


def test_the_fake_has_nothing_that_the_real_one_lacks(tiny: Bundle, tmp_path: Path, rtx: TensorRT):
    machine = Machine(tmp_path, rtx=True)
    machine.open(tiny).close()
    engine = machine.module._engine(machine.module.seen[-1], machine.tensorrt.messages().logger)
    context = engine.create_execution_context(SimpleNamespace(
        strategy=2, dynamic_shapes_kernel_specialization_strategy=1
    ))  # fmt: skip
    own = {
        "graph",
        "logger",
        "session",
        "told",
        "trt",
    }  # of the fakes, which the runtime never asks
    own |= {"addresses", "cuda", "engine", "profile", "ran", "scratch", "shape"}
    for fake, real in (
        (engine, rtx.module.ICudaEngine),
        (context, rtx.module.IExecutionContext),
        (engine.create_runtime_config(), rtx.module.IRuntimeConfig),
    ):
        names = {name for name in dir(fake) if not name.startswith("_")} - own - {"strategy"}
        assert names - set(dir(real)) == set()
    for kind in (
        "TensorIOMode",
        "ExecutionContextAllocationStrategy",
        "DynamicShapesKernelSpecializationStrategy",
    ):
        offered = set(vars(getattr(machine.module, kind)))
        assert offered <= set(dir(getattr(rtx.module, kind)))
    assert {"Refitter", "OnnxParserRefitter", "Runtime"} <= set(dir(rtx.module))
    assert set(_DTYPES) <= set(dir(rtx.module.DataType))


def test_a_real_plan_without_a_driver_is_an_error_and_not_a_crash(
    tiny: Bundle, tmp_path: Path, rtx: TensorRT
) -> None:
    if find_device() is not None:
        pytest.skip("there is a GPU")
    options = EngineOptions(buckets=(1, 4), capabilities=("8.6",), level=0)
    store = EngineStore(tmp_path / "engines")
    built = EngineBuilder(rtx).build(tiny, options)
    engine = store.keep(store.key(tiny, options, rtx, None), built)
    cuda = FakeCuda(Device("RTX A2000", "8.6", "13.0"))
    for _ in range(2):
        with pytest.raises((InputError, RunError), match=r"refuses the engine|could not load"):
            TensorRtEngine(tiny, engine, rtx, cuda)
        gc.collect()
    cuda.assert_clean()
