"""Layers of networks in torch, each with the meaning that ONNX gives it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crosscam_deploy.runtime.torch_call import Call


def _sides(call: Call, dims: int) -> tuple[list[int], list[int]]:
    """Return the padding before and after each axis, as the standard lists it."""
    if call.attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID", "NOTSET", "VALID"):
        raise call.refused("auto_pad")
    pads = call.attributes.get("pads", [0] * (2 * dims))
    return list(pads[:dims]), list(pads[dims:])


def for_pad(before: list[int], after: list[int]) -> list[int]:
    """Return the paddings in torch's order: last axis first."""
    return [n for pair in zip(reversed(before), reversed(after), strict=True) for n in pair]


def conv(call: Call) -> Any:
    """Run ``Conv``."""
    images, weights = call.values[:2]
    dims = weights.dim() - 2
    if dims not in (1, 2):
        raise call.refused(f"{dims} axes")
    before, after = _sides(call, dims)
    if before != after:
        images = call.torch.nn.functional.pad(images, for_pad(before, after))
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


def max_pool(call: Call) -> Any:
    """Run ``MaxPool``."""
    images, kernel = call.values[0], call.attributes["kernel_shape"]
    if call.outputs > 1 or len(kernel) != 2:
        raise call.refused("indices, or another number of axes than two")
    before, after = _sides(call, 2)
    functional = call.torch.nn.functional
    if before != after or any(2 * b > k for b, k in zip(before, kernel, strict=True)):
        images = functional.pad(images, for_pad(before, after), value=-math.inf)
        before = [0, 0]
    return functional.max_pool2d(
        images,
        kernel,
        call.attributes.get("strides", [1, 1]),
        before,
        call.attributes.get("dilations", [1, 1]),
        bool(call.attributes.get("ceil_mode", 0)),
    )


def average_pool(call: Call) -> Any:
    """Run ``AveragePool``."""
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


def batch_norm(call: Call) -> Any:
    """Run ``BatchNormalization``."""
    if call.attributes.get("training_mode", 0):
        raise call.refused("training_mode")
    images, scale, bias, mean, variance = call.values
    epsilon = call.attributes.get("epsilon", 1e-5)
    work = call.torch.nn.functional.batch_norm
    return work(images, mean, variance, scale, bias, training=False, eps=epsilon)


def instance_norm(call: Call) -> Any:
    """Run ``InstanceNormalization``."""
    images, scale, bias = call.values
    epsilon = call.attributes.get("epsilon", 1e-5)
    return call.torch.nn.functional.instance_norm(images, weight=scale, bias=bias, eps=epsilon)


def layer_norm(call: Call) -> Any:
    """Run ``LayerNormalization``."""
    rows = call.values[0]
    if call.outputs > 1:
        raise call.refused("more than its first output")
    axis = call.attributes.get("axis", -1) % rows.dim()
    epsilon = call.attributes.get("epsilon", 1e-5)
    shape = list(rows.shape[axis:])
    return call.torch.nn.functional.layer_norm(rows, shape, call.values[1], call.get(2), epsilon)


def gemm(call: Call) -> Any:
    """Run ``Gemm``."""
    first, second = call.values[:2]
    first = first.t() if call.attributes.get("transA", 0) else first
    second = second.t() if call.attributes.get("transB", 0) else second
    answer = first @ second * call.attributes.get("alpha", 1.0)
    added = call.get(2)
    return answer if added is None else answer + call.attributes.get("beta", 1.0) * added


def resize(call: Call) -> Any:
    """Run ``Resize``."""
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


def softmax(call: Call) -> Any:
    """Run ``Softmax``."""
    tensor = call.values[0]
    axis = call.attributes.get("axis", -1 if call.opset >= 13 else 1)
    if call.opset < 13 and axis % tensor.dim() != tensor.dim() - 1:
        raise call.refused("several axes at once, as before opset 13")
    return tensor.softmax(axis)


def clip(call: Call) -> Any:
    """Run ``Clip``."""
    least, most = call.constant(1, "min"), call.constant(2, "max")
    return call.values[0].clamp(least, most)


def lp_norm(call: Call) -> Any:
    """Run ``LpNormalization``."""
    order, axis = call.attributes.get("p", 2), call.attributes.get("axis", -1)
    length = call.torch.linalg.vector_norm(call.values[0], order, axis, keepdim=True)
    return call.values[0] / length


def prelu(call: Call) -> Any:
    """Run ``PRelu``."""
    tensor, slope = call.values
    return call.torch.where(tensor < 0, tensor * slope, tensor)


def gelu(call: Call) -> Any:
    """Run ``Gelu``."""
    how = call.attributes.get("approximate", b"none")
    how = how.decode() if isinstance(how, bytes) else how
    return call.torch.nn.functional.gelu(call.values[0], approximate=how)


def hard_sigmoid(call: Call) -> Any:
    """Run ``HardSigmoid``."""
    alpha, beta = call.attributes.get("alpha", 0.2), call.attributes.get("beta", 0.5)
    return (call.values[0] * alpha + beta).clamp(0, 1)
