"""The C++ plugins (``deploy/csrc``): what their own tests compare with, their graphs, a device.

The library itself is tested by CTest: `make ctest`, and `make plugin` with TensorRT's headers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trt_fixture
from fake_tensorrt_plugin import FakePlugin, TensorDesc, trt
from onnx import TensorProto, helper

from crosscam_deploy.export.retrieval_head import RetrievalHead, append_retrieval_head
from crosscam_deploy.plugins import PluginKernels, one_node, register_plugins
from crosscam_kernels.aot import compile_kernels, read_manifest
from crosscam_kernels.errors import UsageError

ROOT = Path(__file__).parents[2]


def test_the_launches_that_ctest_compares_with_are_those_of_the_python_plugins() -> None:
    assert trt_fixture.LAUNCHES.read_text() == trt_fixture.launches(trt_fixture.FOLDER)


def test_the_kernels_of_the_fixture_are_those_that_there_are() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("triton")
    from crosscam_kernels.aot.registry import load_kernels

    specs = {name: spec for name, (_, spec) in load_kernels().items()}
    manifest = read_manifest(trt_fixture.FOLDER)
    assert [kernel.name for kernel in manifest.kernels] == [*trt_fixture.KERNELS]
    for kernel in manifest.kernels:
        spec = specs[kernel.name]
        names = [name for name in spec.fn.arg_names if name in spec.signature]
        told = [(each.name, (each.type, each.divisible_by)) for each in kernel.parameters]
        assert told == [(name, spec.parameter_type(name)) for name in names]
        assert dict(kernel.constants) == dict(spec.constexprs)
        assert (kernel.plugin, kernel.num_warps) == (spec.plugin, spec.num_warps)


def embedder(dim: int) -> Any:
    given = [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", dim])]
    answer = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", dim])]
    node = helper.make_node("Identity", ["images"], ["embedding"])
    graph = helper.make_graph([node], "g", given, answer)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("masked", [False, True])
def test_a_search_becomes_one_node(masked: bool) -> None:
    head = RetrievalHead(10, masked=masked, gallery="f16")
    model = append_retrieval_head(embedder(128), head, plugin=True)
    before = model.SerializeToString()
    made = one_node(model)
    assert model.SerializeToString() == before
    assert not made.functions
    (own,) = [node for node in made.graph.node if node.domain == "crosscam"]
    (asked,) = [node for node in model.graph.node if node.domain == "crosscam"]
    assert own.op_type == "SimilarityTopK"
    assert [*own.input[1:]] == [*asked.input[1:]]
    assert [*own.output] == [*asked.output]
    (cast,) = [node for node in made.graph.node if [*node.output] == [own.input[0]]]
    assert [*cast.input] == [asked.input[0]]
    assert [helper.get_attribute_value(each) for each in cast.attribute] == [TensorProto.FLOAT16]
    said = {each.name: helper.get_attribute_value(each) for each in own.attribute}
    assert said == {"plugin_namespace": b"crosscam", "plugin_version": b"1", "k": 10}


def test_searches_that_the_plugins_do_not_take() -> None:
    for dim, k in ((128, 17), (96, 10)):
        model = append_retrieval_head(embedder(dim), RetrievalHead(k), plugin=True)
        with pytest.raises(UsageError, match="without plugins"):
            one_node(model)


def test_lengths_that_the_compiler_was_not_promised_are_not_launched() -> None:
    fake = FakePlugin()
    register_plugins(
        trt, fake, PluginKernels(trt_fixture.FOLDER, trt_fixture.ARCHITECTURE), dtypes=("fp32",)
    )
    fake.launch("crosscam::NormaliseQuantise", TensorDesc((5, 112), "float32"))
    with pytest.raises(UsageError, match=r"length 100 to quantise.*a multiple of 16"):
        fake.launch("crosscam::NormaliseQuantise", TensorDesc((5, 100), "float32"))


@pytest.mark.gpu
def test_the_library_launches_its_kernels_on_a_device(tmp_path: Path) -> None:
    """By the driver, with the arguments that the plugins pack, against the operators of the CPU."""
    torch = pytest.importorskip("torch")
    if shutil.which("cmake") is None:
        pytest.skip("no CMake to build the library with")
    architecture = "sm_{}{}".format(*torch.cuda.get_device_capability())
    names = {*trt_fixture.KERNELS, "normalise_quantise_fp16_2048"}
    compile_kernels(tmp_path / "aot", architectures=[architecture], kernels=sorted(names))
    build = tmp_path / "build"
    options = ["-DCROSSCAM_TESTS=ON", "-DCROSSCAM_PYTHON=OFF"]
    subprocess.run(["cmake", "-S", ROOT, "-B", build, *options], check=True)
    jobs = str(os.cpu_count() or 1)
    target = ["--target", "trt_device_test", "--parallel", jobs]
    subprocess.run(["cmake", "--build", build, *target], check=True)
    program = build / "deploy/csrc/tests/trt_device_test"
    assert subprocess.run([program, tmp_path / "aot"]).returncode == 0
