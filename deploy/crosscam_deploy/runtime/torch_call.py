"""`Call`: one node of an ONNX graph while torch runs it, and the two kinds of values there are.

Tensors are torch's. Sizes, and what graphs compute from them, are kept as Python's integers and
lists of them, so that `torch.export` sees how they follow from the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

END = 2**31
"""From here on the end of a slice means the end."""


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


def is_size(call: Call, value: Any) -> bool:
    """Whether a value is sizes, not a tensor."""
    return isinstance(value, (int, list, call.torch.SymInt))


def as_tensor(call: Call, value: Any, like: Any = None) -> Any:
    """Return a value as a tensor; sizes become int64."""
    if not is_size(call, value):
        return value
    return call.torch.tensor(value, device=like.device if like is not None else None)
