"""Cross-camera association: the paper's graph, the code's greedy pairs, and their quality."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from crosscam_kernels.errors import ShapeError, UsageError
from crosscam_trainer.methods import association
from crosscam_trainer.methods.association import (
    ALONE,
    associate,
    closest_pairs,
    mutual_nearest,
    pair_quality,
)

METHODS: tuple[Literal["graph", "greedy"], ...] = ("graph", "greedy")


def _labels(seed: int, people: int, cameras: int, noise: float = 0.3) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(people, 8))
    seen = [(p, c) for c in range(cameras) for p in range(people) if rng.random() < 0.8]
    vectors = np.array([centre[p] + noise * rng.normal(size=8) for p, _ in seen], np.float32)
    vectors = vectors.reshape(-1, 8)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    person, camera = (np.array([s[k] for s in seen], np.int64) for k in (0, 1))
    return vectors, camera, person


def _plain_pairs(vectors: NDArray[Any], cameras: NDArray[Any]) -> list[tuple[float, int, int]]:
    """All pairs across cameras, closest first, by the definition."""
    x = vectors.astype(np.float64)
    return sorted(
        (float(((x[i] - x[j]) ** 2).sum()), i, j)
        for i in range(len(x))
        for j in range(i + 1, len(x))
        if cameras[i] != cameras[j]
    )


def _same_groups(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return bool(np.array_equal(a[:, None] == a, b[:, None] == b) and ((a < 0) == (b < 0)).all())


@pytest.mark.parametrize("block", [3, 512])
@given(seed=st.integers(0, 999), cameras=st.integers(1, 4), share=st.floats(0, 3))
@settings(max_examples=30, deadline=None)
def test_closest_pairs_are_the_first_of_all(
    block: int, seed: int, cameras: int, share: float
) -> None:
    vectors, camera, _ = _labels(seed, 7, cameras)
    before, association._BLOCK = association._BLOCK, block
    try:
        found = closest_pairs(vectors, camera, round(share * len(vectors)))
    finally:
        association._BLOCK = before
    expected = _plain_pairs(vectors, camera)[: round(share * len(vectors))]
    assert list(zip(found.first, found.second, strict=True)) == [(i, j) for _, i, j in expected]
    np.testing.assert_allclose(found.distance, [d for d, _, _ in expected], atol=1e-5)


@given(seed=st.integers(0, 999), cameras=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_mutual_nearest_is_eq_12(seed: int, cameras: int) -> None:
    vectors, camera, _ = _labels(seed, 6, cameras)
    similarity = vectors.astype(np.float64) @ vectors.astype(np.float64).T

    def nearest(i: int, c: int) -> int:
        inside = np.flatnonzero(camera == c)
        return int(inside[similarity[i, inside].argmax()])

    expected = {
        (i, j)
        for i in range(len(vectors))
        for j in range(i + 1, len(vectors))
        if camera[i] != camera[j] and nearest(i, camera[j]) == j and nearest(j, camera[i]) == i
    }
    found = mutual_nearest(vectors, camera)
    assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == expected
    assert (np.diff(found.distance) >= 0).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("one_per_camera", [False, True])
@given(seed=st.integers(0, 999), cameras=st.integers(1, 4), rate=st.floats(0, 4))
@settings(max_examples=25, deadline=None)
def test_associated_pairs_never_share_a_camera(
    method: Literal["graph", "greedy"], one_per_camera: bool, seed: int, cameras: int, rate: float
) -> None:
    vectors, camera, _ = _labels(seed, 6, cameras, noise=1.0)
    found = associate(vectors, camera, method=method, rate=rate, one_per_camera=one_per_camera)
    assert (camera[found.pairs.first] != camera[found.pairs.second]).all()
    assert (found.pseudo[found.pairs.first] == found.pseudo[found.pairs.second]).all()
    paired = np.zeros(len(vectors), bool)
    paired[found.pairs.first] = paired[found.pairs.second] = True
    assert ((found.pseudo == ALONE) == ~paired).all()  # a class with no partner is -1
    assert sorted(set(found.pseudo[paired].tolist())) == list(range(found.identities))
    clashes = {
        int(p)
        for k, p in enumerate(found.pseudo)
        if p >= 0 and any(q == p and camera[j] == camera[k] for j, q in enumerate(found.pseudo[:k]))
    }
    assert found.conflicts == len(clashes)
    if one_per_camera:
        assert not clashes


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 999), one_per_camera=st.booleans())
@settings(max_examples=25, deadline=None)
def test_the_order_of_labels_does_not_matter(
    method: Literal["graph", "greedy"], seed: int, one_per_camera: bool
) -> None:
    vectors, camera, _ = _labels(seed, 6, 3)
    order = np.random.default_rng(seed).permutation(len(vectors))
    one = associate(vectors, camera, method=method, one_per_camera=one_per_camera)
    other = associate(vectors[order], camera[order], method=method, one_per_camera=one_per_camera)
    assert _same_groups(one.pseudo[order], other.pseudo)


@given(seed=st.integers(0, 999), rate=st.floats(0.1, 3))
@settings(max_examples=25, deadline=None)
def test_greedy_is_the_official_walk(seed: int, rate: float) -> None:
    vectors, camera, _ = _labels(seed, 6, 3, noise=0.8)
    partner: set[tuple[int, int]] = set()
    expected = []
    for _, a, b in _plain_pairs(vectors, camera)[: round(rate * len(vectors))]:
        if (a, camera[b]) not in partner and (b, camera[a]) not in partner:
            partner |= {(a, camera[b]), (b, camera[a])}
            expected.append((a, b))
    found = associate(vectors, camera, method="greedy", rate=rate).pairs
    assert list(zip(found.first, found.second, strict=True)) == expected


@pytest.mark.parametrize("method", METHODS)
def test_people_who_look_the_same_everywhere_are_found(
    method: Literal["graph", "greedy"],
) -> None:
    """Three cameras hold three pairs a person, that is, one a label: a rate of 1.7 is enough."""
    vectors, camera, person = _labels(3, 12, 3, noise=0.02)
    found = associate(vectors, camera, method=method, one_per_camera=True)
    quality = pair_quality(found.pseudo, person.tolist())
    assert quality.recall == 1
    if method == "graph":  # a nearest neighbour of somebody absent is seldom mutual
        assert quality.precision > 0.8


def test_threshold_bounds_both() -> None:
    vectors, camera, _ = _labels(1, 8, 3)
    for method in METHODS:
        found = associate(vectors, camera, method=method, rate=9, threshold=0.2)
        assert len(found.pairs.distance)
        assert (found.pairs.distance < 0.2).all()
        assert associate(vectors, camera, method=method, threshold=0.0).identities == 0


def test_labels_without_features_take_no_part() -> None:
    vectors, camera, _ = _labels(1, 8, 3)
    vectors[[0, 5]] = 0
    for method in METHODS:
        found = associate(vectors, camera, method=method, rate=9)
        assert found.identities > 0
        assert (found.pseudo[[0, 5]] == ALONE).all()


def test_pair_quality_by_hand() -> None:
    """Pairs {0,1}, {2,3,4} against people 0: {0,1,2}, 1: {3,4}; label 5 is unknown."""
    quality = pair_quality(np.array([0, 0, 1, 1, 1, 1, -1]), [0, 0, 0, 1, 1, -1, 2])
    assert quality.precision == pytest.approx(2 / 4)
    assert quality.recall == pytest.approx(2 / 4)
    assert np.isnan(pair_quality(np.array([-1, -1]), [0, 1])).all()


def test_wrong_arguments() -> None:
    with pytest.raises(ShapeError, match="cameras"):
        associate(np.zeros((3, 2), np.float32), np.zeros(2, np.int64))
    with pytest.raises(UsageError, match="rate"):
        associate(np.zeros((3, 2), np.float32), np.zeros(3, np.int64), rate=-1)
    assert associate(np.zeros((0, 2), np.float32), np.zeros(0, np.int64)).identities == 0
