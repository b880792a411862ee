"""Operators of the ONNX domain ``crosscam``: their schemas, their meaning, and how to do without.

A graph that uses one carries what it means as a function of standard operators. An engine that has
a plugin of that name takes it; every other puts the function in its place. So such a graph needs no
library anywhere, and `plugin_free` writes the functions out for engines that know none.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.graph_safety import PLUGIN_DOMAIN
from crosscam_kernels import normalise_quantise, similarity_topk
from crosscam_kernels.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

DOMAIN, VERSION = PLUGIN_DOMAIN, 1
OLDEST_OPSET = 13
"""Of the functions' bodies: they take their axes as inputs, and hold in every opset since."""

SEARCH_INPUTS = ("queries", "gallery", "valid", "query_camera", "gallery_camera")
SEARCH_OUTPUTS = ("similarity", "index")


def search_function(opset: int, *, masked: bool) -> Any:
    """What ``crosscam::SimilarityTopK`` means: an ``onnx.FunctionProto`` of standard operators.

    Its similarities are those of `crosscam_kernels.similarity_topk` up to rounding: the full matrix
    is multiplied, and `k` columns that nobody is in stand for the results that are missing.

    Args:
        opset: Of the graph that it goes into, at least `OLDEST_OPSET`.
        masked: Whether it takes the three masks, as `camera_rule="exclude_same"` has them.
    """
    from onnx import AttributeProto, TensorProto, helper

    node = helper.make_node
    wanted = node("Constant", [], ["k"])
    attribute = AttributeProto(name="value_int", ref_attr_name="k", type=AttributeProto.INT)
    wanted.attribute.append(attribute)
    nodes = [
        _scalar("none", TensorProto.FLOAT, -np.inf),
        _scalar("nobody", TensorProto.INT64, -1),
        _scalar("zero", TensorProto.INT64, 0),
        _scalar("one", TensorProto.INT64, 1),
        _axis("first", 0),
        _axis("second", 1),
        _axis("third", 2),
        _axis("last", -1),
        _axis("end", 2**31 - 1),
        wanted,
        node("Reshape", ["k", "second"], ["k_list"]),
        node("Cast", ["gallery"], ["rows"], to=TensorProto.FLOAT),
        node("Gemm", ["queries", "rows"], ["products"], transB=1),
        node("IsNaN", ["products"], ["is_nan"]),  # OpenVINO's comparisons take NaN for a number
        node("Not", ["is_nan"], ["is_number"]),
        *(_mask_nodes() if masked else [node("Identity", ["is_number"], ["allowed"])]),
        node("Where", ["allowed", "products", "none"], ["scores"]),
        node("Shape", ["queries"], ["query_shape"]),
        node("Slice", ["query_shape", "first", "second"], ["query_count"]),
        node("Concat", ["query_count", "k_list"], ["empty_shape"], axis=0),
        node("Expand", ["none", "empty_shape"], ["empty"]),
        node("Concat", ["scores", "empty"], ["filled"], axis=1),
        node("TopK", ["filled", "k_list"], ["similarity", "unsure"], axis=1),
        *_tie_nodes(),
        node("Greater", ["similarity", "none"], ["found"]),
        node("Where", ["found", "place", "nobody"], ["index"]),
    ]
    inputs = SEARCH_INPUTS if masked else SEARCH_INPUTS[:2]
    return _function("SimilarityTopK", inputs, SEARCH_OUTPUTS, nodes, opset, ["k"])


def _mask_nodes() -> list[Any]:
    """(Q, G) ``allowed``: valid rows of other cameras than the query's."""
    from onnx import helper

    node = helper.make_node
    return [
        node("Unsqueeze", ["query_camera", "second"], ["of_query"]),
        node("Unsqueeze", ["gallery_camera", "first"], ["of_row"]),
        node("Equal", ["of_query", "of_row"], ["same"]),
        node("Not", ["same"], ["other"]),
        node("Unsqueeze", ["valid", "first"], ["valid_row"]),
        node("And", ["other", "valid_row"], ["unmasked"]),
        node("And", ["is_number", "unmasked"], ["allowed"]),
    ]


