"""ONNX operators in torch: those of networks for pictures, each with the standard's meaning.

Values are of two kinds. Tensors are torch's. Sizes, and what graphs compute from them, are kept as
Python's integers and lists of them, so that `torch.export` sees how they follow from the batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_END = 2**31
_DTYPES = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}
"""torch's names of ONNX's types."""


@dataclass(frozen=True, slots=True)
class Call:
    """One node of a graph while it runs.

    Attributes:
        torch: The module.
        op: Name of the operator.
        opset: Of the graph.
        values: Inputs; None for those that are left out.
        fixed: Inputs that are constants of the graph, in NumPy; None for others.
        attributes: Of the node.
        outputs: How many are asked for.
    """

    torch: Any
    op: str
    opset: int
    values: tuple[Any, ...]
    fixed: tuple[NDArray[Any] | None, ...]
    attributes: dict[str, Any]
    outputs: int

    def get(self, place: int) -> Any:
        """Return an input; None when it is left out."""
        return self.values[place] if place < len(self.values) else None

    def constant(self, place: int, attribute: str, default: Any = None) -> Any:
        """Return as Python numbers what is an attribute in some opsets and an input in others."""
        if attribute in self.attributes:
            return self.attributes[attribute]
        if place >= len(self.values) or self.values[place] is None:
            return default
        fixed = self.fixed[place]
        if fixed is None:
            value = self.values[place]
            if isinstance(value, (list, int, self.torch.SymInt)):
                return value
            raise self.refused(f"its {attribute} follows from the picture")
        return fixed.tolist()

    def refused(self, why: str) -> InputError:
        """Return the error for something that is not carried over."""
        return InputError(
            f"the torch runtime does not know {self.op} as this graph uses it: {why}",
            fix="use --runtime openvino or onnxruntime",
        )


def run(call: Call) -> tuple[Any, ...]:
    """Run a node.

    Raises:
        InputError: The operator, or this use of it, is not known.
    """
    if all(value is None or _is_size(call, value) for value in call.values):
        special = _ON_SIZES.get(call.op)
        if special is not None and call.values:
            return (special(call),)
    known = _ON_TENSORS.get(call.op)
    if known is None:
        raise InputError(
            f"the torch runtime does not know the operator {call.op}",
            expected=f"one of {', '.join(sorted(_ON_TENSORS))}",
            fix="use --runtime openvino or onnxruntime",
        )
    answer = known(call)
    return answer if isinstance(answer, tuple) else (answer,)


def _is_size(call: Call, value: Any) -> bool:
    return isinstance(value, (int, list, call.torch.SymInt))


def _tensor(call: Call, value: Any, like: Any = None) -> Any:
    """Return a value as a tensor; sizes become int64."""
    if not _is_size(call, value):
        return value
    return call.torch.tensor(value, device=like.device if like is not None else None)


def _binary(name: str) -> Callable[[Call], Any]:
    def work(call: Call) -> Any:
        first, second = call.values
        like = second if _is_size(call, first) else first
        return getattr(call.torch, name)(_tensor(call, first, like), _tensor(call, second, like))

    return work


def _unary(name: str) -> Callable[[Call], Any]:
    return lambda call: getattr(call.torch, name)(call.values[0])


def _pair_of_sizes(work: Callable[[Any, Any], Any]) -> Callable[[Call], Any]:
    def both(call: Call) -> Any:
        first, second = call.values
        if not isinstance(first, list) and not isinstance(second, list):
            return work(first, second)
        length = max(len(each) for each in (first, second) if isinstance(each, list))
        one, two = (
            (each if isinstance(each, list) else [each]) * (1 if _many(each, length) else length)
            for each in (first, second)
        )
        return [work(a, b) for a, b in zip(one, two, strict=True)]

    return both


def _many(value: Any, length: int) -> bool:
    return isinstance(value, list) and len(value) == length


# ---- sizes -------------------------------------------------------------------------------------


def _shape(call: Call) -> Any:
    sizes = list(call.values[0].shape)
    start = call.attributes.get("start", 0)
    return sizes[start : call.attributes.get("end", len(sizes))]


def _gather_sizes(call: Call) -> Any:
    sizes, places = call.values
    return [sizes[place] for place in places] if isinstance(places, list) else sizes[places]


def _slice_sizes(call: Call) -> Any:
    sizes = call.values[0]
    begin, end = call.constant(1, "starts")[0], call.constant(2, "ends")[0]
    step = (call.constant(4, "steps") or [1])[0]
    return sizes[begin : None if end >= _END - 1 else end : step]


def _concat_sizes(call: Call) -> Any:
    return [size for part in call.values for size in part]


def _squeeze_size(call: Call) -> Any:
    (size,) = call.values[0]
    return size


def _reshape_sizes(call: Call) -> Any:
    sizes, shape = call.values
    if shape not in ([-1], [1]):
        raise call.refused(f"sizes into the shape {shape}")
    return sizes if isinstance(sizes, list) else [sizes]


_ON_SIZES: dict[str, Callable[[Call], Any]] = {
    "Reshape": _reshape_sizes,
    "Gather": _gather_sizes,
    "Slice": _slice_sizes,
    "Concat": _concat_sizes,
    "Unsqueeze": lambda call: [call.values[0]],
    "Squeeze": _squeeze_size,
    "Cast": lambda call: call.values[0],
    "Identity": lambda call: call.values[0],
    "Add": _pair_of_sizes(lambda a, b: a + b),
    "Sub": _pair_of_sizes(lambda a, b: a - b),
    "Mul": _pair_of_sizes(lambda a, b: a * b),
    "Div": _pair_of_sizes(lambda a, b: a // b),
}

# ---- tensors -----------------------------------------------------------------------------------


def _sides(call: Call, dims: int) -> tuple[list[int], list[int]]:
    """Return the padding before and after each axis, as the standard lists it."""
    if call.attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID", "NOTSET", "VALID"):
        raise call.refused("auto_pad")
    pads = call.attributes.get("pads", [0] * (2 * dims))
    return list(pads[:dims]), list(pads[dims:])


def _for_pad(before: list[int], after: list[int]) -> list[int]:
    """Return the paddings in torch's order: last axis first."""
    return [n for pair in zip(reversed(before), reversed(after), strict=True) for n in pair]


