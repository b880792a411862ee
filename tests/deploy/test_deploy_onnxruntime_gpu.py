"""ONNX Runtime's providers for GPUs, over stand-ins for both, and their real refusal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from fake_cuda import FakeCuda
from fake_onnxruntime_gpu import GPU, FakeGpuRuntime

from crosscam_deploy.bundle import Bundle
from crosscam_deploy.runtime import open_runtime, sealed
from crosscam_deploy.runtime.cuda import OutOfMemoryError
from crosscam_deploy.runtime.onnxruntime_gpu import OnnxRuntimeGpuEngine, fitting
from crosscam_deploy.runtime.onnxruntime_providers import (
    GpuOptions,
    Provider,
    cuda_provider,
    tensorrt_provider,
)
from crosscam_kernels.errors import InputError, RunError, UsageError

PROVIDERS: tuple[Provider, ...] = ("cuda", "tensorrt")
CPU_ONLY = not {*GPU} & {*ort.get_available_providers()}


@pytest.fixture(autouse=True)
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSCAM_DATA", str(tmp_path / "data"))


@pytest.fixture
def cuda() -> Iterator[FakeCuda]:
    device = FakeCuda()
    yield device
    device.assert_clean()


@pytest.fixture
def world(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> FakeGpuRuntime:
    return FakeGpuRuntime(cuda).install(monkeypatch)


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(count).random((count, 3, 32, 16), np.float32)


def expected(bundle: Bundle, batch: np.ndarray) -> np.ndarray:
    with open_runtime(bundle, runtime="onnxruntime", threads=1) as runtime:
        return runtime.infer(batch)[0]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("streams", [1, 3])
def test_batches_of_any_size(
    tiny: Bundle, world: FakeGpuRuntime, cuda: FakeCuda, provider: Provider, streams: int
) -> None:
    with OnnxRuntimeGpuEngine(tiny, provider, streams=streams, cuda=cuda) as runtime:
        assert runtime.name == f"onnxruntime-{provider}"
        assert runtime.device == "Orin"
        assert runtime.max_batch is None
        assert len(world.opened) == streams
        for count in (1, 3, 1, 70, 3, 64):
            batch = noise(count)
            np.testing.assert_allclose(runtime.infer(batch)[0], expected(tiny, batch), atol=1e-6)
        waiting = [runtime.submit(noise(count)) for count in (5, 8, 5, 8, 64, 2)]
        for count, each in zip((5, 8, 5, 8, 64, 2), waiting, strict=True):
            np.testing.assert_allclose(each.result()[0], expected(tiny, noise(count)), atol=1e-6)
        kept = runtime.infer(noise(3))[0]
        before = kept.copy()
        runtime.infer(noise(4))
        np.testing.assert_array_equal(kept, before)
    with pytest.raises(RunError, match="closed"):
        runtime.infer(noise(1))


def test_each_bucket_is_a_graph_of_its_own_from_its_second_batch_on(
    tiny: Bundle, world: FakeGpuRuntime, cuda: FakeCuda
) -> None:
    with OnnxRuntimeGpuEngine(tiny, "cuda", cuda=cuda) as runtime:
        runtime.infer(noise(1))
        runtime.infer(noise(3))
        assert not world.captured[0]
        for count in (1, 3, 4, 2):
            runtime.infer(noise(count))
        assert set(world.captured[0]) == {"1", "4"}


def test_a_fixed_batch_is_the_only_bucket(
    tmp_path: Path, make: Any, world: FakeGpuRuntime, cuda: FakeCuda
) -> None:
    bundle = make.pack_embedder(
        tmp_path / "f", make.write_embedder(tmp_path / "fixed.onnx", batch=2)
    )
    with OnnxRuntimeGpuEngine(bundle, "tensorrt", cuda=cuda) as runtime:
        assert runtime.max_batch == 2
        np.testing.assert_allclose(
            runtime.infer(noise(5))[0], expected(bundle, noise(5)), atol=1e-6
        )
    told = dict(world.opened[0])["TensorrtExecutionProvider"]
    assert "trt_profile_min_shapes" not in told
    assert told["trt_cuda_graph_enable"] == "1"


def test_options_of_the_cuda_provider() -> None:
    name, told = cuda_provider(GpuOptions(), 77)
    assert name == "CUDAExecutionProvider"
    assert told == {
        "device_id": "0",
        "user_compute_stream": "77",
        "cudnn_conv_algo_search": "HEURISTIC",
        "cudnn_conv_use_max_workspace": "1",
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": "1",
        "enable_cuda_graph": "1",
    }
    options = GpuOptions(
        device=2, memory_limit=1 << 30, tf32=False, search="EXHAUSTIVE", graphs=False
    )
    _, told = cuda_provider(options, 0)
    assert told["device_id"] == "2"
    assert told["gpu_mem_limit"] == str(1 << 30)
    assert told["cudnn_conv_algo_search"] == "EXHAUSTIVE"
    assert (told["use_tf32"], told["enable_cuda_graph"]) == ("0", "0")


def test_options_of_the_tensorrt_provider(tmp_path: Path) -> None:
    options = GpuOptions(memory_limit=1 << 28, half=True, int8=True)
    where: dict[str, Any] = {"cache": tmp_path, "image": "images", "size": (96, 48)}
    name, told = tensorrt_provider(options, 5, **where, buckets=(1, 4, 64), free_batch=True)
    assert name == "TensorrtExecutionProvider"
    assert told["trt_profile_min_shapes"] == "images:1x3x96x48"
    assert told["trt_profile_opt_shapes"] == "images:64x3x96x48"
    assert told["trt_profile_max_shapes"] == "images:64x3x96x48"
    assert told["trt_engine_cache_path"] == told["trt_timing_cache_path"] == str(tmp_path)
    assert told["trt_engine_cache_enable"] == told["trt_timing_cache_enable"] == "1"
    assert (told["trt_fp16_enable"], told["trt_int8_enable"]) == ("1", "1")
    assert told["trt_max_workspace_size"] == str(1 << 28)
    assert told["trt_cuda_graph_enable"] == "0"  # one graph, and several sizes
    _, told = tensorrt_provider(GpuOptions(), 5, **where, buckets=(8,), free_batch=False)
    assert (told["trt_fp16_enable"], told["trt_int8_enable"]) == ("0", "0")
    assert "trt_profile_min_shapes" not in told


@pytest.mark.parametrize(
    ("precision", "exact", "found"),
    [
        ("f32", False, (True, False, False)),
        ("f32", True, (False, False, False)),
        ("f16", False, (True, True, False)),
        ("f16", True, (False, False, False)),
        ("int8", False, (True, False, True)),
        ("mixed", True, (False, False, True)),
    ],
)
def test_options_follow_from_the_bundle(
    tiny: Bundle, precision: Any, exact: bool, found: tuple[bool, bool, bool]
) -> None:
    bundle = Bundle(tiny.path, tiny.manifest.model_copy(update={"precision": precision}))
    options = fitting(bundle, exact=exact)
    assert (options.tf32, options.half, options.int8) == found


def test_options_out_of_range() -> None:
    with pytest.raises(UsageError, match="device=-1"):
        GpuOptions(device=-1)
    with pytest.raises(UsageError, match="memory_limit=5"):
        GpuOptions(memory_limit=5)


def test_sessions_leave_the_processor_alone(
    tiny: Bundle, world: FakeGpuRuntime, cuda: FakeCuda
) -> None:
    OnnxRuntimeGpuEngine(tiny, "cuda", cuda=cuda).close()
    assert world.threads == [1]


def test_where_nothing_can_be_captured_it_runs_without(
    tiny: Bundle, world: FakeGpuRuntime, cuda: FakeCuda
) -> None:
    world.refuses_graphs = True
    with OnnxRuntimeGpuEngine(tiny, "cuda", streams=2, cuda=cuda) as runtime:
        for _ in range(2):
            np.testing.assert_allclose(
                runtime.infer(noise(3))[0], expected(tiny, noise(3)), atol=1e-6
            )
    asked = [dict(each)["CUDAExecutionProvider"]["enable_cuda_graph"] for each in world.opened]
    assert asked == ["1", "0", "0"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_provider_that_was_not_loaded_is_an_error(
    tiny: Bundle, world: FakeGpuRuntime, cuda: FakeCuda, provider: Provider
) -> None:
    world.loads = False
    with pytest.raises(RunError, match="it took CPUExecutionProvider instead") as caught:
        OnnxRuntimeGpuEngine(tiny, provider, cuda=cuda)
    assert "CUDA" in caught.value.expected


@pytest.mark.skipif(not CPU_ONLY, reason="this ONNX Runtime has providers for GPUs")
@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_installed_onnx_runtime_has_none(tiny: Bundle, provider: Provider) -> None:
    with pytest.raises(RunError, match=r"has no \w+ExecutionProvider, only") as caught:
        open_runtime(tiny, runtime=f"onnxruntime-{provider}")  # type: ignore[arg-type]
    assert "onnxruntime-gpu" in caught.value.fix


def test_no_memory_for_a_bucket(tiny: Bundle, world: FakeGpuRuntime, cuda: FakeCuda) -> None:
    cuda.capacity = 200_000
    with OnnxRuntimeGpuEngine(tiny, "cuda", cuda=cuda) as runtime:
        runtime.infer(noise(4))
        with pytest.raises(OutOfMemoryError):
            runtime.infer(noise(64))
        np.testing.assert_allclose(runtime.infer(noise(4))[0], expected(tiny, noise(4)), atol=1e-6)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("BFCArena: Failed to allocate memory for requested buffer of size 9", OutOfMemoryError),
        ("CUDNN_STATUS_EXECUTION_FAILED\nand more", RunError),
    ],
)
def test_a_failed_run_leaves_the_runtime_usable(
    tiny: Bundle, world: FakeGpuRuntime, cuda: FakeCuda, said: str, kind: type[RunError]
) -> None:
    with OnnxRuntimeGpuEngine(tiny, "cuda", cuda=cuda) as runtime:
        for _ in range(2):
            world.run_fails = said
            with pytest.raises(RunError, match=said.partition("\n")[0]) as caught:
                runtime.infer(noise(3))
            assert type(caught.value) is kind
            world.run_fails = ""
            np.testing.assert_allclose(
                runtime.infer(noise(3))[0], expected(tiny, noise(3)), atol=1e-6
            )


def test_a_graph_that_loses_the_batch_is_refused(
    tmp_path: Path, make: Any, world: FakeGpuRuntime, cuda: FakeCuda
) -> None:
    onnx = pytest.importorskip("onnx")
    file = make.write_embedder(tmp_path / "lost.onnx")
    model = onnx.load(file)
    model.graph.node[-1].CopyFrom(onnx.helper.make_node("Flatten", ["p"], ["embedding"], axis=0))
    onnx.save(model, file)
    bundle = make.pack_embedder(tmp_path / "lost", file)
    with (
        OnnxRuntimeGpuEngine(bundle, "cuda", cuda=cuda) as runtime,
        pytest.raises(RunError, match="for a batch of 4"),
    ):
        runtime.infer(noise(3))


def test_openvino_bundles_and_bf16_are_refused(tiny: Bundle) -> None:
    other = Bundle(tiny.path, tiny.manifest.model_copy(update={"format": "openvino"}))
    with pytest.raises(InputError, match="ONNX Runtime cannot run it"):
        OnnxRuntimeGpuEngine(other, "cuda")
    with pytest.raises(UsageError, match="types of the graph"):
        open_runtime(tiny, runtime="onnxruntime-cuda", precision="bf16")


# TensorRT's engines in the cache.


def engines(world: FakeGpuRuntime) -> Path:
    return Path(dict(world.opened[-1])["TensorrtExecutionProvider"]["trt_engine_cache_path"])


def opened(tiny: Bundle, cuda: FakeCuda, **options: Any) -> OnnxRuntimeGpuEngine:
    return OnnxRuntimeGpuEngine(tiny, "tensorrt", cuda=cuda, **options)


def test_engines_are_used_again_where_this_machine_left_them(
    tiny: Bundle, world: FakeGpuRuntime, cuda: FakeCuda
) -> None:
    with opened(tiny, cuda) as runtime:
        (engines(world) / "a.engine").write_bytes(b"built")
        runtime.warm_up()
        assert (engines(world) / sealed.SEAL).is_file()
        (engines(world) / "b.engine").write_bytes(b"built later")
    opened(tiny, cuda).close()
    assert (engines(world) / "b.engine").read_bytes() == b"built later"
    assert engines(world).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("what", ["changed", "added"])
def test_engines_that_were_tampered_with_are_gone_before_they_could_be_loaded(
    tiny: Bundle, world: FakeGpuRuntime, cuda: FakeCuda, what: str
) -> None:
    with opened(tiny, cuda):
        (engines(world) / "a.engine").write_bytes(b"built")
    name = "a.engine" if what == "changed" else "evil.engine"
    (engines(world) / name).write_bytes(b"evil")
    with opened(tiny, cuda):
        assert not list(engines(world).glob("*.engine"))


def test_other_options_have_other_engines(
    tiny: Bundle, world: FakeGpuRuntime, cuda: FakeCuda
) -> None:
    folders = set()
    for options in (GpuOptions(), GpuOptions(half=True), GpuOptions(int8=True)):
        opened(tiny, cuda, options=options).close()
        folders.add(engines(world))
    assert len(folders) == 3


@pytest.mark.gpu
@pytest.mark.parametrize("provider", PROVIDERS)
def test_on_a_gpu(tiny: Bundle, provider: Provider) -> None:
    if CPU_ONLY:
        pytest.skip("this ONNX Runtime has no providers for GPUs")
    with open_runtime(tiny, runtime=f"onnxruntime-{provider}", precision="f32") as runtime:  # type: ignore[arg-type]
        for count in (1, 1, 3, 70, 3, 70):
            np.testing.assert_allclose(
                runtime.infer(noise(count))[0], expected(tiny, noise(count)), atol=1e-4
            )
