"""What ONNX graphs compute from sizes, in Python's integers: see `torch_call`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crosscam_deploy.runtime.torch_call import END

if TYPE_CHECKING:
    from collections.abc import Callable

    from crosscam_deploy.runtime.torch_call import Call


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


def _gather_sizes(call: Call) -> Any:
    sizes, places = call.values
    return [sizes[place] for place in places] if isinstance(places, list) else sizes[places]


def _slice_sizes(call: Call) -> Any:
    sizes = call.values[0]
    begin, end = call.constant(1, "starts")[0], call.constant(2, "ends")[0]
    step = (call.constant(4, "steps") or [1])[0]
    return sizes[begin : None if end >= END - 1 else end : step]


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


ON_SIZES: dict[str, Callable[[Call], Any]] = {
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
