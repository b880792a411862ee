"""Which nodes break a quantised network, found by quantising each alone.

Errors of single nodes add up nearly as if they were independent, so their order by the loss that
each makes alone is the order in which to leave them in float.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence


class Sensitivity(NamedTuple):
    """What one node costs.

    Attributes:
        node: Its name.
        loss: With only this node in int8, in shares of the limits.
    """

    node: str
    loss: float


def sweep(
    nodes: Sequence[str],
    quantised: Callable[[Collection[str]], Any],
    loss: Callable[[Any], float],
    progress: Callable[[int, int], None] | None = None,
) -> list[Sensitivity]:
    """Quantise each node alone.

    Args:
        nodes: Those that can be quantised.
        quantised: Makes a graph in which the nodes given stay float.
        loss: Of a graph.
        progress: Called with how many are done of how many.

    Returns:
        All nodes, the most costly first.
    """
    found = []
    for k, node in enumerate(nodes):
        found.append(Sensitivity(node, loss(quantised([each for each in nodes if each != node]))))
        if progress is not None:
            progress(k + 1, len(nodes))
    return sorted(found, key=lambda each: -each.loss)


def fewest_kept(
    ranked: Sequence[Sensitivity],
    quantised: Callable[[Collection[str]], Any],
    loss: Callable[[Any], float],
    most: float = 1.0,
) -> tuple[tuple[str, ...], Any, float] | None:
    """Leave as few of the most costly nodes in float as the limits allow.

    Args:
        ranked: From `sweep`.
        quantised: As there.
        loss: As there.
        most: Largest loss, in shares of the limits.

    Returns:
        The nodes left in float, the graph and its loss; None when even half of all nodes in float
        are not enough: such a graph would hardly be faster.
    """
    names = [each.node for each in ranked]

    def attempt(count: int) -> tuple[tuple[str, ...], Any, float]:
        kept = tuple(names[:count])
        graph = quantised(kept)
        return kept, graph, loss(graph)

    # doubling, then halving the gap: losses fall with each node left in float, but for noise
    below, above = 0, min(1, len(names) // 2)
    best = None
    while above:
        best = attempt(above)
        if best[2] <= most:
            break
        below = above
        above = min(2 * above, len(names) // 2)
        if above == below:
            return None
    if best is None:
        return None
    while above - below > 1:
        middle = (above + below) // 2
        found = attempt(middle)
        if found[2] <= most:
            best, above = found, middle
        else:
            below = middle
    return best
