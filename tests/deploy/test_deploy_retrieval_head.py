"""A search behind an embedder: the same results in every engine as from the operator."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from crosscam_deploy.bundle import Bundle, load_bundle
from crosscam_deploy.engines import EngineBuilder, EngineOptions, find_tensorrt
from crosscam_deploy.export.retrieval_head import (
    RetrievalHead,
    append_retrieval_head,
    write_retrieval_graph,
)
from crosscam_deploy.export.search_ops import (
    DOMAIN,
    carry_functions,
    plugin_free,
    quantise_function,
    reference_ops,
    register_schemas,
    search_function,
)
from crosscam_deploy.graph_safety import check_safe
from crosscam_deploy.paths import packaged_dir
from crosscam_deploy.runtime.onnxruntime_engine import session
from crosscam_kernels import TopK, normalise_quantise, similarity_topk
from crosscam_kernels.errors import InputError, UsageError

DIM = 64
needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx_bindings") is None, reason="TensorRT-RTX not installed"
)


def embedder(opset: int = 18, kind: int = TensorProto.FLOAT, shape: Any = ("batch", DIM)) -> Any:
    """Its embedding is its input."""
    given = [helper.make_tensor_value_info("images", kind, shape)]
    answer = [helper.make_tensor_value_info("embedding", kind, shape)]
    node = helper.make_node("Identity", ["images"], ["embedding"])
    graph = helper.make_graph([node], "g", given, answer)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run_onnxruntime(model: Any, feeds: dict[str, Any]) -> list[Any]:
    return list(session(model.SerializeToString(), threads=1).run(None, feeds))


def run_openvino(model: Any, feeds: dict[str, Any]) -> list[Any]:
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"}
    read = core.read_model(model.SerializeToString())
    return list(core.compile_model(read, "CPU", settings)(feeds).values())


def run_reference(model: Any, feeds: dict[str, Any]) -> list[Any]:
    from onnx.reference import ReferenceEvaluator

    return list(ReferenceEvaluator(model, new_ops=[*reference_ops()]).run(None, feeds))


def run_free_openvino(model: Any, feeds: dict[str, Any]) -> list[Any]:
    return run_openvino(plugin_free(model), feeds)


ENGINES = {"onnxruntime": run_onnxruntime, "openvino": run_openvino}


def tied(queries: int, rows: int, seed: int = 0) -> tuple[Any, Any, dict[str, Any]]:
    """Queries of length 4, gallery rows and masks whose products are exact, with many ties."""
    rng = np.random.default_rng(seed)
    sparse = np.zeros((queries, DIM), np.float32)
    for row in sparse:
        row[rng.permutation(DIM)[:16]] = rng.choice([-1, 1], 16)
    gallery = (rng.integers(-2, 3, (rows, DIM)) / 8).astype(np.float32)
    masks = {
        "valid": rng.random(rows) < 0.7,
        "query_camera": rng.integers(0, 3, queries).astype(np.int32),
        "gallery_camera": rng.integers(0, 3, rows).astype(np.int32),
    }
    return sparse, gallery, masks


def expected(queries: Any, gallery: Any, k: int, masks: dict[str, Any]) -> TopK:
    unit = queries / 4  # exact: tied queries are of length 4
    return similarity_topk(
        unit, gallery, k, camera_rule="exclude_same" if masks else "any", **masks
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("queries", "rows", "k"), [(3, 50, 10), (2, 4, 9), (1, 1, 1), (4, 9000, 16)]
)
def test_engines_find_what_the_operator_finds(
    engine: str, masked: bool, queries: int, rows: int, k: int
) -> None:
    x, gallery, masks = tied(queries, rows)
    masks = masks if masked else {}
    model = append_retrieval_head(embedder(), RetrievalHead(k, masked=masked))
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    embedding, similarity, index = ENGINES[engine](model, {"images": x, "gallery": gallery} | masks)
    wanted = expected(x, gallery, k, masks)
    np.testing.assert_array_equal(embedding, x)
    np.testing.assert_array_equal(similarity, wanted.similarity)
    np.testing.assert_array_equal(index, wanted.index)
    assert index.dtype == np.int64


@given(rows=st.integers(1, 40), k=st.integers(1, 12), seed=st.integers(0, 2**16))
@settings(max_examples=6, deadline=None)
def test_ties_go_to_the_smaller_index(rows: int, k: int, seed: int) -> None:
    x, gallery, masks = tied(3, rows, seed)
    gallery[rows // 2 :] = gallery[0]  # the same person many times
    model = append_retrieval_head(embedder(), RetrievalHead(k, masked=True))
    wanted = expected(x, gallery, k, masks)
    for run in ENGINES.values():
        _, similarity, index = run(model, {"images": x, "gallery": gallery} | masks)
        np.testing.assert_array_equal(similarity, wanted.similarity)
        np.testing.assert_array_equal(index, wanted.index)


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
def test_opsets_and_the_graph_with_one_node(opset: int) -> None:
    x, gallery, masks = tied(3, 30)
    feeds = {"images": x, "gallery": gallery} | masks
    model = append_retrieval_head(embedder(opset), RetrievalHead(7, masked=True), plugin=True)
    onnx.checker.check_model(model)
    (node,) = [each for each in model.graph.node if each.domain == DOMAIN]
    assert node.op_type == "SimilarityTopK"
    wanted = expected(x, gallery, 7, masks)
    free = plugin_free(model)
    assert len(model.functions) == 1
    assert not free.functions
    assert {entry.domain for entry in free.opset_import} == {""}
    assert plugin_free(free) is free
    runs = [
        run_onnxruntime(model, feeds),  # which puts the function in its place
        run_onnxruntime(free, feeds),
        run_openvino(free, feeds),
        run_reference(model, feeds),
    ]
    for _, similarity, index in runs:
        np.testing.assert_array_equal(similarity, wanted.similarity)
        np.testing.assert_array_equal(index, wanted.index)


def test_the_reference_evaluator_takes_the_operator_itself() -> None:
    """Not the function that the graph carries: without it, the answers are the same."""
    x, gallery, _ = tied(3, 30)
    model = append_retrieval_head(embedder(), RetrievalHead(7), plugin=True)
    del model.functions[:]
    _, similarity, index = run_reference(model, {"images": x, "gallery": gallery})
    wanted = expected(x, gallery, 7, {})
    np.testing.assert_array_equal(similarity, wanted.similarity)
    np.testing.assert_array_equal(index, wanted.index)


@pytest.mark.parametrize("engine", ENGINES)
def test_embeddings_without_a_direction_find_nothing(engine: str) -> None:
    x, gallery, _ = tied(4, 20)
    x[0], x[1, 3], x[2, 5] = 0, np.nan, np.inf
    gallery[7] = np.nan
    model = append_retrieval_head(embedder(), RetrievalHead(20))
    _, similarity, index = ENGINES[engine](model, {"images": x, "gallery": gallery})
    assert (index[:3] == -1).all()
    assert np.isneginf(similarity[:3]).all()
    assert sorted(index[3]) == [-1, *(row for row in range(20) if row != 7)]


def test_half_precision_of_embeddings_and_gallery() -> None:
    x, gallery, _ = tied(3, 40)
    head = RetrievalHead(5, gallery="f16", capacity=40)
    model = append_retrieval_head(embedder(kind=TensorProto.FLOAT16), head)
    feeds = {"images": x.astype(np.float16), "gallery": gallery.astype(np.float16)}
    _, similarity, index = run_onnxruntime(model, feeds)
    wanted = expected(x, gallery, 5, {})  # eighths are exact in half precision
    np.testing.assert_array_equal(similarity, wanted.similarity)
    np.testing.assert_array_equal(index, wanted.index)


def shipped() -> Bundle:
    return load_bundle(packaged_dir() / "crosscam-reid")


def test_the_shipped_embedder_finds_its_own_pictures(tmp_path: Path) -> None:
    bundle, file = shipped(), tmp_path / "search.onnx"
    write_retrieval_graph(bundle.model_path, file, RetrievalHead(5))
    check_safe(file)
    prep, rng = bundle.manifest.preprocessing, np.random.default_rng(1)
    small = rng.normal(size=(12, 3, 6, 3)).repeat(prep.height // 6, 2).repeat(prep.width // 3, 3)
    images = small.astype(np.float32)
    (known,) = session(bundle.model_path, threads=1).run(None, {bundle.manifest.input_name: images})
    unit = known / np.linalg.norm(known, axis=1, keepdims=True)
    feeds = {bundle.manifest.input_name: images[::-1].copy(), "gallery": unit}
    embedding, similarity, index = session(file, threads=1).run(None, feeds)
    np.testing.assert_allclose(embedding, known[::-1], atol=1e-4)
    np.testing.assert_array_equal(index[:, 0], np.arange(12)[::-1])
    np.testing.assert_allclose(
        similarity, similarity_topk(unit[::-1], unit, 5).similarity, atol=1e-5
    )


# What is refused.


def test_operators_of_crosscam_need_a_plugin_or_their_meaning(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    model = append_retrieval_head(embedder(), RetrievalHead(3), plugin=True)
    file.write_bytes(model.SerializeToString())
    check_safe(file)
    del model.functions[:]
    file.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="needs the operator 'SimilarityTopK' of 'crosscam'"):
        check_safe(file)
    check_safe(file, plugins=True)
    model.graph.node[-1].domain = "evil"
    file.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="of 'evil'"):
        check_safe(file, plugins=True)


def test_graphs_that_have_no_embedding_are_refused() -> None:
    head = RetrievalHead(3)
    with pytest.raises(InputError, match="opset 12"):
        append_retrieval_head(embedder(opset=12), head)
    with pytest.raises(InputError, match=r"shape \['batch', 'length'\]"):
        append_retrieval_head(embedder(shape=("batch", "length")), head)
    with pytest.raises(InputError, match="shape"):
        append_retrieval_head(embedder(kind=TensorProto.INT32), head)
    with pytest.raises(InputError, match="'gallery' already"):
        append_retrieval_head(append_retrieval_head(embedder(), head), head)
    for wrong in ({"k": 0}, {"k": 1025}, {"k": 3, "capacity": 0}):
        with pytest.raises(UsageError):
            RetrievalHead(**wrong)


# Codes with a scale.


def test_normalised_codes_are_those_of_the_operator() -> None:
    rows = np.random.default_rng(2).normal(size=(9, DIM)).astype(np.float32)
    rows[1], rows[2, 3], rows[3, 3], rows[4] = 0, np.nan, -np.inf, rows[4] * 1e30
    given = [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", DIM])]
    answers = [
        helper.make_tensor_value_info("codes", TensorProto.INT8, ["n", DIM]),
        helper.make_tensor_value_info("scale", TensorProto.FLOAT, ["n"]),
    ]
    node = helper.make_node("NormaliseQuantise", ["rows"], ["codes", "scale"], domain=DOMAIN)
    wanted = normalise_quantise(rows)
    for opset in (13, 18):
        imports = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
        graph = helper.make_graph([node], "g", given, answers)
        model = carry_functions(helper.make_model(graph, opset_imports=imports, ir_version=8))
        for run in (run_onnxruntime, run_reference, run_free_openvino):
            codes, scale = run(model, {"rows": rows})
            np.testing.assert_array_equal(codes, wanted[0])
            np.testing.assert_allclose(scale, wanted[1], rtol=1e-6)


# Exported from torch.


@pytest.mark.slow  # torch.onnx takes half a minute
def test_the_operator_of_torch_is_exported() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from crosscam_deploy.export.search_ops import translation_table

    class Search(torch.nn.Module):
        def forward(self, queries: Any, gallery: Any) -> Any:
            op = torch.ops.crosscam.similarity_topk
            return op(queries, gallery, 4, *[None] * 5, "any", *[None] * 6)

    x, gallery, _ = tied(3, 30)
    table = translation_table()
    program = torch.onnx.export(
        Search().eval(),
        (torch.from_numpy(x), torch.from_numpy(gallery)),
        dynamo=True,
        custom_translation_table=table,
        dynamic_shapes=({0: torch.export.Dim("q", min=1)}, {0: torch.export.Dim("g", min=1)}),
        verbose=False,
    )
    model = carry_functions(program.model_proto)
    onnx.checker.check_model(model)
    names = [given.name for given in model.graph.input]
    assert [node.op_type for node in model.graph.node if node.domain == DOMAIN] == [
        "SimilarityTopK"
    ]
    for queries in (x, x[:1]):
        wanted = similarity_topk(queries, gallery, 4)
        feeds = dict(zip(names, (queries, gallery), strict=True))
        for run in (run_onnxruntime, run_reference):
            similarity, index = run(model, feeds)
            np.testing.assert_array_equal(similarity, wanted.similarity)
            np.testing.assert_array_equal(index, wanted.index)
    with pytest.raises(UsageError, match="SimilarityTopK lacks"):
        next(iter(table.values()))(None, None, 4, *[None] * 5, "only_same", *[None] * 6)


def test_schemas_and_functions_say_the_same() -> None:
    register_schemas()
    for function in (search_function(18, masked=True), quantise_function(18)):
        schema = onnx.defs.get_schema(function.name, 1, DOMAIN)
        assert [each.name for each in schema.inputs] == [*function.input]
        assert [each.name for each in schema.outputs] == [*function.output]
        assert set(schema.attributes) == set(function.attribute)


# Built for real, without a GPU.


def with_head(folder: Path, head: RetrievalHead, *, plugin: bool = False) -> Bundle:
    bundle = shipped()
    file = folder / bundle.manifest.model_file
    write_retrieval_graph(bundle.model_path, file, head, plugin=plugin)
    files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest()}
    return Bundle(folder, bundle.manifest.model_copy(update={"files": files}))


@needs_rtx
@pytest.mark.parametrize(
    ("head", "plugin"),
    [
        (RetrievalHead(10, capacity=5000, gallery="f16"), False),
        (RetrievalHead(16, capacity=8, masked=True), True),
    ],
)
def test_tensorrt_rtx_builds_it(tmp_path: Path, head: RetrievalHead, plugin: bool) -> None:
    bundle = with_head(tmp_path, head, plugin=plugin)
    options = EngineOptions(buckets=(1, 8), capabilities=("8.6",), level=0)
    built = EngineBuilder(find_tensorrt("tensorrt-rtx")).build(bundle, options)
    inputs = {tensor.name: tensor.shape for tensor in built.manifest.inputs}
    outputs = {tensor.name: (tensor.shape, tensor.dtype) for tensor in built.manifest.outputs}
    assert inputs["gallery"] == (head.capacity, bundle.manifest.embedding_dim)
    assert outputs["similarity"] == ((-1, head.k), "float")
    assert outputs["index"] == ((-1, head.k), "int64")
    assert inputs.get("query_camera", (-1,)) == (-1,)
    assert len(inputs) == (5 if head.masked else 2)


@needs_rtx
def test_an_engine_needs_a_gallery_of_fixed_size(tmp_path: Path) -> None:
    bundle = with_head(tmp_path, RetrievalHead(10))
    builder = EngineBuilder(find_tensorrt("tensorrt-rtx"))
    with pytest.raises(InputError, match="a retrieval head with a capacity"):
        builder.build(bundle, EngineOptions(capabilities=("8.6",)))
