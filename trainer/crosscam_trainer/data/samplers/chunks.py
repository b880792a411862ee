"""Groups of `K` pictures of one label, and batches of `P` such groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def positions_by_label(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the positions of each label, labels ascending.

    Args:
        labels: `(N,)`.
    """
    order = np.argsort(labels, kind="stable")
    cuts = np.flatnonzero(np.diff(labels[order])) + 1
    return np.split(order.astype(np.int64), cuts)


def interleaved(
    positions: NDArray[np.int64], groups: NDArray[np.int64] | None, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Put pictures of one label in random order, neighbours from different groups where possible.

    Args:
        positions: `(N,)`.
        groups: `(N,)`, camera or outfit of each; None for no groups.
        rng: Source of randomness.

    Returns:
        `(N,)`: rounds of one picture of each group that has some left, groups in random order.
    """
    shuffled = rng.permutation(len(positions))
    if groups is None:
        return positions[shuffled]
    # The round of a picture is its place in its group; inside a round the order is random.
    rounds = np.empty(len(positions), np.int64)
    for group in np.unique(groups):
        members = shuffled[groups[shuffled] == group]
        rounds[members] = np.arange(len(members))
    order = shuffled[np.argsort(rounds[shuffled], kind="stable")]
    return positions[order]


def chunks(
    ordered: NDArray[np.int64], size: int, number: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Cut the pictures of a label into groups.

    Args:
        ordered: `(N,)`, from `interleaved`.
        size: Pictures a group, `K`.
        number: Groups. The first ``ceil(N / K)`` hold every picture; where pictures are missing to
            fill a group, others of the label come again, as few times as possible.
        rng: Source of randomness.

    Returns:
        `(number, size)`.
    """
    if len(ordered) <= size:  # every group holds every picture
        rounds = -(-size // len(ordered))
        line = [rng.permutation(ordered) for _ in range(rounds * number)]
        return np.concatenate(line).reshape(number, -1)[:, :size]
    parts, total = [ordered], len(ordered)
    while total < number * size:
        parts.append(_again(parts[-1], total % size, rng))
        total += len(ordered)
    return np.concatenate(parts)[: number * size].reshape(number, size)


def _again(before: NDArray[np.int64], started: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """All pictures in another order; those in the group that was started come last."""
    cut = len(before) - started
    return np.concatenate([rng.permutation(before[:cut]), rng.permutation(before[cut:])])


def batches_needed(counts: Sequence[int], people: int) -> int:
    """Return the smallest number of batches of `people` different labels.

    Args:
        counts: Groups of each label, all of which must be in some batch.
        people: Labels a batch, `P`; at most ``len(counts)``.
    """
    return max(-(-sum(counts) // people), max(counts))


def fill(
    counts: NDArray[np.int64], people: int, batches: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Raise the numbers of groups until they fill every batch.

    Args:
        counts: `(L,)`, at most `batches` each.
        people: Labels a batch.
        batches: From `batches_needed`.
        rng: Chooses whose groups are added.

    Returns:
        `(L,)` with the sum ``people * batches``, at most `batches` each.
    """
    filled = counts.copy()
    missing = people * batches - int(filled.sum())
    while missing:
        open_labels = np.flatnonzero(filled < batches)
        chosen = rng.permutation(open_labels)[:missing]
        filled[chosen] += 1
        missing -= len(chosen)
    return filled


def level(counts: NDArray[np.int64], total: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Raise the smallest numbers of groups, at random among equals, until their sum is `total`."""
    raised = counts.copy()
    while (missing := total - int(raised.sum())) > 0:
        lowest = np.flatnonzero(raised == raised.min())
        raised[rng.permutation(lowest)[:missing]] += 1
    return raised


def arrange(
    groups: Sequence[NDArray[np.int64]], batches: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Lay groups out so that no batch has a label twice.

    McNaughton's wrap-around rule (Management Science, 1959): written one after the other, group
    ``i`` of all goes to batch ``i mod batches``. The groups of a label stand together and are at
    most `batches`, so they meet different ones.

    Args:
        groups: Of each label `(G_l, K)`; the sum of all `G_l` is a multiple of `batches`. A label
            with more groups than batches stands in a batch at most ``ceil(G_l / batches)`` times.
        batches: Number of batches.
        rng: Orders labels, batches, and the labels inside a batch.

    Returns:
        ``(batches, P * K)``, pictures of a label beside each other.
    """
    order = rng.permutation(len(groups))
    line = np.concatenate([groups[k] for k in order])
    people, size = len(line) // batches, line.shape[1]
    table = line.reshape(people, batches, size).transpose(1, 0, 2)
    mixed = np.stack([table[b][rng.permutation(people)] for b in rng.permutation(batches)])
    return mixed.reshape(batches, people * size)