def _tie_nodes() -> list[Any]:
    """(Q, k) ``place`` of each ``similarity`` in ``filled``, equal ones in ascending order.

    The standard says so of TopK, and engines do not keep to it: which of several equal columns they
    take, and in which order, is theirs. So only its numbers are believed. Columns above the k-th
    number, then those equal to it, are numbered by integers that do not tie, and the k largest of
    those are taken; then each is put behind the larger ones and the equal ones before it.
    """
    from onnx import TensorProto, helper

    node, whole = helper.make_node, TensorProto.INT32
    return [
        _scalar("whole_zero", whole, 0),
        _scalar("whole_one", whole, 1),
        node("Slice", ["similarity", "last", "end", "second"], ["kth"]),
        node("Shape", ["filled"], ["filled_shape"]),
        node("Slice", ["filled_shape", "second", "third"], ["width_list"]),
        node("Squeeze", ["width_list"], ["long_width"]),
        node("Cast", ["long_width"], ["width"], to=whole),
        node("Range", ["whole_zero", "width", "whole_one"], ["column"]),
        node("Sub", ["width", "column"], ["from_end"]),
        node("Add", ["from_end", "width"], ["from_end_first"]),
        node("Greater", ["filled", "kth"], ["above"]),
        node("Equal", ["filled", "kth"], ["level"]),
        node("Where", ["level", "from_end", "whole_zero"], ["level_key"]),
        node("Where", ["above", "from_end_first", "level_key"], ["key"]),
        node("TopK", ["key", "k_list"], ["best_key", "best"], axis=1),
        node("GatherElements", ["filled", "best"], ["number"], axis=1),
        node("Unsqueeze", ["number", "third"], ["number_i"]),
        node("Unsqueeze", ["number", "second"], ["number_j"]),
        node("Greater", ["number_j", "number_i"], ["larger"]),
        node("Equal", ["number_j", "number_i"], ["equal"]),
        node("Range", ["zero", "k", "one"], ["slot"]),
        node("Unsqueeze", ["slot", "second"], ["slot_i"]),
        node("Less", ["slot", "slot_i"], ["earlier"]),
        node("And", ["equal", "earlier"], ["equal_earlier"]),
        node("Or", ["larger", "equal_earlier"], ["before"]),
        node("Cast", ["before"], ["ones"], to=TensorProto.FLOAT),
        node("ReduceSum", ["ones", "third"], ["rank"], keepdims=0),
        node("Neg", ["rank"], ["down"]),
        node("TopK", ["down", "k_list"], ["down_sorted", "order"], axis=1),
        node("GatherElements", ["best", "order"], ["place"], axis=1),
    ]


def _scalar(name: str, kind: int, value: float) -> Any:
    from onnx import helper

    tensor = helper.make_tensor(name, kind, [], [value])
    return helper.make_node("Constant", [], [name], value=tensor)


def _axis(name: str, value: int) -> Any:
    from onnx import TensorProto, helper

    tensor = helper.make_tensor(name, TensorProto.INT64, [1], [value])
    return helper.make_node("Constant", [], [name], value=tensor)


