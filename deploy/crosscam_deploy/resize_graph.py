"""Detector graphs for another image size than the one they were exported for.

YOLO exporters write the image size into the graph: the reshapes of the head carry the number of
anchors, and its constants hold where each anchor lies. The network between them is convolutional
and takes any size. So those numbers can be written anew. A graph in which some are left that are
not understood is refused, and the result is compared with the original before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.decode import grid_size
from crosscam_deploy.log import get_logger
from crosscam_deploy.runtime import compiled_cache, verdicts
from crosscam_deploy.runtime.base import native_size, no_other_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from crosscam_deploy.bundle import Bundle

    Size = tuple[int, int]

_log = get_logger("resize")
# Correlation where both see the same pixels; they differ by what lies beyond, a larger part of the
# sight of small pictures. Measured from .92 and .57 on (64x64), mostly above .96 and .9.
_LEAST_AGREEMENT = {"boxes": 0.9, "scores": 0.4}


def resized(bundle: Bundle, size: Size) -> bytes:
    """Return a bundle's ONNX graph for images of another size.

    The first time this takes a second for a small detector, later the graph comes from the cache.

    Args:
        bundle: A detector with a YOLO head.
        size: `(height, width)` in pixels, multiples of the head's strides.

    Returns:
        The content of an ONNX file.

    Raises:
        InputError: The graph is of another kind, or cannot be written anew with certainty.
    """
    decoder = bundle.manifest.decoder
    known = bundle.manifest.format == "onnx" and decoder is not None
    if not known or decoder is None or decoder.kind not in ("yolox", "yolo_raw"):
        raise no_other_size(bundle, size)
    if any(length % max(decoder.strides) for length in (*size, *native_size(bundle))):
        raise no_other_size(bundle, size)
    key = f"resized graph 1 {bundle.manifest.digest()} {size}"
    if verdicts.get(key) is False:
        raise no_other_size(bundle, size)
    kept = compiled_cache.load(key)
    if kept is not None:
        return kept
    content = rewrite(bundle.model_path.read_bytes(), native_size(bundle), size, decoder.strides)
    works = content is not None and agrees(bundle, content, size)
    _log.info("graph written anew", model=bundle.manifest.name, size=size, works=works)
    if content is None or not works:
        verdicts.put(key, value=False)
        raise no_other_size(bundle, size)
    compiled_cache.keep(key, content)
    return content


def rewrite(content: bytes, old: Size, new: Size, strides: Sequence[int]) -> bytes | None:
    """Replace all numbers in a graph that follow from the image size.

    Args:
        content: An ONNX file with one input of `old` size.
        old: `(height, width)` in pixels that it was exported for.
        new: `(height, width)` in pixels that it shall take.
        strides: Of the head's levels, in pixels.

    Returns:
        The new file, or None when a number is left whose meaning is not known.
    """
    import onnx

    model = onnx.load_from_string(content)
    graph = model.graph
    shapes = {  # constants that say how a tensor is to be shaped
        node.input[1] if node.op_type == "Reshape" else node.input[3]
        for node in graph.node
        if (node.op_type == "Reshape" and len(node.input) == 2)
        or (node.op_type == "Resize" and len(node.input) == 4)
    }
    before, after = grid_size(old, strides), grid_size(new, strides)
    tables = list(zip(_tables(old, strides), _tables(new, strides), strict=True))
    for name, tensor in _constants(graph):
        value = onnx.numpy_helper.to_array(tensor)
        if name in shapes and value.dtype == np.int64 and value.ndim == 1:
            changed = np.array(_reshaped(value.tolist(), old, new, strides), np.int64)
        elif before in value.shape:
            found = _counterpart(value, tables, before, after)
            if found is None:
                return None
            changed = found
        else:
            continue
        if not np.array_equal(changed, value):
            tensor.CopyFrom(onnx.numpy_helper.from_array(changed, tensor.name))
    for dim, length in zip(graph.input[0].type.tensor_type.shape.dim[2:], new, strict=True):
        dim.dim_value = length
    for output in graph.output:
        for dim in output.type.tensor_type.shape.dim:
            if dim.dim_value == before:
                dim.dim_value = after
    del graph.value_info[:]  # sizes of intermediate tensors, which engines find out again
    written: bytes = model.SerializeToString()
    return written


def agrees(bundle: Bundle, content: bytes, size: Size) -> bool:
    """Say whether a rewritten graph answers like the original where both see the same pixels.

    Args:
        bundle: The detector, with its original graph.
        content: The rewritten graph.
        size: `(height, width)` in pixels that the rewritten graph takes.
    """
    from crosscam_deploy.runtime.onnxruntime_engine import session

    manifest, old = bundle.manifest, native_size(bundle)
    assert manifest.decoder is not None
    strides, anchors_last = manifest.decoder.strides, manifest.decoder.kind == "yolo_raw"
    common = min(old[0], size[0]), min(old[1], size[1])
    picture = _test_picture(common, manifest.preprocessing.scale)
    heads = []
    for graph, (height, width) in ((bundle.model_path, old), (content, size)):
        image = np.full((1, 3, height, width), 114 * manifest.preprocessing.scale, np.float32)
        image[:, :, : common[0], : common[1]] = picture
        try:
            opened = session(graph)
            batch = opened.get_inputs()[0].shape[0]
            many = np.repeat(image, batch if isinstance(batch, int) else 1, axis=0)
            answer = opened.run(list(manifest.output_names), {manifest.input_name: many})[0][0]
        except Exception as error:  # the engine's classes are private: the answer, not a failure
            _log.info("rewritten graph does not run", model=manifest.name, reason=str(error)[:200])
            return False
        rows = answer.T if anchors_last else answer
        if len(rows) != grid_size((height, width), strides):
            return False
        heads.append(_cut(rows, (height, width), common, strides))
    first, second = heads
    similar = {
        "boxes": _correlation(first[:, :4], second[:, :4]),
        "scores": _correlation(first[:, 4:], second[:, 4:]),
    }
    _log.info("rewritten graph compared", model=manifest.name, size=size, **similar)
    return all(similar[part] >= least for part, least in _LEAST_AGREEMENT.items())


def _constants(graph: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and tensor of every constant of a graph."""
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            yield node.output[0], node.attribute[0].t


