"""Which nodes break a network in fewer bits, found by lowering each alone.

Errors of single nodes add up nearly as if they were independent, so their order by the loss that
each makes alone is the order in which to leave them in float.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence


class Sensitivity(NamedTuple):
    """What one node costs.

    Attributes:
        node: Its name.
        loss: With only this node in fewer bits, in shares of the limits.
    """

    node: str
    loss: float


def sweep(
    nodes: Sequence[str],
    loss: Callable[[Collection[str]], float],
    progress: Callable[[int, int], None] | None = None,
) -> list[Sensitivity]:
    """Try each node alone.

    Args:
        nodes: Those that can be in fewer bits.
        loss: Of the graph in which the nodes given stay float.
        progress: Called with how many are done of how many.

    Returns:
        All nodes, the most costly first.
    """
    found = []
    for k, node in enumerate(nodes):
        found.append(Sensitivity(node, loss([each for each in nodes if each != node])))
        if progress is not None:
            progress(k + 1, len(nodes))
    return sorted(found, key=lambda each: -each.loss)


def fewest_kept(
    ranked: Sequence[Sensitivity],
    loss: Callable[[Collection[str]], float],
    most: float = 1.0,
) -> tuple[str, ...] | None:
    """Leave as few of the most costly nodes in float as the limits allow.

    Args:
        ranked: From `sweep`.
        loss: As there.
        most: Largest loss, in shares of the limits.

    Returns:
        The nodes left in float; None when even half of all nodes in float are not enough: such a
        graph would hardly be faster.
    """
    names = [each.node for each in ranked]

    def enough(count: int) -> bool:
        return loss(names[:count]) <= most

    # doubling, then halving the gap: losses fall with each node left in float, but for noise
    below, above = 0, min(1, len(names) // 2)
    while above and not enough(above):
        below = above
        above = min(2 * above, len(names) // 2)
        if above == below:
            return None
    if not above:
        return None
    while above - below > 1:
        middle = (above + below) // 2
        if enough(middle):
            above = middle
        else:
            below = middle
    return tuple(names[:above])