def quantise_function(opset: int) -> Any:
    """What ``crosscam::NormaliseQuantise`` means: `crosscam_kernels.normalise_quantise`."""
    from onnx import TensorProto, helper

    node, real = helper.make_node, TensorProto.FLOAT
    numbers = {"zero": 0, "unit": 1, "most": 127, "inf": np.inf, "nan": np.nan}
    nodes = [
        *(_scalar(name, real, value) for name, value in numbers.items()),
        _axis("last", 1),
        node("Cast", ["rows"], ["x"], to=TensorProto.FLOAT),
        node("Abs", ["x"], ["size"]),
        node("IsNaN", ["size"], ["is_nan"]),
        node("Where", ["is_nan", "inf", "size"], ["sizes"]),
        node("Neg", ["sizes"], ["less"]),
        _reduce("ReduceMin", "less", "lowest", opset),
        node("Neg", ["lowest"], ["peak"]),
        node("Less", ["peak", "inf"], ["finite"]),
        node("Greater", ["peak", "zero"], ["some"]),
        node("And", ["finite", "some"], ["holds"]),
        node("Where", ["holds", "peak", "unit"], ["divisor"]),
        node("Where", ["finite", "x", "zero"], ["known"]),
        node("Div", ["known", "divisor"], ["y"]),
        node("Mul", ["y", "most"], ["stretched"]),
        node("Round", ["stretched"], ["rounded"]),
        node("Cast", ["rounded"], ["codes"], to=TensorProto.INT8),
        node("Mul", ["y", "y"], ["squares"]),
        node("ReduceSum", ["squares", "last"], ["total"], keepdims=1),
        node("Where", ["some", "total", "unit"], ["safe"]),
        node("Sqrt", ["safe"], ["norm"]),
        node("Mul", ["norm", "most"], ["length"]),
        node("Div", ["unit", "length"], ["step"]),
        node("Where", ["some", "step", "zero"], ["of_finite"]),
        node("Where", ["finite", "of_finite", "nan"], ["scales"]),
        node("Squeeze", ["scales", "last"], ["scale"]),
    ]
    return _function("NormaliseQuantise", ["rows"], ["codes", "scale"], nodes, opset, [])


def _reduce(op: str, of: str, to: str, opset: int) -> Any:
    """A reduction along the rows; axes became an input in opset 18."""
    from onnx import helper

    if opset >= 18:
        return helper.make_node(op, [of, "last"], [to], keepdims=1)
    return helper.make_node(op, [of], [to], keepdims=1, axes=[1])


def _function(
    name: str, inputs: Any, outputs: Any, nodes: list[Any], opset: int, attributes: list[str]
) -> Any:
    from onnx import helper

    return helper.make_function(
        DOMAIN, name, [*inputs], [*outputs], nodes, [helper.make_opsetid("", opset)], attributes
    )


def plugin_free(model: Any) -> Any:
    """Write out the operators of crosscam in a graph, so that none is left.

    Args:
        model: An ``onnx.ModelProto`` with their functions; it is not changed.

    Returns:
        A graph of standard operators; `model` itself where nothing is to be done.
    """
    from onnx import inliner

    functions = [(f.domain, f.name) for f in model.functions if f.domain == DOMAIN]
    if not functions:
        return model
    inlined = inliner.inline_selected_functions(model, functions)
    for kept in [entry for entry in inlined.opset_import if entry.domain == DOMAIN]:
        inlined.opset_import.remove(kept)
    return inlined


@cache
def register_schemas() -> None:
    """Tell `onnx.defs` of the operators, for exporters that ask it; once a process."""
    from onnx import defs

    form, attribute = defs.OpSchema.FormalParameter, defs.OpSchema.Attribute
    optional = defs.OpSchema.FormalParameterOption.Optional
    floats = ["tensor(float)", "tensor(float16)", "tensor(bfloat16)"]
    defs.register_schema(
        defs.OpSchema(
            "SimilarityTopK",
            DOMAIN,
            VERSION,
            doc="The k gallery rows (G, D) most similar to each query (Q, D), by inner product; "
            "equal ones in order of their index. Missing results are -1 and minus infinity.",
            inputs=[
                form("queries", "tensor(float)", "(Q, D)"),
                form("gallery", "T", "(G, D)"),
                form("valid", "tensor(bool)", "(G,)", param_option=optional),
                form("query_camera", "tensor(int32)", "(Q,)", param_option=optional),
                form("gallery_camera", "tensor(int32)", "(G,)", param_option=optional),
            ],
            outputs=[
                form("similarity", "tensor(float)", "(Q, k), descending"),
                form("index", "tensor(int64)", "(Q, k)"),
            ],
            type_constraints=[("T", floats, "Rows of a gallery.")],
            attributes=[
                attribute("k", defs.OpSchema.AttrType.INT, "Results of a query.", required=True)
            ],
        )
    )
    defs.register_schema(
        defs.OpSchema(
            "NormaliseQuantise",
            DOMAIN,
            VERSION,
            doc="Rows (N, D) as int8 codes and a scale each, of which codes * scale has length 1.",
            inputs=[form("rows", "T", "(N, D)")],
            outputs=[
                form("codes", "tensor(int8)", "(N, D)"),
                form("scale", "tensor(float)", "(N,)"),
            ],
            type_constraints=[("T", floats, "Embeddings.")],
        )
    )


