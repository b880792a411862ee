"""What an engine computes in, as TensorRT's inspector tells of the finished plan."""

from __future__ import annotations

from collections import Counter
from typing import Any


def layer_types(told: dict[str, Any]) -> dict[str, int]:
    """Count the layers of an inspector's JSON by the type of their first output.

    Args:
        told: With ``Layers``, each with ``Outputs`` that have a ``Format/Datatype`` such as
            ``"Half"`` or ``"Channel major FP16 format"``. Layers told by name only are `unknown`.
    """
    found: Counter[str] = Counter()
    for layer in told.get("Layers", []):
        outputs = layer.get("Outputs") if isinstance(layer, dict) else None
        text = str(outputs[0].get("Format/Datatype", "")) if outputs else ""
        found[_type_in(text)] += 1
    return dict(found)


_TYPES = {
    "bf16": ("bf16", "bfloat"),
    "f16": ("fp16", "half", "f16"),
    "f32": ("fp32", "float", "f32"),
    "fp8": ("fp8",),
    "int8": ("int8",),
    "int32": ("int32",),
    "int64": ("int64",),
    "bool": ("bool",),
}


def _type_in(text: str) -> str:
    lower = text.lower()
    for name, words in _TYPES.items():
        if any(word in lower for word in words):
            return name
    return "unknown"
