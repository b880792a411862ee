"""Plugins: real PTX is checked, described to TensorRT, and launched as TensorRT launches it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fake_tensorrt import FakeTensorRT
from fake_tensorrt_plugin import FakePlugin, TensorDesc, trt
from onnx import TensorProto, helper

from crosscam_deploy.bundle import Bundle, load_bundle
from crosscam_deploy.engines import Device, EngineBuilder, EngineOptions, TensorRT
from crosscam_deploy.export.retrieval_head import (
    RetrievalHead,
    append_retrieval_head,
    write_retrieval_graph,
)
from crosscam_deploy.graph_safety import check_safe
from crosscam_deploy.paths import packaged_dir
from crosscam_deploy.plugins import PluginKernels, newest_ptx, register_plugins, two_nodes
from crosscam_kernels import normalise_quantise, similarity_topk
from crosscam_kernels.aot import ARCHITECTURES, compile_kernels
from crosscam_kernels.aot.listings import read_ptx
from crosscam_kernels.errors import InputError, UsageError

MERGE, STREAM = "similarity_merge_k16", "similarity_stream_plugin_fp32_16_k16"
MASKED, CODES = "similarity_stream_plugin_masked_fp32_16_k16", "normalise_quantise_fp32_512"
KERNELS = {MERGE: (1, 2), STREAM: (2, 1), MASKED: (5, 1), CODES: (1, 2)}


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernels that embeddings in float32 need, for one architecture."""
    pytest.importorskip("triton")
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("plugin-kernels")
    compile_kernels(folder, architectures=["sm_80"], kernels=[*KERNELS], jobs=1)
    return folder


