"""Small real graphs, a private cache, and the real models when they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from crosscam_deploy.bundle import Bundle
from crosscam_deploy.engines import TensorRT, find_tensorrt
from crosscam_deploy.manifest import Decoder, Preprocessing
from crosscam_deploy.packing import pack
from crosscam_deploy.zoo import lookup


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    """Every test has its own cache, no model folders and no models that come with crosscam."""
    monkeypatch.setenv("CROSSCAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CROSSCAM_MODELS", raising=False)
    monkeypatch.setattr(lookup, "packaged_dir", lambda: tmp_path / "packaged")
    return tmp_path / "cache"


@pytest.fixture(scope="session", autouse=True)
def kept_bytecode(tmp_path_factory):
    """Let processes that tests start keep compiled modules, where the environment forbids it.

    `verify` starts one for each candidate, which would compile some hundred modules anew.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("bytecode")))
        yield


_REAL_MODELS = os.environ.get("CROSSCAM_MODELS", "")


@pytest.fixture(scope="session")
def real_models() -> Path:
    """Folder with the real models of the assets."""
    folder = Path(_REAL_MODELS) if _REAL_MODELS else None
    if folder is None or not (folder / "yolox_nano.onnx").is_file():
        pytest.skip("CROSSCAM_MODELS does not name the folder with the real models")
    return folder


@pytest.fixture(scope="module")
def rtx() -> TensorRT:
    """The real TensorRT-RTX, whose builder needs no GPU."""
    pytest.importorskip("tensorrt_rtx_bindings")
    return find_tensorrt("tensorrt-rtx")


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory) -> Path:
    """One cache for all tests of the real models."""
    return tmp_path_factory.mktemp("real-cache")


def write_embedder(
    path: Path,
    *,
    batch: int | str = "batch",
    size: tuple[int | str, int | str] = (32, 16),
    dim: int = 8,
    mixes_batch: bool = False,
    seed: int = 0,
) -> Path:
    """Write convolution -> average pool -> flatten; optionally one that mixes the images."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(seed).normal(size=(dim, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f" if mixes_batch else "embedding"]),
    ]
    if mixes_batch:
        nodes.append(helper.make_node("ReduceMean", ["f"], ["m"], axes=[0], keepdims=1))
        nodes.append(helper.make_node("Add", ["f", "m"], ["embedding"]))
    graph = helper.make_graph(
        nodes,
        "embedder",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, *size])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, dim])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def write_constant_detector(
    path: Path, outputs: dict[str, np.ndarray], *, size: tuple[int, int] = (64, 64)
) -> Path:
    """Write a graph that returns given arrays `(1, …)` for each image, whatever it shows."""
    pytest.importorskip("onnx")
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["nothing4"]),
        helper.make_node("Reshape", ["nothing4", "shape"], ["nothing"]),
    ]
    initializers = [
        numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
        numpy_helper.from_array(np.array([-1, 1, 1], np.int64), "shape"),
    ]
    infos = []
    for name, array in outputs.items():
        initializers.append(numpy_helper.from_array(array.astype(np.float32), f"{name}_value"))
        nodes.append(helper.make_node("Add", ["nothing", f"{name}_value"], [name]))
        shape = ["batch", *array.shape[1:]]
        infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, *size])
    graph = helper.make_graph(nodes, "detector", [image], infos, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def pack_embedder(
    folder: Path, file: Path, *, size: tuple[int, int] = (32, 16), name: str = "tiny"
) -> Bundle:
    """Make a bundle of `write_embedder`'s graph."""
    return pack(
        folder,
        name=name,
        task="embed",
        files={file.name: file},
        preprocessing=Preprocessing(height=size[0], width=size[1], color="rgb", scale=1 / 255),
        decoder=None,
        licence="Apache-2.0",
        source="test",
    )


def pack_detector(
    folder: Path, file: Path, decoder: Decoder, *, size: tuple[int, int] = (64, 64)
) -> Bundle:
    """Make a bundle of `write_constant_detector`'s graph."""
    return pack(
        folder,
        name="tiny-detector",
        task="detect",
        files={file.name: file},
        preprocessing=Preprocessing(
            height=size[0], width=size[1], color="bgr", fit="letterbox", filter="bilinear"
        ),
        decoder=decoder,
        licence="Apache-2.0",
        source="test",
    )


@pytest.fixture
def tiny(tmp_path) -> Bundle:
    """A small embedder bundle."""
    return pack_embedder(tmp_path / "tiny", write_embedder(tmp_path / "tiny.onnx"))


class Factory:
    """The helpers above, for tests that need graphs of their own."""

    write_embedder = staticmethod(write_embedder)
    write_constant_detector = staticmethod(write_constant_detector)
    pack_embedder = staticmethod(pack_embedder)
    pack_detector = staticmethod(pack_detector)


@pytest.fixture(scope="session")
def make() -> type[Factory]:
    return Factory
