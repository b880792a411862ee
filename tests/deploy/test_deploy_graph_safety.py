"""Graphs that reach outside, lie about sizes or need foreign code are refused before any engine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from crosscam_deploy.graph import inspect
from crosscam_deploy.graph_safety import check_safe
from crosscam_deploy.runtime import openvino_graph
from crosscam_kernels.errors import InputError


def graph(*nodes: Any, weights: Any = None) -> Any:
    weights = weights or numpy_helper.from_array(np.ones((4, 3), np.float32), "w")
    made = helper.make_graph(
        [*nodes, helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [weights],
    )
    imports = [helper.make_opsetid("", 13), helper.make_opsetid("evil", 1)]
    return helper.make_model(made, opset_imports=imports, ir_version=8)


def external(location: str, **about: str) -> Any:
    tensor = TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=[4, 3], data_location=TensorProto.EXTERNAL
    )
    for key, value in {"location": location, **about}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def written(folder: Path, model: Any) -> Path:
    file = folder / "model.onnx"
    file.write_bytes(model.SerializeToString())
    return file


def test_honest_graphs_pass(tmp_path: Path) -> None:
    check_safe(written(tmp_path, graph()))
    (tmp_path / "w.bin").write_bytes(bytes(100))
    check_safe(written(tmp_path, graph(weights=external("w.bin", offset="52", length="48"))))


@pytest.mark.parametrize(
    "location",
    ["/etc/passwd", "../w.bin", "a/../../w.bin", "", ".", "C:w.bin", "a\\b", "./w.bin", "gone.bin"],
)
@pytest.mark.parametrize("reader", [check_safe, inspect, openvino_graph.read])
def test_weights_outside_the_folder(tmp_path: Path, location: str, reader: Any) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(48))
    folder = tmp_path / "bundle"
    folder.mkdir()
    with pytest.raises(InputError, match="has its numbers in"):
        reader(written(folder, graph(weights=external(location))))


def test_weights_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(48))
    (tmp_path / "w.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="has its numbers in"):
        check_safe(written(tmp_path, graph(weights=external("w.bin"))))


@pytest.mark.parametrize(
    "about",
    [{"offset": "-4"}, {"offset": "53"}, {"length": "47"}, {"length": "9" * 30}, {"offset": "x"}],
)
def test_weights_beyond_their_file(tmp_path: Path, about: dict[str, str]) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(100))
    with pytest.raises(InputError, match="what that file of 100 bytes holds"):
        check_safe(written(tmp_path, graph(weights=external("w.bin", **about))))


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (TensorProto(name="w", data_type=1, dims=[2**40, 3], raw_data=bytes(48)), "claims"),
        (TensorProto(name="w", data_type=1, dims=[2**40], float_data=[1.0]), "claims"),
        (TensorProto(name="w", data_type=1, dims=[2**62, 2**62], raw_data=b""), "claims"),
        (TensorProto(name="w", data_type=1, dims=[-1], raw_data=b""), "the shape"),
        (TensorProto(name="w", data_type=99, dims=[1], raw_data=bytes(4)), "the type"),
    ],
)
def test_sizes_that_are_claimed_only(tmp_path: Path, weights: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        inspect(written(tmp_path, graph(weights=weights)))


def test_operators_that_come_as_code(tmp_path: Path) -> None:
    node = helper.make_node("Run", ["x"], ["z"], domain="evil")
    with pytest.raises(InputError, match="needs the operator 'Run' of 'evil'"):
        inspect(written(tmp_path, graph(node)))


def test_operators_inside_a_branch(tmp_path: Path) -> None:
    inner = helper.make_graph([helper.make_node("Run", [], ["z"], domain="evil")], "b", [], [])
    node = helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner)
    with pytest.raises(InputError, match="needs the operator 'Run'"):
        check_safe(written(tmp_path, graph(node)))


def test_functions_that_the_file_brings_are_its_own(tmp_path: Path) -> None:
    model = graph(helper.make_node("Twice", ["x"], ["z"], domain="evil"))
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    imports = [helper.make_opsetid("", 13)]
    model.functions.append(helper.make_function("evil", "Twice", ["a"], ["b"], body, imports))
    check_safe(written(tmp_path, model))


@given(st.data())
def test_any_damage_gives_a_clear_error_or_a_graph(data: st.DataObject) -> None:
    content = bytearray(graph().SerializeToString())
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        file.write_bytes(content)
        try:
            check_safe(file)
        except InputError:
            return
        onnx.load(file)