@cache
def reference_ops() -> tuple[type, ...]:
    """The operators for ``onnx.reference.ReferenceEvaluator(model, new_ops=[*reference_ops()])``.

    They answer with the exact operators of `crosscam_kernels`.
    """
    from onnx.reference.op_run import OpRun

    class SimilarityTopK(OpRun):
        op_domain = DOMAIN

        def _run(
            self, queries: Any, gallery: Any, valid: Any = None, query_camera: Any = None,
            gallery_camera: Any = None, k: int | None = None,
        ) -> tuple[Any, ...]:  # fmt: skip
            assert k is not None  # the schema requires it
            given = {
                "valid": valid,
                "query_camera": query_camera,
                "gallery_camera": gallery_camera,
            }
            masks: dict[str, Any] = {n: mask for n, mask in given.items() if mask is not None}
            if query_camera is not None:
                masks["camera_rule"] = "exclude_same"
            return tuple(similarity_topk(queries, gallery, k, **masks))

    class NormaliseQuantise(OpRun):
        op_domain = DOMAIN

        def _run(self, rows: Any) -> tuple[Any, ...]:
            return tuple(normalise_quantise(rows))

    return SimilarityTopK, NormaliseQuantise


def translation_table() -> dict[Any, Callable[..., Any]]:
    """What ``torch.onnx.export(..., custom_translation_table=...)`` makes of crosscam's operators.

    ``torch.ops.crosscam.similarity_topk`` becomes ``crosscam::SimilarityTopK``; the exported graph
    must be given the function by `carry_functions` before an engine without plugins reads it.

    Raises:
        ImportError: torch or onnxscript is not installed; both come with ``crosscam[train]``.
        UsageError: While exporting: a network searches with what the operator lacks.
    """
    import torch
    from onnxscript.values import Opset

    import_module("crosscam_kernels.torch_ops.similarity")  # registers it
    register_schemas()
    own = Opset(DOMAIN, VERSION)

    def topk(
        queries: Any, gallery: Any, k: int, scale: Any, rescore: Any, valid: Any,
        query_camera: Any, gallery_camera: Any, camera_rule: str, adjacency: Any, query_time: Any,
        gallery_time: Any, window_low: Any, window_high: Any, threads: Any,
    ) -> Any:  # fmt: skip
        del threads  # of the CPU
        absent = (scale, rescore, adjacency, query_time, gallery_time, window_low, window_high)
        masks = (valid, query_camera, gallery_camera)
        masked = all(mask is not None for mask in masks) and camera_rule == "exclude_same"
        plain = all(mask is None for mask in masks) and camera_rule == "any"
        if any(each is not None for each in absent) or not (masked or plain):
            raise UsageError(
                "the network searches with masks or options that crosscam::SimilarityTopK lacks",
                expected="no masks, or valid and both cameras with camera_rule='exclude_same'",
                fix="search outside of the graph, with crosscam_kernels.similarity_topk",
            )
        return own.SimilarityTopK(queries, gallery, *(masks if masked else ()), k=k)

    return {torch.ops.crosscam.similarity_topk.default: topk}


def carry_functions(model: Any) -> Any:
    """Add to a graph, in place, the functions of crosscam's operators that it uses; returns it."""
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    held = {(function.domain, function.name) for function in model.functions}
    for node in model.graph.node:
        if node.domain != DOMAIN or (DOMAIN, node.op_type) in held:
            continue
        if node.op_type == "SimilarityTopK":
            model.functions.append(search_function(opset, masked=len(node.input) > 2))
        elif node.op_type == "NormaliseQuantise":
            model.functions.append(quantise_function(opset))
        held.add((DOMAIN, node.op_type))
    return model
