"""What a tracklet looks like, and how alike two tracklets are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from crosscam_edge.types import Tracklet

T = TypeVar("T", bound=np.floating)

EXEMPLARS = 4
_TINY = 1e-12
_BLOCK = 32  # tracklets that are compared, or centred, at once; bounds the memory that this takes
# People that the origin of the embedding space counts for when the centre of all people is taken.
_ORIGIN_WEIGHT = 2.0


@dataclass(frozen=True, slots=True)
class Looks:
    """Looks of N tracklets.

    Attributes:
        mean: `(N, D)` quality-weighted mean embeddings of length 1; zeros when there is none.
        exemplars: `(N, K, D)` float32, diverse embeddings; a short tracklet repeats its own.
    """

    mean: NDArray[np.floating]
    exemplars: NDArray[np.float32]


def normalise(vectors: NDArray[T]) -> NDArray[T]:
    """Return `(..., D)` vectors of length 1; a zero vector stays zero."""
    length = np.sqrt(np.square(vectors).sum(axis=-1, keepdims=True))
    unit: NDArray[T] = vectors / np.maximum(length, _TINY)
    return unit


def mean_embedding(
    embeddings: NDArray[np.floating], qualities: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return `(D,)`: the quality-weighted mean direction of `(M, D)` embeddings, of length 1."""
    weights = np.maximum(qualities.astype(np.float64), _TINY)
    mean: NDArray[np.float64] = weights @ embeddings.astype(np.float64)
    return normalise(mean)


def diverse(
    embeddings: NDArray[np.floating], mean: NDArray[np.floating], size: int = EXEMPLARS
) -> NDArray[np.intp]:
    """Return `(size,)`: which embedding is most typical, then each time the farthest from those.

    Farthest-point sampling (Gonzalez 1985). With fewer than `size` embeddings they are repeated.
    """
    rows = embeddings.astype(np.float64)
    chosen = [int(np.argmax(rows @ mean))]
    nearest = rows @ rows[chosen[0]]
    while len(chosen) < min(size, len(rows)):
        chosen.append(int(np.argmin(nearest)))
        nearest = np.maximum(nearest, rows @ rows[chosen[-1]])
    return np.array((chosen * size)[:size], np.intp)


def looks_of(
    samples: Sequence[tuple[NDArray[np.floating], NDArray[np.floating]]], dimensions: int
) -> Looks:
    """Return the looks of `(embeddings (M, D), qualities (M,))` samples; M may be 0."""
    mean = np.zeros((len(samples), dimensions))
    exemplars = np.zeros((len(samples), EXEMPLARS, dimensions), np.float32)
    for i, (embeddings, qualities) in enumerate(samples):
        if len(embeddings):
            mean[i] = mean_embedding(embeddings, qualities)
            exemplars[i] = embeddings[diverse(embeddings, mean[i])]
    return Looks(mean, exemplars)


def halves(tracklet: Tracklet) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Return masks `(M,)` of the first and last third of a tracklet's embeddings in time.

    The middle is left out: neighbouring frames are nearly copies and say nothing about how a person
    changes. None when there are fewer than four embeddings.
    """
    count = len(tracklet.embeddings)
    if count < 4:
        return None
    rank = np.argsort(np.argsort(tracklet.embedding_times_ns, kind="stable"), kind="stable")
    third = max(2, count // 3)
    return rank < third, rank >= count - third


def centres(
    mean: NDArray[np.floating], camera: NDArray[np.int64], person: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return `(C, D)`: what to subtract from the embeddings of each camera.

    That is the centre of all people, plus the bias of the camera. Both are only worth removing as
    far as they are known: the mean of few people is mostly who they are, and removing it would
    remove identity. The centre is therefore shrunk towards the origin as if two people stood there,
    and the bias of a camera by the positive-part James-Stein factor: the share of its squared
    length that the spread of people does not explain (Efron & Morris 1973). A camera with one
    person, or a run with one, gets no bias.

    Args:
        mean: `(N, D)` tracklet means.
        camera: `(N,)` camera numbers from 0.
        person: `(N,)` first guess of who is who; a person counts once per camera.
    """
    cameras = int(camera.max()) + 1
    seen = np.linalg.norm(mean, axis=1) > 0
    groups = []
    for c in range(cameras):
        members = (camera == c) & seen
        groups.append(_means(mean[members], person[members]))
    people = np.concatenate(groups)
    if not len(people):
        return np.zeros((cameras, mean.shape[1]))
    count = len(np.unique(person[seen]))
    centre = people.mean(axis=0)
    centre_kept = centre * count / (count + _ORIGIN_WEIGHT)
    free = sum(max(len(g) - 1, 0) for g in groups)
    scatter = sum(float(((g - g.mean(axis=0)) ** 2).sum()) for g in groups if len(g))
    out = np.tile(centre_kept, (cameras, 1))
    if free == 0:
        return out
    for c, group in enumerate(groups):
        if not len(group):
            continue
        bias = group.mean(axis=0) - centre
        length = float(bias @ bias)
        chance = scatter / free / len(group)
        out[c] += bias * max(0.0, 1.0 - chance / max(length, _TINY))
    return out


