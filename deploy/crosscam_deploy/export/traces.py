"""Exported graphs without what torch's exporter writes about the machine that made them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def drop_traces(file: Path) -> None:
    """Take notes for debugging out of an ONNX file.

    The exporter tells for every node and value where in which source file it comes from: the paths
    of the machine that trained the model, and a tenth of a small model's bytes. Metadata of the
    model as a whole stay: decoders read class names there.

    Args:
        file: Weights inside; written anew.
    """
    import onnx

    model = onnx.load(file)
    _clean(model.graph)
    for function in model.functions:
        for part in (function, *function.node, *function.value_info):
            _forget(part)
        for node in function.node:
            _clean_attributes(node)
    model.doc_string = ""
    onnx.save(model, file)


def _clean(graph: Any) -> None:
    """Clean a graph and the graphs in its nodes."""
    for part in (
        graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer,
    ):  # fmt: skip
        _forget(part)
    for node in graph.node:
        _clean_attributes(node)


def _clean_attributes(node: Any) -> None:
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            _clean(graph)


def _forget(part: Any) -> None:
    part.doc_string = ""
    del part.metadata_props[:]
