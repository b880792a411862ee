"""`crosscam models` from the outside."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from crosscam_edge.cli import cli, main
from crosscam_edge.cli.models import command


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSCAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CROSSCAM_MODELS", raising=False)


@pytest.fixture
def graph(tmp_path):
    """A real embedder of one convolution."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 32, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8])],
        [numpy_helper.from_array(weights, "w")],
    )
    path = tmp_path / "My Net.onnx"
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(made, opset_imports=opset, ir_version=8), path)
    return path


def run(*args: str):
    result = CliRunner().invoke(command, [str(arg) for arg in args])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_list():
    result = run("list")
    assert result.exit_code == 0
    assert "yolox-nano" in result.output
    assert "AGPL-3.0" in result.output
    only = run("list", "--task", "embed")
    assert "yolox-nano" not in only.output
    report = json.loads(run("list", "--json").output)
    assert report["default"] == {"detect": "crosscam-detector", "embed": "crosscam-reid"}
    assert "yes, built in" in only.output
    assert {m["name"] for m in report["models"]} >= {"yolox-s", "osnet_x1_0"}


def test_import_then_show_list_and_pull(graph):
    flags = ["--task", "embed", "--color", "rgb", "--normalise", "imagenet", "--licence", "MIT"]
    result = run("import", graph, *flags)
    assert result.exit_code == 0, result.output
    assert "my-net" in result.output
    shown = json.loads(run("show", "my-net", "--json").output)
    assert shown["manifest"]["licence"] == "MIT"
    assert shown["manifest"]["preprocessing"]["std"] == [0.229, 0.224, 0.225]
    assert "sha256" in run("show", "my-net").output
    listed = json.loads(run("list", "--json").output)
    assert next(m for m in listed["models"] if m["name"] == "my-net")["available"] == "cache"
    pulled = json.loads(run("pull", "my-net", "--json").output)
    assert pulled[0]["manifest"]["model_id"] == shown["manifest"]["model_id"]


def fails(capsys, *args: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        main(["models", *[str(arg) for arg in args]])
    assert isinstance(caught.value.code, int)
    return caught.value.code, capsys.readouterr().err


def test_errors_say_what_to_do(graph, capsys, tmp_path):
    code, said = fails(capsys, "import", graph, "--task", "embed")
    assert (code, "--color and --normalise" in said) == (2, True)
    code, said = fails(capsys, "import", tmp_path / "none.onnx", "--task", "embed")
    assert (code, "there is no file" in said) == (3, True)
    code, said = fails(capsys, "import", graph, "--task", "embed", "--size", "big")
    assert (code, "HEIGHTxWIDTH" in said) == (2, True)
    code, said = fails(capsys, "show", "yolox-nanno")
    assert (code, "did you mean yolox-nano" in said) == (3, True)
    code, said = fails(capsys, "show", "yolox-nano", "--json")
    assert code == 3
    assert json.loads(said)["fix"] == "crosscam models pull yolox-nano"


def test_second_import_of_a_name_is_refused(graph, capsys):
    flags = ["--task", "embed", "--color", "rgb", "--normalise", "unit"]
    assert run("import", graph, *flags).exit_code == 0
    code, said = fails(capsys, "import", graph, *flags)
    assert (code, "in the cache already" in said) == (2, True)


def test_a_search_is_put_behind_an_embedder(graph, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    flags = ["--task", "embed", "--color", "rgb", "--normalise", "unit"]
    assert run("import", graph, *flags).exit_code == 0
    file = tmp_path / "new" / "search.onnx"
    told = run("export-search", "my-net", "-o", file, "-k", "3", "--capacity", "5", "--masked")
    assert told.exit_code == 0, told.output
    assert "input gallery: 5 x 8\n" in told.output
    assert "output index: n x 3\n" in told.output
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    rows = np.eye(5, 8, dtype=np.float32)
    feeds = {
        "x": np.random.default_rng(1).random((2, 3, 32, 16), np.float32),
        "gallery": rows,
        "valid": np.array([True, True, True, False, True]),
        "query_camera": np.array([0, 1], np.int32),
        "gallery_camera": np.array([0, 1, 2, 3, 4], np.int32),
    }
    vectors, similarity, index = session.run(None, feeds)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = unit @ rows.T
    expected[:, 3] = expected[0, 0] = expected[1, 1] = -np.inf
    np.testing.assert_array_equal(index, np.argsort(-expected, 1, kind="stable")[:, :3])
    np.testing.assert_allclose(similarity, -np.sort(-expected, 1)[:, :3], atol=1e-6)
    plain = json.loads(
        run("export-search", "my-net", "-o", tmp_path / "p.onnx", "--plugin", "--json").output
    )
    assert plain["inputs"]["gallery"] == ["gallery_rows", 8]
    assert plain["outputs"] == {"y": ["n", 8], "similarity": ["n", 10], "index": ["n", 10]}


def test_a_search_that_cannot_be_written_is_refused(graph, tmp_path, capsys):
    file = tmp_path / "search.onnx"
    code, said = fails(capsys, "export-search", "crosscam-detector", "-o", file)
    assert (code, "for the task detect" in said) == (2, True)
    code, said = fails(capsys, "export-search", "crosscam-reid", "-o", file, "-k", "0")
    assert (code, "k=0" in said) == (2, True)
    code, said = fails(capsys, "export-search", "crosscam-reid", "-o", tmp_path / "search")
    assert (code, "not called .onnx" in said) == (2, True)
    file.write_text("mine")
    code, said = fails(capsys, "export-search", "crosscam-reid", "-o", file)
    assert (code, "exists already" in said) == (3, True)
    assert file.read_text() == "mine"


def test_command_is_in_the_table():
    assert cli.get_command(None, "models") is command  # type: ignore[arg-type]
