"""Cross-camera association: which people of different cameras are one (CCAFL, Eq. 12).

Two ways from a vector for each label to pseudo identities:

* "graph", the paper's, after Precise-ICS (Wang et al., WACV 2021): an edge joins two labels of
  different cameras that are each other's nearest neighbours in the other's camera and closer than
  a threshold `T`;
* "greedy", the official code's: of the `K = rate * G` closest pairs, in ascending order, a pair is
  taken when neither side has a partner in the other's camera yet.

Pseudo identities are the connected components of the pairs taken. Distances are the squared
Euclidean ones of unit vectors, ``d = 2 - 2 cos``, in [0, 4].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from crosscam_kernels import similarity_topk
from crosscam_kernels.errors import ShapeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ALONE = -1
"""Pseudo identity of a label without partner; the losses across cameras leave it out."""

_BLOCK = 512
"""Labels that are compared with all others at a time: memory is `(512, G)`."""


class Pairs(NamedTuple):
    """Pairs of labels from different cameras, closest first.

    Attributes:
        first: `(E,)` int64, the smaller label of each pair.
        second: `(E,)` int64, the larger.
        distance: `(E,)` float32.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Association:
    """Pseudo identities of intra-camera labels.

    Attributes:
        pseudo: `(G,)` int64, 0 to `identities` - 1 in the order of their first labels, or `ALONE`.
        identities: Their number, the paper's `Z`.
        pairs: The pairs taken.
        conflicts: Number of identities that hold two labels of one camera. That cannot be right,
            but happens through a chain of pairs unless `one_per_camera` forbids it.
    """

    pseudo: NDArray[np.int64]
    identities: int
    pairs: Pairs
    conflicts: int


class PairQuality(NamedTuple):
    """How well pairs of labels inside pseudo identities agree with the truth.

    Attributes:
        precision: Share of the pairs that are one person; NaN without pairs.
        recall: Share of the true pairs that were found; NaN without such pairs.
    """

    precision: float
    recall: float


def associate(
    vectors: NDArray[np.float32],
    cameras: NDArray[np.int64],
    *,
    method: Literal["graph", "greedy"] = "graph",
    rate: float = 1.7,
    threshold: float | None = None,
    one_per_camera: bool = False,
) -> Association:
    """Find pseudo identities.

    Args:
        vectors: `(G, D)`, unit length: the mean feature of each label, or zero for a label that
            takes no part.
        cameras: `(G,)`, camera of each label.
        method: See the module.
        rate: `K / G`, how many of the closest pairs are looked at. The paper's threshold `T` is not
            known in figures, so that of "graph" is by default the distance of the `K`-th closest
            pair. The official code has 1.7 for Market-1501, 1.5 for DukeMTMC-reID and 1.3 for
            MSMT17.
        threshold: `T`, an upper bound of distances; None for none beside `K`.
        one_per_camera: Leave out, closest first, every pair that would put two labels of one camera
            into one identity.

    Raises:
        ShapeError: Vectors and cameras do not belong together.
        UsageError: The rate is negative.
    """
    if vectors.ndim != 2 or cameras.shape != (len(vectors),):
        raise ShapeError(
            f"vectors {vectors.shape} and cameras {cameras.shape}", expected="(G, D) and (G,)"
        )
    if not rate >= 0:
        raise UsageError(f"rate={rate}", expected="0 or more")
    used = np.linalg.norm(vectors, axis=1) > 0
    closest = closest_pairs(vectors, cameras, round(rate * len(vectors)), used)
    if threshold is not None:
        closest = _take(closest, closest.distance < threshold)
    if method == "greedy":
        pairs = _take(closest, _one_partner_per_camera(closest, cameras))
    else:
        limit = closest.distance[-1] if len(closest.distance) else -np.inf
        mutual = mutual_nearest(vectors, cameras, used)
        pairs = _take(mutual, mutual.distance <= limit)
    if one_per_camera:
        pairs = _take(pairs, _without_conflicts(pairs, cameras))
    return _components(pairs, cameras)


def closest_pairs(
    vectors: NDArray[np.float32],
    cameras: NDArray[np.int64],
    count: int,
    used: NDArray[np.bool_] | None = None,
) -> Pairs:
    """Return the `count` closest pairs across cameras, ties in the order of labels.

    No `(G, G)` matrix is kept: a block of rows at a time is compared with all that follow.
    """
    labels = np.arange(len(vectors))
    takes_part = np.ones(len(vectors), np.bool_) if used is None else used
    first, second = (np.empty(0, np.int64) for _ in range(2))
    distance = np.empty(0, np.float32)
    for start in range(0, len(vectors), _BLOCK):
        rows = labels[start : start + _BLOCK]
        found = np.maximum(2 - 2 * (vectors[rows] @ vectors[start:].T), 0).astype(np.float32)
        columns = labels[start:]
        possible = (rows[:, None] < columns) & (cameras[rows][:, None] != cameras[columns])
        possible &= takes_part[rows][:, None] & takes_part[columns]
        if len(distance) == count:  # only what is closer than the farthest so far
            possible &= found < (distance[-1] if count else 0)
        row, column = np.nonzero(possible)
        first = np.concatenate([first, rows[row]])
        second = np.concatenate([second, columns[column]])
        distance = np.concatenate([distance, found[row, column]])
        if len(distance) > count:
            near = distance <= np.partition(distance, count)[count]
            first, second, distance = first[near], second[near], distance[near]
        order = np.lexsort((second, first, distance))[:count]
        first, second, distance = first[order], second[order], distance[order]
    return Pairs(first, second, distance)


