"""What an ONNX file asks for is looked at before an engine reads it.

A graph may name files for its weights, claim any size for a tensor, and ask for operators that come
as code. Engines follow such names and allocate such sizes; here they are refused, with the reason.
Only the file's own structure is parsed, by `onnx`, and nothing outside it is opened.
"""

from __future__ import annotations

import math
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "org.openvinotoolkit"})
"""Operators of the standard and of the engines. Others would need libraries that crosscam lacks."""


PLUGIN_DOMAIN = "crosscam"
"""Operators that crosscam itself has plugins for; see `crosscam_deploy.export.search_ops`."""


def check_safe(path: Path, *, plugins: bool = False) -> None:
    """Refuse a graph that reaches outside its folder, lies about sizes, or needs foreign code.

    Args:
        path: An ``.onnx`` file.
        plugins: Whether crosscam's own plugins are there to run its own operators. Without, they
            are taken only from a graph that carries what they mean.

    Raises:
        InputError: It is not ONNX, or one of the above.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise InputError(
            f"{path.name} is no ONNX graph ({str(error)[:200]})",
            expected="a whole .onnx file",
            fix="copy or export the model again",
        ) from None
    _check_operators(path, model, {PLUGIN_DOMAIN} if plugins else set())
    for tensor in _tensors(model):
        _check_tensor(path, tensor)


def _check_operators(path: Path, model: Any, plugin_domains: set[str]) -> None:
    known = KNOWN_DOMAINS | plugin_domains
    own = {(function.domain, function.name) for function in model.functions}
    for graph in _graphs(model):
        for node in graph.node:
            if node.domain in known or (node.domain, node.op_type) in own:
                continue
            raise InputError(
                f"{path.name} needs the operator {node.op_type[:80]!r} of {node.domain[:80]!r}",
                expected="operators of ONNX, ONNX Runtime and OpenVINO",
                fix="export the model without operators of its own",
            )


def _check_tensor(path: Path, tensor: Any) -> None:
    from onnx import TensorProto, helper

    size = math.prod(tensor.dims)
    if any(dim < 0 for dim in tensor.dims):
        raise _wrong(path, tensor, f"has the shape {list(tensor.dims)}", "sizes of 0 or more")
    if tensor.data_type == TensorProto.STRING:
        return
    try:
        bits = _BITS.get(tensor.data_type)
        bits = bits or 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, TypeError):
        raise _wrong(path, tensor, f"has the type {tensor.data_type}", "a type of ONNX") from None
    needed = -(-size * bits // 8)
    if tensor.data_location == TensorProto.EXTERNAL:
        _check_external(path, tensor, needed)
    elif tensor.HasField("raw_data") and len(tensor.raw_data) != needed:
        found = f"claims {needed} bytes and holds {len(tensor.raw_data)}"
        raise _wrong(path, tensor, found, "as many as its shape and type need")
    elif not tensor.HasField("raw_data") and not _fits(tensor, size):
        found = f"claims {size} numbers and does not hold as many"
        raise _wrong(path, tensor, found, "as many as its shape says")


def _check_external(path: Path, tensor: Any, needed: int) -> None:
    about = {entry.key: entry.value for entry in tensor.external_data}
    name = about.get("location", "")
    place = PurePosixPath(name)
    plain = name == str(place) and not place.is_absolute() and ".." not in place.parts
    if not name or not plain or "\\" in name or ":" in name or "\0" in name:
        raise _wrong(
            path, tensor, f"has its numbers in {name[:200]!r}", "a file of the bundle's own folder"
        )
    file = path.parent / name
    if file.is_symlink() or not file.is_file():
        raise _wrong(path, tensor, f"has its numbers in {name[:200]!r}", "a file that is there")
    try:
        offset, length = int(about.get("offset", 0)), int(about.get("length", needed))
    except ValueError:
        offset, length = -1, -1
    if offset < 0 or length != needed or offset + length > file.stat().st_size:
        found = f"claims {needed} bytes from {about.get('offset', '0')[:30]} on in {name!r}"
        raise _wrong(path, tensor, found, f"what that file of {file.stat().st_size} bytes holds")


def _fits(tensor: Any, size: int) -> bool:
    """Whether the typed field of a tensor holds its numbers."""
    fields = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
    held = max(len(getattr(tensor, field)) for field in fields)
    return held in {size, 2 * size, -(-size // 2), -(-size // 4)}  # complex: 2, int4: two in one


def _wrong(path: Path, tensor: Any, found: str, expected: str) -> InputError:
    return InputError(
        f"the tensor {tensor.name[:80]!r} of {path.name} {found}",
        expected=expected,
        fix="do not use this file; export the model again",
    )


_BITS = {21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2, 27: 6, 28: 6}
"""Bits of types that NumPy lacks, by their numbers in ``onnx.TensorProto``."""


def _graphs(model: Any) -> Iterator[Any]:
    """Go through the graph, those inside its nodes, and the functions that the file brings."""
    waiting = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    waiting.append(attribute.g)
                waiting.extend(attribute.graphs)


def _tensors(model: Any) -> Iterator[Any]:
    for graph in _graphs(model):
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                sparse_here = [*attribute.sparse_tensors]
                if attribute.HasField("sparse_tensor"):
                    sparse_here.append(attribute.sparse_tensor)
                for sparse in sparse_here:
                    yield from (sparse.values, sparse.indices)
