"""ONNX operators in torch: those of networks for pictures, each with the standard's meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crosscam_deploy.runtime import torch_layers as layers
from crosscam_deploy.runtime import torch_layout as layout
from crosscam_deploy.runtime.torch_call import as_tensor, is_size
from crosscam_deploy.runtime.torch_sizes import ON_SIZES
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from crosscam_deploy.runtime.torch_call import Call


def run(call: Call) -> tuple[Any, ...]:
    """Run a node.

    Raises:
        InputError: The operator, or this use of it, is not known.
    """
    if all(value is None or is_size(call, value) for value in call.values):
        special = ON_SIZES.get(call.op)
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


def _binary(name: str) -> Callable[[Call], Any]:
    def work(call: Call) -> Any:
        first, second = call.values
        like = second if is_size(call, first) else first
        return getattr(call.torch, name)(
            as_tensor(call, first, like), as_tensor(call, second, like)
        )

    return work


def _div(call: Call) -> Any:
    """Divide; whole numbers are cut off towards zero."""
    first, second = call.values
    like = second if is_size(call, first) else first
    one, two = as_tensor(call, first, like), as_tensor(call, second, like)
    whole = not one.is_floating_point() and not two.is_floating_point()
    return call.torch.div(one, two, rounding_mode="trunc" if whole else None)


def _unary(name: str) -> Callable[[Call], Any]:
    return lambda call: getattr(call.torch, name)(call.values[0])


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


_ON_TENSORS: dict[str, Callable[[Call], Any]] = {
    "Abs": _unary("abs"),
    "Add": _binary("add"),
    "AveragePool": layers.average_pool,
    "BatchNormalization": layers.batch_norm,
    "Cast": layout.cast,
    "Clip": layers.clip,
    "Concat": lambda call: call.torch.cat(call.values, call.attributes["axis"]),
    "Conv": layers.conv,
    "Div": _div,
    "Dropout": lambda call: call.values[0],
    "Erf": _unary("erf"),
    "Exp": _unary("exp"),
    "Expand": layout.expand,
    "Flatten": layout.flatten,
    "Gather": layout.gather,
    "Gelu": layers.gelu,
    "Gemm": layers.gemm,
    "GlobalAveragePool": lambda call: call.values[0].mean((2, 3), keepdim=True),
    "GlobalMaxPool": lambda call: call.values[0].amax((2, 3), keepdim=True),
    "HardSigmoid": layers.hard_sigmoid,
    "HardSwish": lambda call: call.torch.nn.functional.hardswish(call.values[0]),
    "Identity": lambda call: call.values[0],
    "InstanceNormalization": layers.instance_norm,
    "LayerNormalization": layers.layer_norm,
    "LeakyRelu": lambda call: call.torch.nn.functional.leaky_relu(
        call.values[0], call.attributes.get("alpha", 0.01)
    ),
    "LpNormalization": layers.lp_norm,
    "MatMul": _binary("matmul"),
    "MaxPool": layers.max_pool,
    "Mul": _binary("mul"),
    "Neg": _unary("neg"),
    "PRelu": layers.prelu,
    "Pad": layout.pad,
    "Pow": _binary("pow"),
    "Reciprocal": _unary("reciprocal"),
    "ReduceL2": _reduce(lambda t, x, axes, keep: t.linalg.vector_norm(x, 2, axes, keepdim=keep)),
    "ReduceMax": _reduce(lambda _, x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMean": _reduce(lambda _, x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceMin": _reduce(lambda _, x, axes, keep: x.amin(axes, keepdim=keep)),
    "ReduceSum": _reduce(lambda _, x, axes, keep: x.sum(axes, keepdim=keep)),
    "Relu": _unary("relu"),
    "Reshape": layout.reshape,
    "Resize": layers.resize,
    "Shape": layout.shape,
    "Sigmoid": _unary("sigmoid"),
    "Slice": layout.take_slice,
    "Softmax": layers.softmax,
    "Split": layout.split,
    "Sqrt": _unary("sqrt"),
    "Squeeze": layout.squeeze,
    "Sub": _binary("sub"),
    "Tanh": _unary("tanh"),
    "Transpose": lambda call: call.values[0].permute(
        call.attributes.get("perm", list(reversed(range(call.values[0].dim()))))
    ),
    "Unsqueeze": layout.unsqueeze,
}
KNOWN = frozenset(_ON_TENSORS)
"""Operators that are carried over."""