def _conv(call: Call) -> Any:
    images, weights = call.values[:2]
    dims = weights.dim() - 2
    if dims not in (1, 2):
        raise call.refused(f"{dims} axes")
    before, after = _sides(call, dims)
    if before != after:
        images = call.torch.nn.functional.pad(images, _for_pad(before, after))
        before = [0] * dims
    work = getattr(call.torch.nn.functional, f"conv{dims}d")
    return work(
        images,
        weights,
        call.get(2),
        call.attributes.get("strides", [1] * dims),
        before,
        call.attributes.get("dilations", [1] * dims),
        call.attributes.get("group", 1),
    )


def _max_pool(call: Call) -> Any:
    images, kernel = call.values[0], call.attributes["kernel_shape"]
    if call.outputs > 1 or len(kernel) != 2:
        raise call.refused("indices, or another number of axes than two")
    before, after = _sides(call, 2)
    functional = call.torch.nn.functional
    if before != after or any(2 * b > k for b, k in zip(before, kernel, strict=True)):
        images = functional.pad(images, _for_pad(before, after), value=-math.inf)
        before = [0, 0]
    return functional.max_pool2d(
        images,
        kernel,
        call.attributes.get("strides", [1, 1]),
        before,
        call.attributes.get("dilations", [1, 1]),
        bool(call.attributes.get("ceil_mode", 0)),
    )


def _average_pool(call: Call) -> Any:
    kernel = call.attributes["kernel_shape"]
    before, after = _sides(call, len(kernel))
    dilated = any(each != 1 for each in call.attributes.get("dilations", []))
    if len(kernel) != 2 or before != after or dilated:
        raise call.refused("padding on one side, dilations, or another number of axes than two")
    return call.torch.nn.functional.avg_pool2d(
        call.values[0],
        kernel,
        call.attributes.get("strides", [1, 1]),
        before,
        bool(call.attributes.get("ceil_mode", 0)),
        bool(call.attributes.get("count_include_pad", 0)),
    )


def _batch_norm(call: Call) -> Any:
    if call.attributes.get("training_mode", 0):
        raise call.refused("training_mode")
    images, scale, bias, mean, variance = call.values
    epsilon = call.attributes.get("epsilon", 1e-5)
    work = call.torch.nn.functional.batch_norm
    return work(images, mean, variance, scale, bias, training=False, eps=epsilon)


def _instance_norm(call: Call) -> Any:
    images, scale, bias = call.values
    epsilon = call.attributes.get("epsilon", 1e-5)
    return call.torch.nn.functional.instance_norm(images, weight=scale, bias=bias, eps=epsilon)


def _layer_norm(call: Call) -> Any:
    rows = call.values[0]
    if call.outputs > 1:
        raise call.refused("more than its first output")
    axis = call.attributes.get("axis", -1) % rows.dim()
    epsilon = call.attributes.get("epsilon", 1e-5)
    shape = list(rows.shape[axis:])
    return call.torch.nn.functional.layer_norm(rows, shape, call.values[1], call.get(2), epsilon)


