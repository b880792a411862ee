"""Operators that move the numbers of tensors and change none, as ONNX means them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.runtime.torch_call import END, as_tensor
from crosscam_deploy.runtime.torch_layers import for_pad

if TYPE_CHECKING:
    from crosscam_deploy.runtime.torch_call import Call

DTYPES = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}
"""torch's names of ONNX's types."""


def shape(call: Call) -> Any:
    """Run ``Shape``."""
    sizes = list(call.values[0].shape)
    start = call.attributes.get("start", 0)
    return sizes[start : call.attributes.get("end", len(sizes))]


def reshape(call: Call) -> Any:
    """Run ``Reshape``."""
    tensor, sizes = call.values[0], call.constant(1, "shape")
    if call.attributes.get("allowzero", 0):
        return tensor.reshape(sizes)
    known = [
        tensor.shape[place] if isinstance(size, int) and size == 0 else size
        for place, size in enumerate(sizes)
    ]
    return tensor.reshape(known)


def flatten(call: Call) -> Any:
    """Run ``Flatten``."""
    tensor, axis = call.values[0], call.attributes.get("axis", 1)
    sizes = tensor.shape
    axis = axis % tensor.dim() if axis < 0 else axis
    return tensor.reshape(math.prod(sizes[:axis]), math.prod(sizes[axis:]))


def split(call: Call) -> Any:
    """Run ``Split``."""
    tensor, axis = call.values[0], call.attributes.get("axis", 0)
    sizes = call.constant(1, "split")
    if sizes is None:
        each = -(-int(tensor.shape[axis]) // call.outputs)
        return tuple(call.torch.split(tensor, each, axis))
    return tuple(call.torch.split(tensor, sizes, axis))


def take_slice(call: Call) -> Any:
    """Run ``Slice``."""
    tensor = call.values[0]
    starts, ends = call.constant(1, "starts"), call.constant(2, "ends")
    axes = call.constant(3, "axes") or list(range(len(starts)))
    steps = call.constant(4, "steps") or [1] * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 1:
            raise call.refused("a step backwards")
        kept = [slice(None)] * tensor.dim()
        kept[axis] = slice(start, None if isinstance(end, int) and end >= END - 1 else end, step)
        tensor = tensor[tuple(kept)]
    return tensor


def gather(call: Call) -> Any:
    """Run ``Gather``."""
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


def squeeze(call: Call) -> Any:
    """Run ``Squeeze``."""
    tensor, axes = call.values[0], call.constant(1, "axes")
    return tensor.squeeze() if axes is None else tensor.squeeze(tuple(axes))


def unsqueeze(call: Call) -> Any:
    """Run ``Unsqueeze``."""
    tensor, axes = call.values[0], call.constant(1, "axes")
    tensor = as_tensor(call, tensor)
    rank = tensor.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        tensor = tensor.unsqueeze(axis)
    return tensor


def expand(call: Call) -> Any:
    """Run ``Expand``."""
    tensor, sizes = as_tensor(call, call.values[0]), call.constant(1, "shape")
    # In ONNX a size of 1 leaves an axis as it is; in torch, -1 does.
    keep = [-1 if isinstance(size, int) and size == 1 else size for size in sizes]
    missing = len(sizes) - tensor.dim()
    keep[: max(missing, 0)] = sizes[: max(missing, 0)]
    return tensor.expand([-1] * max(-missing, 0) + keep)


def pad(call: Call) -> Any:
    """Run ``Pad``."""
    tensor = call.values[0]
    mode = call.attributes.get("mode", b"constant")
    if mode not in (b"constant", "constant") or call.get(3) is not None:
        raise call.refused("another mode than constant, or only some axes")
    pads = call.constant(1, "pads")
    value = call.constant(2, "value", 0.0) or 0.0
    rank = tensor.dim()
    sides = for_pad(pads[:rank], pads[rank:])
    number = value[0] if isinstance(value, list) else value
    return call.torch.nn.functional.pad(tensor, sides, value=float(number))


def cast(call: Call) -> Any:
    """Run ``Cast``."""
    name = DTYPES.get(call.attributes["to"])
    if name is None:
        raise call.refused(f"into the type {call.attributes['to']} of ONNX")
    return as_tensor(call, call.values[0]).to(getattr(call.torch, name))
