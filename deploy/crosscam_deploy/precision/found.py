"""`Lowered`: a graph in fewer bits and how it was found; and what stays float where it must."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from crosscam_deploy.precision.sensitivity import Sensitivity, fewest_kept, sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from crosscam_deploy.precision.judge import Judge

    Tell = Callable[[str, int, int], None]

Wanted = Literal["int8", "fp8", "f16", "bf16"]
_GRADES = (1.0, 0.6)  # shares of the limits for which nodes are left in float


@dataclass(frozen=True, slots=True)
class Lowered:
    """A graph in fewer bits and how it was found.

    Attributes:
        model: The ``onnx.ModelProto``.
        wanted: What was asked for.
        how: How it was written, in words.
        kept: Nodes that stay float although they could be lowered.
        loss: In shares of the limits; above 1 it is expected to fail its verification.
        tried: Loss of each way of writing the whole graph.
        sensitivity: Of each node, the most costly first; empty where no sweep was needed.
    """

    model: Any
    wanted: Wanted
    how: str
    kept: tuple[str, ...]
    loss: float
    tried: dict[str, float]
    sensitivity: tuple[Sensitivity, ...] = ()

    @property
    def precision(self) -> Literal["int8", "fp8", "f16", "bf16", "mixed"]:
        """What was asked for; ``mixed`` when nodes of int8 or fp8 stay float."""
        if self.kept and (self.wanted == "int8" or self.wanted == "fp8"):
            return "mixed"
        return self.wanted

    def words(self) -> str:
        """Return how it was made, for a manifest."""
        where = "float" if self.wanted in ("int8", "fp8") else "float32"
        return f"{self.how}, {len(self.kept)} nodes in {where}" if self.kept else self.how


def leave_worst(
    whole: Lowered,
    nodes: Sequence[str],
    loss: Callable[[Collection[str]], float],
    write: Callable[[Collection[str]], Any],
    judge: Judge,
    tell: Tell,
) -> tuple[Lowered, ...]:
    """Leave nodes in float until the limits are kept.

    Args:
        whole: With all nodes lowered but those that never can be.
        nodes: That can be left.
        loss: With the nodes given left in float; may be an estimate.
        write: The graph with the nodes given left in float.
        judge: Of the graphs that come out.
        tell: Hears how many nodes were tried alone.

    Returns:
        A graph for the limits, and one for stricter ones where that is another; the whole one with
        what each node costs when leaving half of all is not enough.
    """
    ranked = sweep(nodes, loss, lambda done, total: tell("nodes alone", done, total))
    whole = dataclasses.replace(whole, sensitivity=tuple(ranked))
    grades: dict[tuple[str, ...], Lowered] = {}
    for most in _GRADES:
        kept = fewest_kept(ranked, loss, most)
        if kept is not None and kept not in grades:
            graph = write(kept)
            grades[kept] = dataclasses.replace(
                whole, model=graph, kept=(*whole.kept, *kept), loss=judge.loss(graph)
            )
    return tuple(grades.values()) or (whole,)