def _gemm(call: Call) -> Any:
    first, second = call.values[:2]
    first = first.t() if call.attributes.get("transA", 0) else first
    second = second.t() if call.attributes.get("transB", 0) else second
    answer = first @ second * call.attributes.get("alpha", 1.0)
    added = call.get(2)
    return answer if added is None else answer + call.attributes.get("beta", 1.0) * added


def _reshape(call: Call) -> Any:
    tensor, sizes = call.values[0], call.constant(1, "shape")
    if call.attributes.get("allowzero", 0):
        return tensor.reshape(sizes)
    known = [
        tensor.shape[place] if isinstance(size, int) and size == 0 else size
        for place, size in enumerate(sizes)
    ]
    return tensor.reshape(known)


def _flatten(call: Call) -> Any:
    tensor, axis = call.values[0], call.attributes.get("axis", 1)
    sizes = tensor.shape
    axis = axis % tensor.dim() if axis < 0 else axis
    return tensor.reshape(math.prod(sizes[:axis]), math.prod(sizes[axis:]))


def _split(call: Call) -> Any:
    tensor, axis = call.values[0], call.attributes.get("axis", 0)
    sizes = call.constant(1, "split")
    if sizes is None:
        each = -(-int(tensor.shape[axis]) // call.outputs)
        return tuple(call.torch.split(tensor, each, axis))
    return tuple(call.torch.split(tensor, sizes, axis))


def _slice(call: Call) -> Any:
    tensor = call.values[0]
    starts, ends = call.constant(1, "starts"), call.constant(2, "ends")
    axes = call.constant(3, "axes") or list(range(len(starts)))
    steps = call.constant(4, "steps") or [1] * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 1:
            raise call.refused("a step backwards")
        kept = [slice(None)] * tensor.dim()
        kept[axis] = slice(start, None if isinstance(end, int) and end >= _END - 1 else end, step)
        tensor = tensor[tuple(kept)]
    return tensor


def _gather(call: Call) -> Any:
    tensor, axis = call.values[0], call.attributes.get("axis", 0)
    places = call.fixed[1]
    if places is None:
        raise call.refused("places that follow from the picture")
    axis %= tensor.dim()
    wrapped = np.where(places < 0, places + int(tensor.shape[axis]), places)
    if places.ndim == 0:
        return tensor.select(axis, int(wrapped))
    chosen = call.torch.tensor(wrapped.ravel().tolist(), device=tensor.device)
    found = tensor.index_select(axis, chosen)
    return found.reshape(*tensor.shape[:axis], *places.shape, *tensor.shape[axis + 1 :])


def _squeeze(call: Call) -> Any:
    tensor, axes = call.values[0], call.constant(1, "axes")
    return tensor.squeeze() if axes is None else tensor.squeeze(tuple(axes))


def _unsqueeze(call: Call) -> Any:
    tensor, axes = call.values[0], call.constant(1, "axes")
    tensor = _tensor(call, tensor)
    rank = tensor.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        tensor = tensor.unsqueeze(axis)
    return tensor


def _expand(call: Call) -> Any:
    tensor, sizes = _tensor(call, call.values[0]), call.constant(1, "shape")
    # In ONNX a size of 1 leaves an axis as it is; in torch, -1 does.
    keep = [-1 if isinstance(size, int) and size == 1 else size for size in sizes]
    missing = len(sizes) - tensor.dim()
    keep[: max(missing, 0)] = sizes[: max(missing, 0)]
    return tensor.expand([-1] * max(-missing, 0) + keep)


def _pad(call: Call) -> Any:
    tensor = call.values[0]
    mode = call.attributes.get("mode", b"constant")
    if mode not in (b"constant", "constant") or call.get(3) is not None:
        raise call.refused("another mode than constant, or only some axes")
    pads = call.constant(1, "pads")
    value = call.constant(2, "value", 0.0) or 0.0
    rank = tensor.dim()
    sides = _for_pad(pads[:rank], pads[rank:])
    number = value[0] if isinstance(value, list) else value
    return call.torch.nn.functional.pad(tensor, sides, value=float(number))


def _resize(call: Call) -> Any:
    images = call.values[0]
    text = {
        key: value.decode() if isinstance(value, bytes) else value
        for key, value in call.attributes.items()
    }
    mode = text.get("mode", "nearest")
    where = text.get("coordinate_transformation_mode", "half_pixel")
    rounding = text.get("nearest_mode", "round_prefer_floor")
    if images.dim() != 4 or text.get("antialias", 0):
        raise call.refused("antialias, or another number of axes than four")
    before = [int(size) for size in images.shape[2:]]
    scales = call.constant(2, "scales") or []
    if len(scales) == 4:
        sizes = [int(of * by) for of, by in zip(before, scales[2:], strict=True)]
    else:
        sizes = call.constant(3, "sizes")[2:]
    functional = call.torch.nn.functional
    if mode == "linear" and where in ("half_pixel", "pytorch_half_pixel"):
        return functional.interpolate(images, size=sizes, mode="bilinear", align_corners=False)
    # torch takes the pixel at floor(i / factor); others agree with it for whole factors only
    whole = all(to % of == 0 for to, of in zip(sizes, before, strict=True))
    if mode == "nearest" and where == "asymmetric" and rounding == "floor" and whole:
        return functional.interpolate(images, size=sizes, mode="nearest")
    raise call.refused(f"{mode}, {where}, {rounding}, from {before} to {sizes}")


def _reduce(work: Callable[[Any, Any, list[int], bool], Any]) -> Callable[[Call], Any]:
    def reduce(call: Call) -> Any:
        tensor, axes = call.values[0], call.constant(1, "axes")
        keep = bool(call.attributes.get("keepdims", 1))
        if not axes:
            if call.attributes.get("noop_with_empty_axes", 0):
                return tensor
            axes = list(range(tensor.dim()))
        return work(call.torch, tensor, axes, keep)

    return reduce


def _softmax(call: Call) -> Any:
    tensor = call.values[0]
    axis = call.attributes.get("axis", -1 if call.opset >= 13 else 1)
    if call.opset < 13 and axis % tensor.dim() != tensor.dim() - 1:
        raise call.refused("several axes at once, as before opset 13")
    return tensor.softmax(axis)


def _clip(call: Call) -> Any:
    least, most = call.constant(1, "min"), call.constant(2, "max")
    return call.values[0].clamp(least, most)


def _lp_norm(call: Call) -> Any:
    order, axis = call.attributes.get("p", 2), call.attributes.get("axis", -1)
    length = call.torch.linalg.vector_norm(call.values[0], order, axis, keepdim=True)
    return call.values[0] / length


def _prelu(call: Call) -> Any:
    tensor, slope = call.values
    return call.torch.where(tensor < 0, tensor * slope, tensor)


def _gelu(call: Call) -> Any:
    how = call.attributes.get("approximate", b"none")
    how = how.decode() if isinstance(how, bytes) else how
    return call.torch.nn.functional.gelu(call.values[0], approximate=how)


def _cast(call: Call) -> Any:
    name = _DTYPES.get(call.attributes["to"])
    if name is None:
        raise call.refused(f"into the type {call.attributes['to']} of ONNX")
    return _tensor(call, call.values[0]).to(getattr(call.torch, name))


def _hard_sigmoid(call: Call) -> Any:
    alpha, beta = call.attributes.get("alpha", 0.2), call.attributes.get("beta", 0.5)
    return (call.values[0] * alpha + beta).clamp(0, 1)


_ON_TENSORS: dict[str, Callable[[Call], Any]] = {
    "Abs": _unary("abs"),
    "Add": _binary("add"),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda call: call.torch.cat(call.values, call.attributes["axis"]),
    "Conv": _conv,
    "Div": _binary("div"),
    "Dropout": lambda call: call.values[0],
    "Erf": _unary("erf"),
    "Exp": _unary("exp"),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda call: call.values[0].mean((2, 3), keepdim=True),
    "GlobalMaxPool": lambda call: call.values[0].amax((2, 3), keepdim=True),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda call: call.torch.nn.functional.hardswish(call.values[0]),
    "Identity": lambda call: call.values[0],
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda call: call.torch.nn.functional.leaky_relu(
        call.values[0], call.attributes.get("alpha", 0.01)
    ),
    "LpNormalization": _lp_norm,
    "MatMul": _binary("matmul"),
    "MaxPool": _max_pool,
    "Mul": _binary("mul"),
    "Neg": _unary("neg"),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _binary("pow"),
    "Reciprocal": _unary("reciprocal"),
    "ReduceL2": _reduce(lambda t, x, axes, keep: t.linalg.vector_norm(x, 2, axes, keepdim=keep)),
    "ReduceMax": _reduce(lambda _, x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMean": _reduce(lambda _, x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceMin": _reduce(lambda _, x, axes, keep: x.amin(axes, keepdim=keep)),
    "ReduceSum": _reduce(lambda _, x, axes, keep: x.sum(axes, keepdim=keep)),
    "Relu": _unary("relu"),
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Sigmoid": _unary("sigmoid"),
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Sqrt": _unary("sqrt"),
    "Squeeze": _squeeze,
    "Sub": _binary("sub"),
    "Tanh": _unary("tanh"),
    "Transpose": lambda call: call.values[0].permute(
        call.attributes.get("perm", list(reversed(range(call.values[0].dim()))))
    ),
    "Unsqueeze": _unsqueeze,
}
KNOWN = frozenset(_ON_TENSORS)
"""Operators that are carried over."""