def _means(rows: NDArray[np.floating], person: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return `(P, D)`: the mean row of each person, people in the order of their numbers."""
    if not len(rows):
        return np.zeros((0, rows.shape[1]))
    order = np.argsort(person, kind="stable")
    cuts = np.flatnonzero(np.diff(person[order])) + 1
    return np.array([rows[part].mean(axis=0, dtype=np.float64) for part in np.split(order, cuts)])


def centred(looks: Looks, shift: NDArray[np.floating]) -> Looks:
    """Return looks with `shift` `(N, D)` subtracted and lengths 1 again; no looks stay none."""
    seen = (np.linalg.norm(looks.mean, axis=1) > 0).astype(looks.mean.dtype)[:, None]
    exemplars = np.empty_like(looks.exemplars)
    for rows in blocks(len(exemplars)):
        moved = (looks.exemplars[rows] - shift[rows, None]) * seen[rows, None]
        exemplars[rows] = normalise(moved)
    return Looks(normalise((looks.mean - shift) * seen), exemplars)


def blocks(count: int) -> Iterator[slice]:
    """Yield all of `count` items in order, some at a time."""
    for start in range(0, count, _BLOCK):
        yield slice(start, min(start + _BLOCK, count))


def similarity(a: Looks, b: Looks) -> NDArray[np.float32]:
    """Return `(N, M)`: how alike the tracklets of `a` and `b` are, in [-1, 1].

    Half the cosine of the means, half the mean of the best quarter of the exemplar pairs: the first
    is steady, the second finds the poses that two cameras have in common.
    """
    out = np.empty((len(a.mean), len(b.mean)), np.float32)
    k = a.exemplars.shape[1]
    best = max(1, k * k // 4)
    right = b.exemplars.reshape(-1, b.exemplars.shape[2]).T
    for rows in blocks(len(out)):
        # Of a run with itself the part below the diagonal is a mirror image.
        columns = slice(rows.start if a is b else 0, len(b.mean))
        left = a.exemplars[rows]
        pairs = left.reshape(-1, left.shape[2]) @ right[:, columns.start * k :]
        pairs = pairs.reshape(len(left), k, -1, k).transpose(0, 2, 1, 3)
        pairs = pairs.reshape(len(left), -1, k * k)
        pairs.partition(-best, axis=2)
        top = pairs[..., -best:]
        block = top[..., 0].copy()
        for place in range(1, best):  # far quicker than a mean over a few numbers each
            block += top[..., place]
        block /= best
        block += (a.mean[rows] @ b.mean[columns].T).astype(np.float32)
        out[rows, columns] = np.clip(block / 2, -1.0, 1.0)
        if a is b:
            out[rows.stop :, rows] = out[rows, rows.stop :].T
    return out


def paired_similarity(a: Looks, b: Looks) -> NDArray[np.float32]:
    """Return `(N,)`: the similarity of each row of `a` with the same row of `b`."""
    k = a.exemplars.shape[1]
    pairs = a.exemplars @ b.exemplars.transpose(0, 2, 1)
    best = max(1, k * k // 4)
    top = np.partition(pairs.reshape(len(pairs), k * k), -best, axis=1)[:, -best:]
    means = (a.mean * b.mean).sum(axis=1).astype(np.float32)
    out: NDArray[np.float32] = np.clip((top.mean(axis=1) + means) / 2, -1.0, 1.0)
    return out
