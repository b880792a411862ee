"""An embedder's graph with a search behind it: from pictures to the best rows of a gallery.

The gallery is an input of the graph, not a part of it: it changes with every person seen. What the
graph was, it stays: its outputs come first, and those of the search after them::

    images ──► embedder ──► embedding ─────────────────────────────► embedding
                                └──► each row to length 1 ──► search ──► similarity, index
    gallery (G, D), [valid (G,), query_camera (B,), gallery_camera (G,)] ──┘
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from crosscam_deploy.export.search_ops import (
    DOMAIN,
    OLDEST_OPSET,
    SEARCH_INPUTS,
    SEARCH_OUTPUTS,
    VERSION,
    carry_functions,
    plugin_free,
)
from crosscam_deploy.graph_safety import check_safe
from crosscam_kernels.errors import InputError, RunError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_deploy.bundle import Bundle

MOST_RESULTS = 1024
"""Of a query; TensorRT's TopK takes no more than 3840, and nobody looks at as many."""


@dataclass(frozen=True, slots=True)
class RetrievalHead:
    """What is searched for.

    Attributes:
        k: Results of a query, 1 to `MOST_RESULTS`; may exceed the gallery.
        capacity: Rows of the gallery, or None for any number. TensorRT engines need one: a smaller
            gallery is filled up, and `valid` or `gallery_camera` says with what.
        masked: Whether the graph takes ``valid`` (G,) bool, ``query_camera`` (B,) and
            ``gallery_camera`` (G,) int32: rows that are not valid, and those of the camera that a
            picture is from, are then no results.
        gallery: Type of the gallery's numbers.
    """

    k: int
    capacity: int | None = None
    masked: bool = False
    gallery: Literal["f32", "f16"] = "f32"

    def __post_init__(self) -> None:
        if not 1 <= self.k <= MOST_RESULTS:
            raise UsageError(f"k={self.k}", expected=f"1 to {MOST_RESULTS} results")
        if self.capacity is not None and self.capacity < 1:
            raise UsageError(f"capacity={self.capacity}", expected="at least one row")


def append_retrieval_head(model: Any, head: RetrievalHead, *, plugin: bool = False) -> Any:
    """Put a search behind an embedder.

    The similarities are inner products of the embeddings, brought to length 1, with the gallery's
    rows, which are of length 1 by contract. Equal ones come in order of their index. An embedding
    of length 0, or one that is not finite, finds nothing. See `crosscam_kernels.similarity_topk`,
    with ``camera_rule="exclude_same"`` where masked.

    Args:
        model: An ``onnx.ModelProto`` whose first output is the embedding, `(B, D)` float32 or
            float16; it is not changed.
        head: What is searched for.
        plugin: Whether the search is one node ``crosscam::SimilarityTopK``, which carries what it
            means as a function, instead of standard operators.

    Returns:
        A new graph. Its inputs are those of `model`, then ``gallery`` `(G, D)` and the masks; its
        outputs those of `model`, then ``similarity`` `(B, k)` float32 and ``index`` `(B, k)` int64.

    Raises:
        InputError: The first output is no embedding, a name is taken, or the opset is too old.
    """
    import onnx
    from onnx import TensorProto, helper

    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST_OPSET:
        raise InputError(
            f"the graph is written for opset {opset}",
            expected=f"{OLDEST_OPSET} or later",
            fix="export the model again, or use onnx.version_converter",
        )
    embedding = model.graph.output[0]
    batch, dim = _embedding_shape(embedding)
    _check_names(model)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph, rows = made.graph, head.capacity or "gallery_rows"
    kind = TensorProto.FLOAT if head.gallery == "f32" else TensorProto.FLOAT16
    own = {
        "gallery": (kind, [rows, dim]),
        "valid": (TensorProto.BOOL, [rows]),
        "query_camera": (TensorProto.INT32, [batch]),
        "gallery_camera": (TensorProto.INT32, [rows]),
    }
    given = SEARCH_INPUTS[1:] if head.masked else SEARCH_INPUTS[1:2]
    graph.input.extend(helper.make_tensor_value_info(name, *own[name]) for name in given)
    axis = helper.make_tensor("crosscam_axis", TensorProto.INT64, [1], [1])
    node = helper.make_node
    graph.initializer.append(axis)
    graph.node.extend(
        [
            node("Cast", [embedding.name], ["crosscam_raw"], to=TensorProto.FLOAT),
            node("Mul", ["crosscam_raw", "crosscam_raw"], ["crosscam_squares"]),
            node("ReduceSum", ["crosscam_squares", axis.name], ["crosscam_total"], keepdims=1),
            node("Sqrt", ["crosscam_total"], ["crosscam_length"]),
            node("Div", ["crosscam_raw", "crosscam_length"], ["crosscam_unit"]),
            node(
                "SimilarityTopK",
                ["crosscam_unit", *given],
                [*SEARCH_OUTPUTS],
                name="crosscam_search",
                domain=DOMAIN,
                k=head.k,
            ),
        ]
    )
    for name, answer in zip(SEARCH_OUTPUTS, (TensorProto.FLOAT, TensorProto.INT64), strict=True):
        graph.output.append(helper.make_tensor_value_info(name, answer, [batch, head.k]))
    made.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
    made.ir_version = max(made.ir_version, 8)  # the first that knows functions
    carry_functions(made)
    return made if plugin else plugin_free(made)


