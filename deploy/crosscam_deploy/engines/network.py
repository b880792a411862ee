"""What a network computes in, as TensorRT read it from the graph, before it chose kernels.

Networks are strongly typed: kernels keep these types. Where there is no GPU the finished engine
cannot be opened, so this is all that can be read back; with one, see `inspector`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

_PRODUCTS = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY")
_NAMES = {"FLOAT": "f32", "HALF": "f16", "BF16": "bf16", "FP8": "fp8", "INT8": "int8"}


def product_types(network: Any) -> dict[str, int]:
    """Count the convolutions and products of a network by what enters them.

    Args:
        network: An `INetworkDefinition` that was parsed.

    Returns:
        ``"f32"``, ``"f16"``, ``"bf16"``, ``"int8"``, ``"fp8"`` → layers. One counts as ``"int8"``
        or ``"fp8"`` where both of its inputs come out of a dequantisation, which is what TensorRT
        makes such kernels of. Shapes may change in between: weights of a product with batches
        get a leading 1.
    """
    layers = [network.get_layer(place) for place in range(network.num_layers)]
    made_by = {
        output.name: layer
        for layer in layers
        for place in range(layer.num_outputs)
        if (output := layer.get_output(place)) is not None
    }
    found: Counter[str] = Counter()
    for layer in layers:
        if _name(layer.type) not in _PRODUCTS:
            continue
        entering = [
            tensor
            for place in range(min(layer.num_inputs, 2))
            if (tensor := layer.get_input(place)) is not None
        ]
        kinds = {_dequantised(tensor, made_by) for tensor in entering}
        kind = kinds.pop() if len(kinds) == 1 else None
        found[kind or _number(entering[0].dtype)] += 1
    return dict(found)


def _dequantised(tensor: Any, made_by: dict[str, Any]) -> str | None:
    """Return the numbers that a tensor was restored from; None when it was not."""
    layer = made_by.get(tensor.name)
    while layer is not None and _name(layer.type) == "SHUFFLE":
        layer = made_by.get(layer.get_input(0).name)
    if layer is None or _name(layer.type) != "DEQUANTIZE":
        return None
    return _number(layer.get_input(0).dtype)


def _name(kind: Any) -> str:
    return str(kind).rpartition(".")[2]


def _number(dtype: Any) -> str:
    name = _name(dtype)
    return _NAMES.get(name, name.lower())