def _levels(size: Size, strides: Sequence[int]) -> list[Size]:
    return [(size[0] // stride, size[1] // stride) for stride in strides]


def _reshaped(shape: list[int], old: Size, new: Size, strides: Sequence[int]) -> list[int]:
    """Return a target shape for the new image size.

    Only ends of shapes are height and width, or all cells of one level: attention blocks reshape to
    them. The number of all anchors is too odd a number to be anything else.
    """
    before, after = grid_size(old, strides), grid_size(new, strides)
    if before in shape:
        return [after if length == before else length for length in shape]
    for was, becomes in zip(_levels(old, strides), _levels(new, strides), strict=True):
        if len(shape) > 2 and tuple(shape[-2:]) == was:
            return [*shape[:-2], *becomes]
        if len(shape) > 2 and -1 not in shape and shape[-1] == was[0] * was[1]:
            return [*shape[:-1], becomes[0] * becomes[1]]
    return shape


def _tables(size: Size, strides: Sequence[int]) -> list[NDArray[np.float64]]:
    """Return what heads keep for each anchor: centres or corners, in cells or pixels, and strides.

    Each is `(K, A)` over the anchors of all levels.
    """
    corners, steps = [], []
    for (rows, columns), stride in zip(_levels(size, strides), strides, strict=True):
        ys, xs = np.mgrid[:rows, :columns]
        corners.append(np.stack([xs.ravel(), ys.ravel()]))
        steps.append(np.full((1, rows * columns), stride))
    corner, step = np.concatenate(corners, 1).astype(float), np.concatenate(steps, 1).astype(float)
    return [corner + 0.5, corner, (corner + 0.5) * step, corner * step, step]


def _counterpart(
    value: NDArray[Any],
    tables: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    before: int,
    after: int,
) -> NDArray[Any] | None:
    """Return a constant over all anchors for the new size, None when it is not known what it is."""
    shape = tuple(after if length == before else length for length in value.shape)
    for was, becomes in tables:
        for a, b in ((was, becomes), (was.T, becomes.T)):
            if value.size == a.size and np.array_equal(value.ravel(), a.ravel()):
                return b.reshape(shape).astype(value.dtype)
    return None


def _test_picture(size: Size, scale: float) -> NDArray[np.float32]:
    """Return random blocks of colour, `(3, height, width)`, scaled as the model takes pixels."""
    blocks = np.random.default_rng(0).integers(0, 256, (3, 8, 8))
    rows, columns = (np.arange(length) * 8 // length for length in size)
    return np.asarray(blocks[:, rows][:, :, columns] * scale, np.float32)


def _cut(
    rows: NDArray[np.float32], size: Size, common: Size, strides: Sequence[int]
) -> NDArray[np.float32]:
    """Return the `(anchors, values)` of those anchors that lie in the top left `common` pixels."""
    parts, start = [], 0
    for (height, width), inner in zip(
        _levels(size, strides), _levels(common, strides), strict=True
    ):
        level = rows[start : start + height * width].reshape(height, width, -1)
        parts.append(level[: inner[0], : inner[1]].reshape(inner[0] * inner[1], -1))
        start += height * width
    return np.concatenate(parts)


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(np.nan_to_num(np.corrcoef(a.ravel(), b.ravel())[0, 1]))