def write_retrieval_graph(
    source: Path, target: Path, head: RetrievalHead, *, plugin: bool = False
) -> None:
    """Write an embedder's file with a search behind it, weights inside.

    Args:
        source: ``.onnx`` file of an embedder, with its weights beside it or inside.
        target: Where to write.
        head: What is searched for.
        plugin: As in `append_retrieval_head`.

    Raises:
        InputError: `source` is unsafe, or no embedder that the head fits.
    """
    import onnx

    check_safe(source)
    made = append_retrieval_head(onnx.load(source), head, plugin=plugin)
    onnx.checker.check_model(made)
    onnx.save(made, target)


class Ports(NamedTuple):
    """What a written graph takes and gives: shapes by name, in order; names for sizes left open."""

    inputs: dict[str, tuple[int | str, ...]]
    outputs: dict[str, tuple[int | str, ...]]


def export_search(
    bundle: Bundle, target: Path, head: RetrievalHead, *, plugin: bool = False
) -> Ports:
    """Write a bundle's embedder with a search behind it, and say what the file takes and gives.

    Args:
        bundle: An embedder in ONNX.
        target: The new ``.onnx`` file.
        head: What is searched for.
        plugin: As in `append_retrieval_head`.

    Raises:
        InputError: The head does not fit the embedder, or `target` exists.
        RunError: `target` cannot be written.
        UsageError: No embedder, not in ONNX, or `target` is not called ``.onnx``.
    """
    import onnx

    manifest = bundle.manifest
    if manifest.task != "embed" or manifest.format != "onnx":
        raise UsageError(
            f"{manifest.name} is for the task {manifest.task}, in the format {manifest.format}",
            expected="an embedder in ONNX: a search looks for its vectors",
            fix="`crosscam models list --task embed` names some",
        )
    if target.suffix != ".onnx":
        raise UsageError(f"{target} is not called .onnx", fix=f"give -o {target.stem}.onnx")
    if target.exists():
        raise InputError(f"{target} exists already", fix="choose another -o, or delete it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_retrieval_graph(bundle.model_path, target, head, plugin=plugin)
    except OSError as error:
        raise RunError(
            f"{target} cannot be written ({error.strerror or error})", fix="choose another -o"
        ) from error
    graph = onnx.load(target, load_external_data=False).graph
    return Ports(
        *({port.name: _sizes(port) for port in each} for each in (graph.input, graph.output))
    )


def _sizes(port: Any) -> tuple[int | str, ...]:
    return tuple(dim.dim_value or dim.dim_param for dim in port.type.tensor_type.shape.dim)


def _embedding_shape(embedding: Any) -> tuple[int | str, int]:
    from onnx import TensorProto

    tensor = embedding.type.tensor_type
    dims = _sizes(embedding)
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16)
    if len(dims) != 2 or not isinstance(dims[1], int) or tensor.elem_type not in floats:
        raise InputError(
            f"the first output {embedding.name!r} has the shape {list(dims)}",
            expected="(batch, length) with a fixed length, float32 or float16",
            fix="export the model so that its first output is the embedding",
        )
    return dims[0] or "batch", dims[1]


def _check_names(model: Any) -> None:
    graph = model.graph
    taken = {each.name for each in (*graph.input, *graph.output, *graph.initializer)}
    for node in graph.node:
        taken.update(node.output)
    mine = {*SEARCH_INPUTS[1:], *SEARCH_OUTPUTS}
    clash = sorted(taken & mine) + sorted(n for n in taken if n.startswith("crosscam_"))
    if clash:
        raise InputError(
            f"the graph has a tensor called {clash[0]!r} already",
            expected="an embedder without a search",
            fix="give the embedder's own graph",
        )
