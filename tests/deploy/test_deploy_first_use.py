"""Engines that are built while another one serves: taken over, refused, failed, stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_tensorrt_run import Machine

from crosscam_deploy.bundle import Bundle
from crosscam_deploy.engines import EngineStore
from crosscam_deploy.manifest import Decoder, RunWith
from crosscam_deploy.runtime import gpu, open_runtime
from crosscam_deploy.runtime import open as open_module
from crosscam_deploy.runtime.agreement import disagreement
from crosscam_deploy.runtime.first_use import FirstUse
from crosscam_kernels.errors import InputError, RunError, UsageError


def noise(count: int, size: tuple[int, int] = (32, 16)) -> np.ndarray:
    return np.random.default_rng(count).random((count, 3, *size), np.float32)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """One with a GPU, on which nothing may be left in the end."""
    made = Machine(tmp_path)
    monkeypatch.setattr(open_module, "is_installed", lambda flavour: flavour == "tensorrt")
    monkeypatch.setattr(open_module, "find_device", lambda: made.cuda.device)
    monkeypatch.setattr(gpu, "find_tensorrt", lambda flavour: made.tensorrt)
    monkeypatch.setattr(gpu, "open_cuda", lambda: made.cuda)
    yield made
    made.cuda.assert_clean()


def opened(bundle: Bundle, **options: Any) -> FirstUse:
    runtime = open_runtime(bundle, threads=1, **options)
    assert isinstance(runtime, FirstUse)
    return runtime


def settle(runtime: FirstUse) -> None:
    assert runtime._thread is not None
    runtime._thread.join(60)
    assert not runtime._thread.is_alive()


def test_the_processor_serves_until_the_engine_agrees(tiny: Bundle, machine: Machine) -> None:
    building, on = threading.Event(), threading.Event()
    machine.module.during_build = lambda: (building.set(), on.wait(30))
    with opened(tiny) as runtime:
        runtime.warm_up()
        runtime.infer(noise(0))
        runtime.submit(np.full((2, 3, 32, 16), 0.5, np.float32)).result(30)  # tells nothing
        assert (runtime.state, runtime.name, machine.module.builds) == ("idle", "openvino", 0)
        before = runtime.infer(noise(3))[0]
        assert building.wait(30)
        assert (runtime.state, runtime.name, runtime.device) == ("building", "openvino", "CPU")
        runtime.submit(noise(5)).result(30)  # nobody waits for the build
        on.set()
        settle(runtime)
        assert (runtime.state, runtime.name, runtime.device) == ("switched", "tensorrt", "Orin")
        after = runtime.infer(noise(3))[0]
        np.testing.assert_allclose(after, before, atol=1e-2)
        assert runtime.submit(noise(70)).result(30)[0].shape == (70, 8)
    assert machine.module.builds == 1


def test_the_next_run_takes_the_engine_that_was_kept(tiny: Bundle, machine: Machine) -> None:
    for _ in range(2):
        with opened(tiny) as runtime:
            runtime.infer(noise(1))
            settle(runtime)
            assert runtime.state == "switched"
    assert machine.module.builds == 1


def test_an_engine_that_disagrees_is_not_taken(
    tiny: Bundle, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.module.noise = 5.0
    with opened(tiny) as runtime:
        before = runtime.infer(noise(3))[0]
        settle(runtime)
        assert (runtime.state, runtime.name) == ("failed", "openvino")
        assert "cosine" in runtime.reason
        for _ in range(3):
            np.testing.assert_allclose(runtime.infer(noise(3))[0], before, atol=1e-5)
    assert capsys.readouterr().err.count("openvino goes on") == 1
    assert machine.module.builds == 1


def break_parser(machine: Machine) -> None:
    machine.module.parser_errors = [("NonZero", "/nz", "no importer registered")]


def break_build(machine: Machine) -> None:
    machine.module.out_of_memory = True


def break_running(machine: Machine) -> None:
    machine.module.broken = {"run"}


def break_memory(machine: Machine) -> None:
    machine.cuda.capacity = 100


def break_bindings(machine: Machine) -> None:
    def fail() -> None:
        raise TypeError("incompatible function arguments")

    machine.module.during_build = fail


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (break_parser, "no importer registered"),
        (break_build, "OutOfMemory"),
        (break_running, "misaligned"),
        (break_memory, "out of memory"),
        (break_bindings, "TypeError"),
    ],
)
def test_what_cannot_be_built_is_logged_once_and_serving_goes_on(
    tiny: Bundle,
    machine: Machine,
    capsys: pytest.CaptureFixture[str],
    break_it: Callable[[Machine], None],
    said: str,
) -> None:
    break_it(machine)
    with opened(tiny) as runtime:
        for _ in range(3):
            assert runtime.infer(noise(2))[0].shape == (2, 8)
            settle(runtime)
        assert (runtime.state, runtime.name) == ("failed", "openvino")
        assert said in runtime.reason
    assert capsys.readouterr().err.count("openvino goes on") == 1


def test_closing_stops_the_build(tiny: Bundle, machine: Machine) -> None:
    building, on = threading.Event(), threading.Event()
    machine.module.during_build = lambda: (building.set(), on.wait(30))
    runtime = opened(tiny)
    runtime.infer(noise(1))
    assert building.wait(30)
    closer = threading.Thread(target=runtime.close)
    closer.start()
    while runtime.state != "closed":
        closer.join(0.01)
    on.set()
    closer.join(30)
    assert not closer.is_alive()
    assert (runtime.state, runtime.reason) == ("closed", "")
    assert list(EngineStore()) == []
    with pytest.raises(RunError, match="closed"):
        runtime.infer(noise(1))
    runtime.close()


def test_closing_before_the_first_batch_builds_nothing(tiny: Bundle, machine: Machine) -> None:
    opened(tiny, lazy=True).close()
    assert machine.module.builds == 0


def test_a_switch_in_the_middle_of_many_callers(tiny: Bundle, machine: Machine) -> None:
    with open_runtime(tiny, runtime="openvino", threads=1) as plain:
        wanted = {count: plain.infer(noise(count))[0] for count in range(1, 6)}
    wrong: list[Any] = []
    stop = threading.Event()
    with opened(tiny, streams=2) as runtime:

        def call(start: int) -> None:
            count = start
            while not stop.is_set():
                count = count % 5 + 1
                try:
                    future = runtime.submit(noise(count))
                    for found in (runtime.infer(noise(count)), future.result(30)):
                        np.testing.assert_allclose(found[0], wanted[count], atol=1e-2)
                except Exception as error:
                    wrong.append(error)
                    return

        threads = [threading.Thread(target=call, args=(k,)) for k in range(3)]
        for thread in threads:
            thread.start()
        while runtime.state in ("idle", "building"):
            threads[0].join(0.01)
        threads[0].join(0.3)
        stop.set()
        for thread in threads:
            thread.join(30)
        assert runtime.state == "switched"
    assert wrong == []


def test_the_one_before_is_freed_when_its_last_caller_is_done(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, on, closed = threading.Event(), threading.Event(), threading.Event()
    serving = open_runtime(tiny, runtime="openvino", precision="f32")
    faster = open_runtime(tiny, runtime="onnxruntime", precision="f32")
    plain, close = serving.infer, serving.close

    def infer(batch: np.ndarray) -> Any:
        if len(batch) == 7:
            inside.set()
            assert on.wait(30)
            assert not closed.is_set()
        return plain(batch)

    monkeypatch.setattr(serving, "infer", infer)
    monkeypatch.setattr(serving, "close", lambda: (closed.set(), close()))
    found: list[Any] = []
    with FirstUse(serving, lambda told: (inside.wait(30), faster)[1], "onnxruntime") as runtime:
        runtime.infer(noise(2))
        caller = threading.Thread(target=lambda: found.append(runtime.infer(noise(7))))
        caller.start()
        while runtime.name != "onnxruntime":
            caller.join(0.01)
        assert not closed.wait(0.2)
        assert runtime.infer(noise(2))[0].shape == (2, 8)  # does not wait for that caller
        on.set()
        caller.join(30)
        settle(runtime)
        assert closed.is_set()
    assert found[0][0].shape == (7, 8)


def test_two_models_are_built_one_after_the_other(
    tiny: Bundle, tmp_path: Path, make: Any, machine: Machine
) -> None:
    other = make.pack_embedder(tmp_path / "o", make.write_embedder(tmp_path / "o.onnx", seed=1))
    at_once, most = [0], [0]

    def during() -> None:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        threading.Event().wait(0.1)
        at_once[0] -= 1

    machine.module.during_build = during
    with opened(tiny) as one, opened(other) as two:
        for runtime in (one, two):
            runtime.infer(noise(1))
        for runtime in (one, two):
            settle(runtime)
            assert runtime.state == "switched"
    assert most == [1]


# Which runtime it is.


def test_asked_for_it_is_built_before_it_is_given(tiny: Bundle, machine: Machine) -> None:
    with open_runtime(tiny, runtime="tensorrt", precision="f32", streams=2) as runtime:
        assert (runtime.name, machine.module.builds) == ("tensorrt", 1)
        assert runtime.infer(noise(3))[0].shape == (3, 8)
    with pytest.raises(UsageError, match="types of the graph"):
        open_runtime(tiny, runtime="tensorrt", precision="bf16")
    ir = Bundle(tiny.path, tiny.manifest.model_copy(update={"format": "openvino"}))
    with pytest.raises(UsageError, match="ONNX bundle"):
        open_runtime(ir, runtime="tensorrt")


def test_comparisons_and_models_built_for_processors_stay_there(
    tiny: Bundle, machine: Machine
) -> None:
    with open_runtime(tiny, precision="f32") as runtime:
        assert runtime.name == "openvino"
        assert not isinstance(runtime, FirstUse)
    chosen = RunWith(runtime="onnxruntime", precision="f32")
    built = Bundle(tiny.path, tiny.manifest.model_copy(update={"run_with": chosen}))
    with open_runtime(built) as runtime:
        assert not isinstance(runtime, FirstUse)


def test_a_driver_out_of_order_leaves_the_processor(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RunError("the CUDA driver answered CUDA_ERROR_UNKNOWN")

    monkeypatch.setattr(open_module, "is_installed", lambda flavour: True)
    monkeypatch.setattr(open_module, "find_device", broken)
    with open_runtime(tiny) as runtime:
        assert not isinstance(runtime, FirstUse)


def test_damaged_and_refused_engines_are_built_anew(tiny: Bundle, machine: Machine) -> None:
    open_runtime(tiny, runtime="tensorrt").close()
    (engine,) = EngineStore()
    (engine.path / "engine.plan").write_bytes(b"something else")
    open_runtime(tiny, runtime="tensorrt").close()
    assert machine.module.builds == 2
    plain, refused = machine.module._engine, [True]

    def once(plan: bytes, logger: Any) -> Any:
        return None if refused and refused.pop() else plain(plan, logger)

    machine.module._engine = once  # type: ignore[method-assign]
    with open_runtime(tiny, runtime="tensorrt") as runtime:
        assert runtime.infer(noise(1))[0].shape == (1, 8)
    assert machine.module.builds == 3


def test_other_picture_sizes_have_engines_of_their_own(
    tmp_path: Path, make: Any, machine: Machine
) -> None:
    file = make.write_embedder(tmp_path / "free.onnx", size=("h", "w"))
    bundle = make.pack_embedder(tmp_path / "free", file)
    for size in ((48, 24), (32, 16)):
        batch = noise(3, size)
        with open_runtime(bundle, runtime="onnxruntime", input_size=size) as plain:
            wanted = plain.infer(batch)[0]
        with open_runtime(bundle, runtime="tensorrt", input_size=size) as runtime:
            assert (runtime.input_size, runtime.bundle.model_id) == (size, bundle.model_id)
            np.testing.assert_allclose(runtime.infer(batch)[0], wanted, atol=1e-5)
    assert len(list(EngineStore())) == machine.module.builds == 2


def test_sizes_that_the_graph_does_not_take(tiny: Bundle, machine: Machine) -> None:
    with pytest.raises(InputError, match="48x24"):
        open_runtime(tiny, runtime="tensorrt", input_size=(48, 24))


# Agreement.


def detector(tiny: Bundle, kind: str) -> Bundle:
    changes = {"task": "detect", "decoder": Decoder(kind=kind), "embedding_dim": None}
    return Bundle(tiny.path, tiny.manifest.model_copy(update=changes))


def boxes(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array([rows], np.float32)


def test_end_to_end_detectors_agree_in_any_order(tiny: Bundle) -> None:
    bundle, batch = detector(tiny, "end2end"), noise(1)
    one, two = (0, 0, 8, 30, 0.9, 0), (8, 2, 15, 28, 0.8, 0)
    low, other = (1, 1, 9, 31, 0.01, 0), (8, 2, 12, 10, 0.8, 0)
    usual = [boxes(one, two, low)]
    assert disagreement(bundle, batch, usual, [boxes(two, one, low)]) is None
    found = disagreement(bundle, batch, usual, [boxes(one, other, low)])
    assert found is not None
    assert "boxes in common" in found


def test_numbers_that_are_none_and_other_shapes_disagree(tiny: Bundle) -> None:
    batch = noise(2)
    usual = [np.ones((2, 8), np.float32)]
    nan = [np.full((2, 8), np.nan, np.float32)]
    assert disagreement(tiny, batch, usual, usual) is None
    assert "not finite" in str(disagreement(tiny, batch, usual, nan))
    assert "shape" in str(disagreement(tiny, batch, usual, [np.ones((1, 8), np.float32)]))
    one_off = [np.ones((2, 8), np.float32)]
    one_off[0][1, :4] = -1
    assert "cosine of 0.0000" in str(disagreement(tiny, batch, usual, one_off))
