"""Compiled graphs that are kept: the same answers to the bit, and damage never shows."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from crosscam_deploy.bundle import Bundle
from crosscam_deploy.runtime import compiled_cache, open_runtime, openvino_engine, openvino_graph
from crosscam_deploy.zoo import resolve
from crosscam_kernels.errors import InputError


def noise(bundle: Bundle, size=None) -> np.ndarray:
    prep = bundle.manifest.preprocessing
    height, width = size or (prep.height, prep.width)
    return np.random.default_rng(7).random((2, 3, height, width), np.float32)


def answer(bundle: Bundle, size=None, **options) -> list[np.ndarray]:
    with open_runtime(bundle, runtime="openvino", input_size=size, **options) as runtime:
        return runtime.infer(noise(bundle, size))


@pytest.fixture
def compiled(monkeypatch) -> list[str]:
    """Names of the models that were read and compiled, not taken from the cache."""
    names: list[str] = []
    read = openvino_engine.graph

    def noted(bundle, size):
        names.append(bundle.manifest.name)
        return read(bundle, size)

    for module in (openvino_engine, openvino_graph):
        monkeypatch.setattr(module, "graph", noted)
    return names


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("yolox-nano", None),
        ("yolox-nano", (480, 640)),
        ("person-reidentification-retail-0277", None),
    ],
)
def test_real_models_answer_the_same_to_the_bit(
    name, size, real_models, shared_cache, monkeypatch, tmp_path, compiled
):
    monkeypatch.setenv("CROSSCAM_MODELS", str(real_models))
    bundle = resolve(name)
    for options in ({"streams": 2}, {"precision": "f32", "threads": 1}):
        compiled.clear()
        first, second = answer(bundle, size, **options), answer(bundle, size, **options)
        assert len(compiled) == 1
        for one, two in zip(first, second, strict=True):
            np.testing.assert_array_equal(one, two)


def test_size_precision_and_manifest_have_their_own(tmp_path, make, compiled):
    file = make.write_embedder(tmp_path / "free.onnx", size=("h", "w"))
    bundle = make.pack_embedder(tmp_path / "free", file)
    answer(bundle)
    answer(bundle, (64, 48))
    answer(bundle, precision="f32")
    assert len(compiled) == 3
    answer(bundle, (64, 48))
    assert len(compiled) == 3
    wrong = Bundle(bundle.path, bundle.manifest.model_copy(update={"input_name": "x"}))
    with pytest.raises(InputError, match="input_name"):
        answer(wrong)


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flipped(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


@pytest.mark.parametrize("damage", [_cut, _flipped, lambda _: b""])
def test_damage_is_noticed_and_mended(tiny, private_cache, compiled, damage):
    expected = answer(tiny)[0]
    (file,) = (private_cache / "compiled").iterdir()
    file.write_bytes(damage(file.read_bytes()))
    np.testing.assert_array_equal(answer(tiny)[0], expected)
    assert len(compiled) == 2
    np.testing.assert_array_equal(answer(tiny)[0], expected)
    assert len(compiled) == 2


def test_what_openvino_does_not_take_is_compiled_anew(tiny, monkeypatch, compiled):
    expected = answer(tiny)[0]
    monkeypatch.setattr(compiled_cache, "load", lambda _key: b"of another kind" * 99)
    np.testing.assert_array_equal(answer(tiny)[0], expected)
    assert len(compiled) == 2


def test_without_a_writable_cache(tiny, private_cache):
    private_cache.write_text("a file where the folder should be")
    assert answer(tiny)[0].shape == (2, 8)


def test_room_is_bounded_and_the_unused_goes_first(private_cache, monkeypatch):
    monkeypatch.setattr(compiled_cache, "ROOM", 3500)
    for number in range(3):
        compiled_cache.keep(f"key {number}", bytes([number]) * 1000)
        for file in (private_cache / "compiled").iterdir():  # all a minute older
            then = file.stat().st_mtime - 60
            os.utime(file, (then, then))
    assert compiled_cache.load("key 0") == bytes(1000)  # used: now the youngest
    compiled_cache.keep("key 3", b"x" * 1000)
    assert compiled_cache.load("key 1") is None
    assert [compiled_cache.load(f"key {k}") is not None for k in (0, 2, 3)] == [True] * 3
    monkeypatch.setattr(compiled_cache, "LARGEST", 10)
    compiled_cache.keep("key 4", b"x" * 11)
    assert compiled_cache.load("key 4") is None


def test_a_lazy_runtime_is_compiled_once_and_only_when_used(tiny, compiled):
    with open_runtime(tiny, runtime="openvino", lazy=True) as runtime:
        assert compiled == ["tiny"]  # read once to check it
        said = runtime.precision
    with open_runtime(tiny, runtime="openvino", lazy=True, streams=2) as runtime:
        assert compiled == ["tiny"]  # it is known by now
        together = threading.Barrier(4)

        def infer(_number: int) -> np.ndarray:
            together.wait(10)
            return runtime.infer(noise(tiny))[0]

        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(infer, range(4)))
        assert compiled == ["tiny"] * 2
        assert runtime.precision == said
    for found in answers:
        np.testing.assert_array_equal(found, answers[0])
    np.testing.assert_array_equal(answers[0], answer(tiny, streams=2)[0])


def test_a_lazy_runtime_finds_errors_at_once(tiny):
    wrong = Bundle(tiny.path, tiny.manifest.model_copy(update={"embedding_dim": 256}))
    with pytest.raises(InputError, match="the graph returns 8"):
        open_runtime(wrong, runtime="openvino", lazy=True)
