"""The graph in float16 or bfloat16 that keeps its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crosscam_deploy.precision.beyond import beyond_half
from crosscam_deploy.precision.found import Lowered, leave_worst
from crosscam_deploy.precision.lowering import LEADING, Low, lowered

if TYPE_CHECKING:
    from collections.abc import Collection

    from crosscam_deploy.precision.found import Tell
    from crosscam_deploy.precision.judge import Judge


def search_types(model: Any, judge: Judge, kind: Low, tell: Tell) -> tuple[Lowered, ...]:
    """Lower all that can be, but what breaks the answers.

    Args:
        model: As from `rewriting.named`, in float32.
        judge: Of what is lost.
        kind: What to lower to.
        tell: Hears what is done.

    Returns:
        As `search.search`.
    """
    tell("watching values", 0, 1)
    beyond = beyond_half(model, judge.calibration) if kind == "f16" else ()

    def write(keep: Collection[str]) -> Any:
        return lowered(model, kind, keep={*beyond, *keep})

    graph = write(())
    loss = judge.loss(graph)
    how = "float16" if kind == "f16" else "bfloat16"
    whole = Lowered(graph, kind, how, beyond, loss, {how: loss})
    if loss <= 1:
        return (whole,)
    # what follows a product is lowered with it, so products are what there is to choose from
    nodes = [n.name for n in model.graph.node if n.op_type in LEADING and n.name not in beyond]

    def tried(keep: Collection[str]) -> float:
        return judge.loss(write(keep), quick=len(keep) >= len(nodes) - 1)

    return leave_worst(whole, nodes, tried, write, judge, tell)