def mutual_nearest(
    vectors: NDArray[np.float32],
    cameras: NDArray[np.int64],
    used: NDArray[np.bool_] | None = None,
) -> Pairs:
    """Return the pairs that are each other's nearest in the other's camera, closest first."""
    takes_part = np.ones(len(vectors), np.bool_) if used is None else used
    present = np.unique(cameras[takes_part])
    at = np.searchsorted(present, cameras)
    at[~takes_part] = 0  # never read
    nearest = np.full((len(vectors), len(present)), -1, np.int64)
    similarity = np.zeros((len(vectors), len(present)), np.float32)
    for column, camera in enumerate(present):
        inside = np.flatnonzero((cameras == camera) & takes_part)
        outside = np.flatnonzero((cameras != camera) & takes_part)
        if len(outside):
            best = similarity_topk(vectors[outside], np.ascontiguousarray(vectors[inside]), 1)
            nearest[outside, column] = inside[best.index[:, 0]]
            similarity[outside, column] = best.similarity[:, 0]
    label, at_column = np.nonzero(nearest >= 0)
    other = nearest[label, at_column]
    mutual = (nearest[other, at[label]] == label) & (label < other)
    first, second = label[mutual].astype(np.int64), other[mutual]
    close = similarity[label[mutual], at_column[mutual]]
    distance = np.maximum(2 - 2 * close, 0).astype(np.float32)
    order = np.lexsort((second, first, distance))
    return Pairs(first[order], second[order], distance[order])


def pair_quality(pseudo: NDArray[np.int64], person_of: Sequence[int]) -> PairQuality:
    """Compare pseudo identities with the truth, over all pairs of labels whose person is known.

    Args:
        pseudo: `(G,)`, as in `Association`.
        person_of: `G` numbers, as in `IntraCameraLabels`; -1 where unknown. Two labels of one
            camera are never one person, so such a pair is a wrong one.
    """
    person = np.asarray(person_of, np.int64)
    known = person >= 0
    together = known & (pseudo >= 0)
    wanted = _pair_count(person[known])
    found = _pair_count(pseudo[together])
    right = _pair_count(np.stack([pseudo[together], person[together]], 1))
    return PairQuality(
        right / found if found else float("nan"), right / wanted if wanted else float("nan")
    )


def _pair_count(keys: NDArray[np.int64]) -> int:
    """Number of pairs of equal rows."""
    _, counts = np.unique(keys, axis=0, return_counts=True)
    return int((counts * (counts - 1) // 2).sum())


def _take(pairs: Pairs, which: NDArray[np.bool_]) -> Pairs:
    return Pairs(pairs.first[which], pairs.second[which], pairs.distance[which])


def _one_partner_per_camera(pairs: Pairs, cameras: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which pairs are taken when each label may have one partner in each camera, closest first."""
    taken = np.zeros(len(pairs.first), np.bool_)
    has: set[tuple[int, int]] = set()
    ends = zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
    for k, (a, b) in enumerate(ends):
        to_b, to_a = (a, int(cameras[b])), (b, int(cameras[a]))
        if to_b not in has and to_a not in has:
            has |= {to_b, to_a}
            taken[k] = True
    return taken


def _without_conflicts(pairs: Pairs, cameras: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which pairs are taken when no identity may hold two labels of a camera, closest first."""
    root = list(range(len(cameras)))
    seen_by = [{camera} for camera in cameras.tolist()]

    def find(label: int) -> int:
        while root[label] != label:
            root[label] = root[root[label]]
            label = root[label]
        return label

    taken = np.zeros(len(pairs.first), np.bool_)
    ends = zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
    for k, (first, second) in enumerate(ends):
        a, b = find(first), find(second)
        if a == b or not seen_by[a] & seen_by[b]:
            taken[k] = True
        if a != b and taken[k]:
            root[b] = a
            seen_by[a] |= seen_by[b]
    return taken


def _components(pairs: Pairs, cameras: NDArray[np.int64]) -> Association:
    labels = len(cameras)
    ones = np.ones(len(pairs.first), np.int8)
    graph = coo_array((ones, (pairs.first, pairs.second)), shape=(labels, labels))
    _, component = connected_components(graph, directed=False)
    size = np.bincount(component, minlength=1)
    paired = size[component] > 1 if labels else np.zeros(0, np.bool_)
    pseudo = np.full(labels, ALONE, np.int64)
    _, first, number = np.unique(component[paired], return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    pseudo[paired] = rank[number]
    held = np.stack([pseudo[paired], cameras[paired]], 1)
    each, counts = np.unique(held, axis=0, return_counts=True)
    conflicts = len(np.unique(each[counts > 1, 0]))
    return Association(pseudo, len(first), pairs, conflicts)