def changed(folder: Path, to: Path, name: str, change: Any) -> Path:
    """A copy of compiled kernels with one binary of the manifest, and its PTX, changed."""
    shutil.copytree(folder, to)
    file = to / "manifest.json"
    told = json.loads(file.read_text())
    kernel = next(each for each in told["kernels"] if each["name"] == name)
    binary = kernel["binaries"][0]
    ptx = to / binary["ptx"]["path"]
    text = change(kernel, binary, ptx.read_text()) or ptx.read_text()
    ptx.write_text(text)
    binary["ptx"]["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    file.write_text(json.dumps(told))
    return to


# What is checked before anything is handed over.


def test_what_is_passed_is_what_the_ptx_declares(compiled: Path) -> None:
    kernels = PluginKernels(compiled, "sm_80", driver="12.0")
    for name, (inputs, outputs) in KERNELS.items():
        kernel = kernels.get(name, inputs=inputs, outputs=outputs)
        facts = read_ptx(kernel.ptx)
        expected = [".u64"] * inputs + [".u32"] * len(kernel.scalars) + [".u64"] * outputs
        assert [*facts.parameters] == expected
        assert facts.entry == kernel.entry
        assert facts.block_threads == kernel.block_threads
        assert kernel.shared_bytes <= 48 * 1024
    assert kernels.get(MERGE, inputs=1, outputs=2).scalars == ("count", "nodes")


def test_a_file_that_was_replaced(compiled: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(compiled, tmp_path / "copy")
    ptx = folder / f"{MERGE}.sm_80.ptx"
    ptx.write_text(ptx.read_text().replace("ret;", "trap;"))
    with pytest.raises(InputError, match="damaged or was replaced"):
        PluginKernels(folder, "sm_80").get(MERGE, inputs=1, outputs=2)


CHANGES: dict[str, tuple[Any, str]] = {
    "no plugin": (lambda k, b, t: k.update(plugin=False), "not written for plugins"),
    "shared memory": (lambda k, b, t: b.update(shared_bytes=49153), "49153 bytes of shared"),
    "global scratch": (lambda k, b, t: b.update(global_scratch_bytes=8), "scratch memory"),
    "profile scratch": (lambda k, b, t: b.update(profile_scratch_bytes=8), "scratch memory"),
    "warps": (lambda k, b, t: k.update(num_warps=8), "128 threads, not 32 a warp"),
    "block": (
        lambda k, b, t: t.replace(".reqntid 128", ".reqntid 64"),
        "block is 64 in the PTX and 128 in the manifest",
    ),
    "target": (lambda k, b, t: t.replace(".target sm_80", ".target sm_90a"), "target is sm_90a"),
    "version": (lambda k, b, t: t.replace(".version 8.0", ".version 9.4"), "version is 9.4"),
    "order": (lambda k, b, t: k["parameters"].insert(0, k["parameters"].pop()), "not 1 inputs"),
    "parameters": (lambda k, b, t: k["parameters"].pop(), "number of parameters is 7"),
    "types": (
        lambda k, b, t: t.replace(".param .u32", ".param .u64", 1),
        "its PTX declares .u64, .u64",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_kernels_that_tensorrt_would_launch_wrongly(
    compiled: Path, tmp_path: Path, name: str
) -> None:
    change, said = CHANGES[name]

    def apply(kernel: Any, binary: Any, text: str) -> str | None:
        made = change(kernel, binary, text)
        assert made != text, "the change must change something"
        return made if isinstance(made, str) else None

    folder = changed(compiled, tmp_path / "changed", MERGE, apply)
    with pytest.raises(InputError, match="cannot be a plugin") as caught:
        PluginKernels(folder, "sm_80").get(MERGE, inputs=1, outputs=2)
    assert said in str(caught.value)


def test_kernels_that_are_not_there(compiled: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no kernel similarity_merge_k16 for sm_90.*--arch sm_90"):
        PluginKernels(compiled, "sm_90").get(MERGE, inputs=1, outputs=2)
    with pytest.raises(UsageError, match="no kernel absent"):
        PluginKernels(compiled, "sm_80").get("absent", inputs=1, outputs=2)
    with pytest.raises(InputError, match=r"output folder of python -m crosscam_kernels\.aot"):
        PluginKernels(tmp_path, "sm_80")


def test_drivers_read_ptx_up_to_their_own() -> None:
    found = [newest_ptx(cuda) for cuda in ("12.0", "12.6", "13.0", "13.9")]
    assert found == ["8.0", "8.5", "9.0", "9.1"]
    with pytest.raises(UsageError, match=r"CUDA 11\.8"):
        newest_ptx("11.8")


def test_ptx_that_is_too_new_for_the_driver(compiled: Path, tmp_path: Path) -> None:
    def newer(kernel: Any, binary: Any, text: str) -> str:
        binary["ptx_version"] = "8.7"
        return text.replace(".version 8.0", ".version 8.7")

    folder = changed(compiled, tmp_path / "newer", MERGE, newer)
    PluginKernels(folder, "sm_80", driver="12.8").get(MERGE, inputs=1, outputs=2)
    with pytest.raises(InputError, match=r"version 8\.7, and the driver reads up to 8\.5"):
        PluginKernels(folder, "sm_80", driver="12.6").get(MERGE, inputs=1, outputs=2)


# What TensorRT is told.


def registered(folder: Path) -> FakePlugin:
    fake = FakePlugin()
    register_plugins(trt, fake, PluginKernels(folder, "sm_80"), dtypes=("fp32",))
    return fake


def test_shapes_grids_and_integers(compiled: Path) -> None:
    fake = registered(compiled)
    queries, gallery = TensorDesc((20, 384), "float32"), TensorDesc((5000, 384), "float32")
    first = fake.launch("crosscam::SimilarityPartial", queries, gallery)
    kernel = PluginKernels(compiled, "sm_80").get(STREAM, inputs=2, outputs=1)
    told = dict(zip(kernel.scalars, first.scalars, strict=True))
    parts = -(-5000 // 128)
    assert first.outputs[0].shape == (20, parts * 16)
    assert first.grid == (2 * parts, 1, 1)
    assert first.block == (128, 1, 1)
    assert first.shared == kernel.shared_bytes
    assert told == {
        "query_count": 20, "gallery_count": 5000, "dim": 384, "query_stride": 384,
        "gallery_stride": 384, "camera_rows": 0, "camera_words": 0, "window_low": 0,
        "window_high": 0, "unbounded": 0, "query_blocks": 2, "splits": parts,
        "rows_per_split": 128,
    }  # fmt: skip
    second = fake.launch("crosscam::SimilarityMerge", *first.outputs)
    assert [(each.shape, each.dtype) for each in second.outputs] == [
        ((20, 16), "float32"),
        ((20, 16), "int64"),
    ]
    assert second.grid == (20, 1, 1)
    assert second.scalars == [parts * 16, 1]


def test_the_real_tensorrt_takes_the_registrations(compiled: Path) -> None:
    real = pytest.importorskip("tensorrt", exc_type=ImportError)
    plugin = pytest.importorskip("tensorrt.plugin", exc_type=ImportError)
    register_plugins(real, plugin, PluginKernels(compiled, "sm_80"), dtypes=("fp32",))
    assert real.get_plugin_registry().get_creator("SimilarityPartial", "1", "crosscam")


@pytest.mark.parametrize("rows", [1, 128, 129, 16384, 16385, 10**6, 10**7])
def test_galleries_of_any_size_are_merged_by_one_block(compiled: Path, rows: int) -> None:
    fake = registered(compiled)
    descriptions = TensorDesc((1, 64), "float32"), TensorDesc((rows, 64), "float32")
    first = fake.launch("crosscam::SimilarityPartial", *descriptions)
    *_, splits, of_part = first.scalars
    assert first.outputs[0].shape == (1, splits * 16)
    assert splits * 16 <= 2048
    assert of_part % 128 == 0
    assert (splits - 1) * of_part < rows <= splits * of_part


def test_types_that_were_not_registered_are_refused(compiled: Path) -> None:
    fake = registered(compiled)
    half = TensorDesc((1, 64), "float16")
    with pytest.raises(ValueError, match="no combination"):
        fake.describe("crosscam::SimilarityPartial", half, half)
    with pytest.raises(UsageError, match="no kernel similarity_stream_plugin_fp16"):
        register_plugins(trt, FakePlugin(), PluginKernels(compiled, "sm_80"), dtypes=("fp16",))


# The same results as the operators.


def problem(dtype: Any = np.float32) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    return {
        "queries": (rng.integers(-2, 3, (3, 64)) / 4).astype(dtype),
        "gallery": (rng.integers(-2, 3, (300, 64)) / 4).astype(dtype),
        "valid": rng.random(300) < 0.6,
        "query_camera": rng.integers(0, 3, 3).astype(np.int32),
        "gallery_camera": rng.integers(0, 3, 300).astype(np.int32),
        "rows": rng.normal(size=(5, 64)).astype(np.float32),
    }


def check(given: dict[str, Any], found: dict[str, Any]) -> None:
    names = ("valid", "query_camera", "gallery_camera")
    masks = {name: given[name] for name in names}
    search = given["queries"], given["gallery"], 16
    for name, wanted in {
        "plain": similarity_topk(*search),
        "masked": similarity_topk(*search, camera_rule="exclude_same", **masks),
    }.items():
        np.testing.assert_array_equal(found[f"{name}0"], wanted.similarity)
        np.testing.assert_array_equal(found[f"{name}1"], wanted.index)
    codes, scale = normalise_quantise(given["rows"])
    np.testing.assert_array_equal(found["codes0"], codes)
    np.testing.assert_allclose(found["codes1"], scale, rtol=1e-6)


def test_launched_as_described_the_kernels_answer_like_the_operators(
    compiled: Path, tmp_path: Path
) -> None:
    """By the interpreter, which runs the kernels' source with the very grid and arguments."""
    given, program = problem(), Path(__file__).with_name("plugin_launches.py")
    np.savez(tmp_path / "in.npz", **given)
    places = [str(compiled), str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]
    done = subprocess.run(
        [sys.executable, str(program), *places],
        capture_output=True,
        text=True,
        env={**os.environ, "TRITON_INTERPRET": "1"},
    )
    assert done.returncode == 0, done.stderr
    check(given, dict(np.load(tmp_path / "out.npz")))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_the_driver_launches_them_like_tensorrt(tmp_path: Path, dtype: Any) -> None:
    torch = pytest.importorskip("torch")
    from plugin_launches import Driver, Plugins

    architecture = "sm_{}{}".format(*torch.cuda.get_device_capability())
    word = {np.float32: "fp32", np.float16: "fp16"}[dtype]
    names = [name.replace("fp32", word) for name in KERNELS]
    compile_kernels(tmp_path, architectures=[architecture], kernels=names)
    plugins = Plugins(PluginKernels(tmp_path, architecture), Driver(), word)
    given = problem(dtype)
    given["rows"] = given["rows"].astype(dtype)
    tensors = {name: torch.from_numpy(array) for name, array in given.items()}
    masks = [tensors[name] for name in ("valid", "query_camera", "gallery_camera")]
    results = {
        "plain": plugins.search(tensors["queries"], tensors["gallery"]),
        "masked": plugins.search(tensors["queries"], tensors["gallery"], *masks),
        "codes": plugins.run("NormaliseQuantise", tensors["rows"]),
    }
    check(
        given,
        {f"{k}{n}": t.cpu().numpy() for k, found in results.items() for n, t in enumerate(found)},
    )


@pytest.mark.slow  # a minute and more: every plugin's kernel for every architecture
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_has_kernels_that_tensorrt_can_launch(
    tmp_path: Path, architecture: str
) -> None:
    pytest.importorskip("triton")
    names = [name.replace("fp32", word) for name in KERNELS for word in ("fp32", "fp16", "bf16")]
    compile_kernels(tmp_path, architectures=[architecture], kernels=sorted(set(names)))
    fake = FakePlugin()
    register_plugins(trt, fake, PluginKernels(tmp_path, architecture, driver="13.0"))
    for dtype in ("float32", "float16", "bfloat16"):
        queries, gallery = TensorDesc((8, 768), dtype), TensorDesc((1000, 768), dtype)
        launch = fake.launch("crosscam::SimilarityPartial", queries, gallery)
        assert read_ptx(launch.ptx).block_threads == launch.block[0]
        fake.launch("crosscam::NormaliseQuantise", TensorDesc((8, 384), dtype))


# Graphs.


def embedder(dim: int) -> Any:
    given = [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", dim])]
    answer = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", dim])]
    node = helper.make_node("Identity", ["images"], ["embedding"])
    graph = helper.make_graph([node], "g", given, answer)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("masked", [False, True])
def test_a_search_becomes_two_nodes(tmp_path: Path, masked: bool) -> None:
    head = RetrievalHead(10, masked=masked, gallery="f16")
    model = append_retrieval_head(embedder(128), head, plugin=True)
    made = two_nodes(model)
    own = [node for node in made.graph.node if node.domain == "crosscam"]
    first = "SimilarityPartialMasked" if masked else "SimilarityPartial"
    assert [node.op_type for node in own] == [first, "SimilarityMerge"]
    assert len(own[0].input) == (5 if masked else 2)
    for node in own:
        said = {
            attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute
        }
        assert said == {"plugin_namespace": b"crosscam", "plugin_version": b"1", "aot": 1}
    fake_names = {"SimilarityPartial", "SimilarityPartialMasked", "SimilarityMerge"}
    assert {node.op_type for node in own} <= fake_names
    file = tmp_path / "model.onnx"
    file.write_bytes(made.SerializeToString())
    check_safe(file, plugins=True)
    with pytest.raises(InputError, match="needs the operator"):
        check_safe(file)


def test_searches_that_the_plugins_do_not_take() -> None:
    for dim, k in ((128, 17), (96, 10)):
        model = append_retrieval_head(embedder(dim), RetrievalHead(k), plugin=True)
        with pytest.raises(UsageError, match="without plugins"):
            two_nodes(model)


def test_builders_take_the_plugins_or_do_without(tmp_path: Path) -> None:
    reid = load_bundle(packaged_dir() / "crosscam-reid")
    file = tmp_path / reid.manifest.model_file
    head = RetrievalHead(10, capacity=100)
    write_retrieval_graph(reid.model_path, file, head, plugin=True)
    files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest()}
    bundle = Bundle(tmp_path, reid.manifest.model_copy(update={"files": files}))
    device, names = Device("Orin", "8.7", "12.6"), {}
    for plugins in (False, True):
        tensorrt = TensorRT("tensorrt", FakeTensorRT("11.4.0.106"), "11.4.0.106")
        EngineBuilder(tensorrt, device, plugins=plugins).build(bundle, EngineOptions())
        (network,) = tensorrt.module.networks
        assert network.flags == plugins  # bit 0 of 11: PREFER_AOT_PYTHON_PLUGINS
        graph = onnx.load_from_string(network.graph).graph
        names[plugins] = {node.op_type for node in graph.node if node.domain == "crosscam"}
    assert names == {False: set(), True: {"SimilarityPartial", "SimilarityMerge"}}
    for flavour, version in (("tensorrt", "10.8.0"), ("tensorrt-rtx", "1.7.1")):
        old = TensorRT(flavour, FakeTensorRT("10.8.0"), version)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="takes no plugins"):
            EngineBuilder(old, device, plugins=True).build(bundle, EngineOptions())
