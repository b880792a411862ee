"""The torch runtime: the answers of ONNX Runtime, any batch, and nothing loaded unlooked."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from verify_parts import painted

torch = pytest.importorskip("torch")

from crosscam_deploy.bundle import Bundle, load_bundle  # noqa: E402
from crosscam_deploy.paths import packaged_dir  # noqa: E402
from crosscam_deploy.runtime import open_runtime, torch_compile, torch_package  # noqa: E402
from crosscam_deploy.runtime.torch_engine import TorchEngine  # noqa: E402
from crosscam_deploy.runtime.torch_lane import TorchLane  # noqa: E402
from crosscam_deploy.runtime.torch_program import make_program, read_source  # noqa: E402
from crosscam_deploy.verify import Candidate, verify  # noqa: E402
from crosscam_kernels.errors import InputError, RunError, ShapeError, UsageError  # noqa: E402


@pytest.fixture(autouse=True)
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSCAM_DATA", str(tmp_path / "data"))


@pytest.fixture(autouse=True)
def threads_as_before() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def noise(count: int, size: tuple[int, int] = (32, 16)) -> np.ndarray:
    return np.random.default_rng(count).random((count, 3, *size), np.float32)


def by_onnxruntime(bundle: Bundle, batch: np.ndarray, **options: Any) -> list[np.ndarray]:
    with open_runtime(bundle, runtime="onnxruntime", threads=1, **options) as runtime:
        return runtime.infer(batch)


def test_any_batch_has_the_answers_of_onnx_runtime(tiny: Bundle) -> None:
    with open_runtime(tiny, runtime="torch", streams=2) as runtime:
        assert (runtime.name, runtime.device, runtime.precision) == ("torch", "CPU", "f32")
        assert runtime.max_batch is None
        for count in (1, 2, 5):
            batch = noise(count)
            np.testing.assert_allclose(
                runtime.infer(batch)[0], by_onnxruntime(tiny, batch)[0], atol=1e-5
            )
        assert runtime.infer(noise(0))[0].shape == (0, 8)
        waiting = [runtime.submit(noise(count)) for count in (3, 4)]
        assert [len(each.result()[0]) for each in waiting] == [3, 4]
        kept = runtime.infer(noise(2))[0]
        before = kept.copy()
        runtime.infer(noise(3)[:2])
        np.testing.assert_array_equal(kept, before)
        with pytest.raises(ShapeError):
            runtime.infer(np.zeros((1, 3, 8, 8), np.float32))
    with pytest.raises(RunError, match="closed"):
        runtime.infer(noise(1))


def test_a_fixed_batch_takes_any_number(tmp_path: Path, make: Any) -> None:
    file = make.write_embedder(tmp_path / "fixed.onnx", batch=2)
    bundle = make.pack_embedder(tmp_path / "fixed", file)
    with open_runtime(bundle, runtime="torch") as runtime:
        assert runtime.max_batch == 2
        batch = noise(5)
        np.testing.assert_allclose(
            runtime.infer(batch)[0], by_onnxruntime(bundle, batch)[0], atol=1e-5
        )


def test_another_picture_size(tmp_path: Path, make: Any) -> None:
    file = make.write_embedder(tmp_path / "free.onnx", size=("h", "w"))
    bundle = make.pack_embedder(tmp_path / "free", file)
    batch = noise(2, (24, 40))
    with open_runtime(bundle, runtime="torch", input_size=(24, 40)) as runtime:
        found = runtime.infer(batch)[0]
    np.testing.assert_allclose(
        found, by_onnxruntime(bundle, batch, input_size=(24, 40))[0], atol=1e-5
    )


def test_a_graph_that_mixes_the_batch_cannot_pass_for_one_that_does_not(
    tmp_path: Path, make: Any
) -> None:
    file = make.write_embedder(tmp_path / "mixes.onnx", mixes_batch=True)
    bundle = make.pack_embedder(tmp_path / "mixes", file)
    with open_runtime(bundle, runtime="torch") as runtime:
        batch = noise(3)
        np.testing.assert_allclose(
            runtime.infer(batch)[0], by_onnxruntime(bundle, batch)[0], atol=1e-5
        )


def test_threads_are_those_that_were_asked_for(tiny: Bundle) -> None:
    with open_runtime(tiny, runtime="torch", threads=4, streams=2):
        assert torch.get_num_threads() == 2


def test_bf16_is_refused(tiny: Bundle) -> None:
    with pytest.raises(UsageError, match="computes in the types of the graph"):
        open_runtime(tiny, runtime="torch", precision="bf16")


def test_a_graph_that_was_changed_after_it_was_loaded_is_not_run(tmp_path: Path, tiny: Bundle):
    read_source(tiny)  # now what the graph is like is in the cache
    content = bytearray(tiny.model_path.read_bytes())
    content[-1] ^= 1
    copy = tmp_path / "copy"
    shutil.copytree(tiny.path, copy)
    changed = Bundle(copy, tiny.manifest)
    changed.model_path.write_bytes(content)
    with pytest.raises(InputError, match="was changed while it was open"):
        open_runtime(changed, runtime="torch")


def test_openvino_bundles_are_refused(tiny: Bundle) -> None:
    other = Bundle(tiny.path, tiny.manifest.model_copy(update={"format": "openvino"}))
    with pytest.raises(InputError, match="torch cannot run it"):
        open_runtime(other, runtime="torch")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["crosscam-reid", "crosscam-detector"])
def test_the_models_that_come_with_crosscam(name: str) -> None:
    bundle = load_bundle(packaged_dir() / name)
    prep = bundle.manifest.preprocessing
    batch = np.random.default_rng(0).normal(size=(3, 3, prep.height, prep.width))
    batch = batch.astype(np.float32)
    with open_runtime(bundle, runtime="torch") as runtime:
        found = runtime.infer(batch)
    for mine, theirs in zip(found, by_onnxruntime(bundle, batch), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5 * float(np.abs(theirs).max()))


# Lanes as on a GPU, carried out on the CPU.


def test_a_lane_fills_up_and_answers_for_what_was_asked(tiny: Bundle) -> None:
    work = make_program(read_source(tiny)).module(check_guards=False)
    seen: list[int] = []

    def watched(images: Any) -> Any:
        seen.append(len(images))
        return work(images)

    lane = TorchLane(torch, watched, (32, 16), exact=True, graphs=True, device="cpu", name="tiny")
    for count, bucket in ((3, 4), (1, 4), (4, 4), (2, 2)):
        batch = noise(count)
        np.testing.assert_allclose(
            lane.run(batch, bucket)[0], by_onnxruntime(tiny, batch)[0], atol=1e-5
        )
    assert seen == [4, 4, 4, 2]
    kept = lane.run(noise(2), 4)[0]
    before = kept.copy()
    lane.run(noise(4), 4)
    np.testing.assert_array_equal(kept, before)
    lane.close()


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (RuntimeError("Expected something\nmore"), "torch failed on tiny: Expected something"),
        (torch.OutOfMemoryError("CUDA out of memory"), "torch has no memory left for tiny"),
    ],
)
def test_what_torch_raises_becomes_a_clear_error(raised: Exception, words: str) -> None:
    def work(_images: Any) -> Any:
        raise raised

    lane = TorchLane(torch, work, (8, 8), exact=False, graphs=False, device="cpu", name="tiny")
    with pytest.raises(RunError, match=words):
        lane.run(noise(1, (8, 8)), 1)


# Compiled programs.


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """In place of AOTInductor: writes which graph it was asked for."""
    made: list[Path] = []

    def compile_apart(source: Any, device: str, target: Path) -> None:
        made.append(target)
        target.write_text(f"{source.sha256} for {device}")

    monkeypatch.setattr(torch_package, "compile_apart", compile_apart)
    return made


def packaged(bundle: Bundle) -> str:
    with torch_package.package(torch, read_source(bundle), "cpu") as file:
        return file.read_text()


def kept(cache: Path) -> Path:
    (folder,) = (cache / "torch").iterdir()
    return folder / "package.pt2"


def test_a_package_is_compiled_once(tiny: Bundle, compiler: list[Path], private_cache: Path):
    assert packaged(tiny) == packaged(tiny)
    assert len(compiler) == 1
    assert not compiler[0].exists()  # the private copy
    assert kept(private_cache).parent.stat().st_mode & 0o077 == 0


def test_a_package_that_was_changed_is_compiled_anew(
    tiny: Bundle, compiler: list[Path], private_cache: Path
) -> None:
    good = packaged(tiny)
    kept(private_cache).write_text("something else")
    assert packaged(tiny) == good
    assert len(compiler) == 2
    assert packaged(tiny) == good
    assert len(compiler) == 2


def test_a_package_of_another_machine_is_compiled_anew(
    tiny: Bundle, compiler: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged(tiny)
    monkeypatch.setenv("CROSSCAM_DATA", str(tmp_path / "another"))
    packaged(tiny)
    assert len(compiler) == 2


def test_a_package_of_another_torch_processor_or_graph_is_another_one(
    tiny: Bundle, compiler: list[Path], make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged(tiny)
    other = make.pack_embedder(tmp_path / "o", make.write_embedder(tmp_path / "o.onnx", seed=3))
    assert packaged(other) != packaged(tiny)
    monkeypatch.setattr(torch_package, "_processor", lambda: "another")
    packaged(tiny)
    monkeypatch.setattr(torch, "__version__", "99")
    packaged(tiny)
    assert len(compiler) == 4


def test_a_cache_that_cannot_be_written_costs_only_time(
    tiny: Bundle, compiler: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = read_source(tiny)
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    monkeypatch.setenv("CROSSCAM_CACHE", str(blocked))
    for _ in range(2):
        with torch_package.package(torch, source, "cpu") as file:
            assert file.read_text()
    assert len(compiler) == 2


def test_without_a_compiler_it_says_so(tiny: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RunError, match=r"no C\+\+ compiler"):
        open_runtime(tiny, runtime="torch-inductor")


def test_errors_of_the_compiling_process_arrive(
    tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_compile, "_MODULE", "json.tool")  # ends with a status and words
    with pytest.raises(RunError, match="was not compiled for cpu"):
        torch_compile.compile_apart(read_source(tiny), "cpu", tmp_path / "package.pt2")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_aotinductor_for_real(tiny: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = noise(5)
    expected = by_onnxruntime(tiny, batch)[0]
    for compiled in (1, 0):
        if not compiled:  # the second time it comes from the cache
            monkeypatch.setattr(torch_package, "compile_apart", None)
        with TorchEngine(tiny, compiled=True, streams=2) as runtime:
            assert runtime.name == "torch-inductor"
            for count in (5, 1, 3):
                np.testing.assert_allclose(
                    runtime.infer(batch[:count])[0], expected[:count], atol=1e-5
                )
            waiting = [runtime.submit(batch) for _ in range(4)]
            for each in waiting:
                np.testing.assert_allclose(each.result()[0], expected, atol=1e-5)


@pytest.mark.slow
def test_verify_compares_it_with_the_others(tiny: Bundle, tmp_path: Path) -> None:
    report = verify(
        Candidate(bundle=tiny.path),
        [Candidate(bundle=tiny.path, runtime="torch", threads=1)],
        painted(tmp_path / "crops"),
        rounds=1,
        seconds=0.0,
        batches=(1, 3),
    )
    assert report.passed
    assert report.candidates[0].ran_precision == "f32"
    assert report.candidates[0].how() == "torch f32, 1 thread"


# On a GPU.


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("graphs", [False, True])
def test_on_a_gpu_with_graphs_and_buckets(
    tiny: Bundle, compiled: bool, graphs: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with TorchEngine(
        tiny, compiled=compiled, precision="f32", streams=2, device="cuda", graphs=graphs
    ) as runtime:
        for count in (1, 1, 3, 70, 64, 3, 70):
            batch = noise(count)
            np.testing.assert_allclose(
                runtime.infer(batch)[0], by_onnxruntime(tiny, batch)[0], atol=1e-4
            )
        waiting = [runtime.submit(noise(count)) for count in (5, 8, 5, 8)]
        for count, each in zip((5, 8, 5, 8), waiting, strict=True):
            np.testing.assert_allclose(
                each.result()[0], by_onnxruntime(tiny, noise(count))[0], atol=1e-4
            )
    assert "no CUDA graphs" not in caplog.text
