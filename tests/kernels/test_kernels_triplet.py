"""batch_hard and triplet_loss on NumPy arrays against their specification."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscam_kernels import BatchHard, batch_hard, simd_level, simd_levels, triplet_loss

torch = pytest.importorskip("torch")

from crosscam_kernels.reference import triplet as reference  # noqa: E402
from crosscam_kernels.triplet import DISTANCES, PAIR_RULES, REDUCTIONS  # noqa: E402


@pytest.fixture(params=simd_levels())
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CROSSCAM_SIMD", request.param)
    assert simd_level() == request.param
    return str(request.param)


def integers(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    """Small integers: every sum is exact, so that indices must agree even among ties."""
    return rng.integers(-2, 3, (rows, dim)).astype(np.float32)


def batch(rng: np.random.Generator, rows: int, people: int = 5) -> dict[str, Any]:
    """Labels and cameras far apart and negative, as arrays of two types."""
    return {
        "labels": rng.integers(0, people, rows) * 10**12 - 7,
        "cameras": (rng.integers(0, 3, rows) * 1000 - 1000).astype(np.int32),
    }


def others(rng: np.random.Generator, anchors: int, candidates: int, dim: int) -> dict[str, Any]:
    rest = batch(rng, candidates)
    return {
        "candidates": integers(rng, candidates, dim),
        "candidate_labels": rest["labels"],
        "candidate_cameras": rest["cameras"],
        "self_index": rng.integers(-1, candidates, anchors),
    }


def as_tensors(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same call for the reference, features in float64."""
    return {
        name: torch.from_numpy(np.array(value, np.float64 if value.dtype == "f4" else np.int64))
        if isinstance(value, np.ndarray)
        else value
        for name, value in arguments.items()
    }


def expected(**arguments: Any) -> BatchHard:
    return BatchHard(*(column.numpy() for column in reference.batch_hard(**as_tensors(arguments))))


def assert_same(found: BatchHard, wanted: BatchHard, rtol: float = 1e-6) -> None:
    np.testing.assert_array_equal(found.positive_index, wanted.positive_index)
    np.testing.assert_array_equal(found.negative_index, wanted.negative_index)
    np.testing.assert_allclose(found.positive_distance, wanted.positive_distance, rtol=rtol)
    np.testing.assert_allclose(found.negative_distance, wanted.negative_distance, rtol=rtol)
    assert found.positive_index.dtype == found.negative_index.dtype == np.int64
    assert found.positive_distance.dtype == found.negative_distance.dtype == np.float32


@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean"])
@pytest.mark.parametrize("positives", PAIR_RULES)
@pytest.mark.parametrize("negatives", PAIR_RULES)
def test_integer_data_is_index_exact(
    level: str, positives: str, negatives: str, distance: str
) -> None:
    rules = {"positives": positives, "negatives": negatives, "distance": distance}
    for rows, dim in ((1, 1), (2, 3), (16, 5), (49, 7), (67, 16), (131, 33)):
        rng = np.random.default_rng(rows)
        call = {"features": integers(rng, rows, dim), **batch(rng, rows), **rules}
        assert_same(batch_hard(**call), expected(**call))


@settings(deadline=None)  # the first call loads the library, on whatever machine this is
@given(data=st.data())
def test_any_shape_rule_and_candidates(data: st.DataObject) -> None:
    rows, dim = data.draw(st.integers(0, 140)), data.draw(st.integers(1, 20))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    call = {"features": integers(rng, rows, dim), **batch(rng, rows, data.draw(st.integers(1, 60)))}
    if data.draw(st.booleans()):
        call |= others(rng, rows, data.draw(st.integers(1, 200)), dim)
        if data.draw(st.booleans()):
            del call["self_index"]
    for rule in ("positives", "negatives"):
        call[rule] = data.draw(st.sampled_from(PAIR_RULES))
    if call["positives"] == call["negatives"] == "any" and data.draw(st.booleans()):
        call.pop("cameras"), call.pop("candidate_cameras", None)
    call["distance"] = data.draw(st.sampled_from(DISTANCES[:2]))
    assert_same(batch_hard(threads=data.draw(st.integers(1, 3)), **call), expected(**call))


def test_of_many_equal_distances_the_first_is_found(level: str) -> None:
    # Corners of a cube around the origin, the same one over and over: every distance ties.
    rows = 150
    x = np.tile(np.array([[1, 0], [0, 1]], np.float32), (rows // 2, 1))
    labels = np.arange(rows) // 50
    found = batch_hard(x, labels, threads=3)
    for i in range(rows):
        opposite = (i // 50) * 50 + (i + 1) % 2
        twin = next(j for j in range(rows) if j // 50 != i // 50 and j % 2 == i % 2)
        assert (found.positive_index[i], found.negative_index[i]) == (opposite, twin)


def test_cosine_of_exact_norms_is_index_exact(level: str) -> None:
    # Rows of 16 signs have norm 4, and of 64 norm 8: scaled by powers of two, everything is exact.
    rng = np.random.default_rng(3)
    for dim in (16, 64):
        signs = rng.choice([-1.0, 1.0], (90, dim))
        x = (signs * 2.0 ** rng.integers(-3, 4, (90, 1))).astype(np.float32)
        call = {"features": x, **batch(rng, 90), "negatives": "same_camera", "distance": "cosine"}
        assert_same(batch_hard(**call), expected(**call))


@pytest.mark.parametrize("distance", DISTANCES)
def test_float_data_agrees_with_float64(level: str, distance: str) -> None:
    rng = np.random.default_rng(0)
    call = {
        "features": rng.standard_normal((150, 100)).astype(np.float32),
        **batch(rng, 150),
        "distance": distance,
    }
    assert_same(batch_hard(**call), expected(**call), rtol=2e-6)


def test_near_duplicates_keep_their_distance(level: str) -> None:
    # |a|^2 + |b|^2 - 2 <a, b> has an error of about 1e-7 |a|^2 here, ten times what is looked for.
    rng = np.random.default_rng(1)
    x = np.repeat(10 * rng.standard_normal((4, 512)).astype(np.float32), 2, axis=0)
    x[1::2, 7] += np.float32(0.01)
    found = batch_hard(x, np.arange(8) // 2)
    exact = np.abs(x[0::2, 7].astype(np.float64) - x[1::2, 7])
    np.testing.assert_allclose(found.positive_distance, np.repeat(exact, 2), rtol=1e-6)


def test_same_bits_for_any_threads_level_and_run(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((301, 257)).astype(np.float32)
    for distance in DISTANCES:
        call = {"features": x, **batch(rng, 301, 70), "distance": distance, "margin": None}
        mined = {name: value for name, value in call.items() if name != "margin"}
        first, loss = batch_hard(**mined), triplet_loss(**call)
        for name in simd_levels():
            monkeypatch.setenv("CROSSCAM_SIMD", name)
            for threads in (1, 2, 7):
                again = batch_hard(threads=threads, **mined)
                assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
                once_more = triplet_loss(threads=threads, **call)
                assert once_more.loss == loss.loss
                np.testing.assert_array_equal(once_more.gradient, loss.gradient)


def test_nothing_to_find(level: str) -> None:
    x = np.eye(4, dtype=np.float32)
    alone = batch_hard(x, [1, 2, 3, 4])
    assert alone.positive_index.tolist() == [-1] * 4
    assert (alone.positive_distance == -np.inf).all()
    assert alone.negative_index.tolist() == [1, 0, 0, 0]
    same = batch_hard(x, [5] * 4)
    assert same.negative_index.tolist() == [-1] * 4
    assert (same.negative_distance == np.inf).all()
    assert same.positive_index.tolist() == [1, 0, 0, 0]
    for labels in ([1, 2, 3, 4], [5] * 4):
        for reduction in REDUCTIONS:
            lost = triplet_loss(x, labels, reduction=reduction)
            assert not lost.loss.any()
            assert not lost.gradient.any()
    one_camera = batch_hard(
        x, [0, 0, 1, 1], cameras=[3] * 4, positives="cross_camera", negatives="cross_camera"
    )
    assert (one_camera.positive_index == -1).all()
    assert (one_camera.negative_index == -1).all()


def test_empty_sides(level: str) -> None:
    nothing = np.empty((0, 3), np.float32)
    none: list[int] = []
    assert batch_hard(nothing, np.array(none, int)).positive_index.shape == (0,)
    lost = triplet_loss(nothing, np.array(none, int))
    assert lost.loss == 0.0
    assert lost.gradient.shape == (0, 3)
    rest = {"candidates": nothing, "candidate_labels": np.array(none, int)}
    found = batch_hard(np.ones((2, 3), "f4"), [0, 1], **rest)
    assert found.positive_index.tolist() == found.negative_index.tolist() == [-1, -1]
    whole = triplet_loss(np.ones((2, 3), "f4"), [0, 1], **rest)
    assert not whole.gradient.any()
    assert whole.candidate_gradient is not None
    assert whole.candidate_gradient.shape == (0, 3)


def test_nan_and_infinity_are_never_found(level: str) -> None:
    rng = np.random.default_rng(4)
    for distance in DISTANCES:
        x = integers(rng, 60, 6)
        x[:, 5] = 1.0  # no row of zeros
        x[3, 2], x[11, 0], x[40, 4] = np.nan, np.inf, -np.inf
        found = batch_hard(x, np.arange(60) % 4, distance=distance)
        for broken in (3, 11, 40):
            assert broken not in found.positive_index
            assert broken not in found.negative_index
            assert found.positive_index[broken] == found.negative_index[broken] == -1
        sound = np.delete(np.arange(60), [3, 11, 40])
        assert (found.positive_index[sound] >= 0).all()
        assert np.isfinite(found.positive_distance[sound]).all()
        assert np.isfinite(triplet_loss(x, np.arange(60) % 4, distance=distance).gradient).all()


def test_too_far_apart_for_float32_counts_as_infinite(level: str) -> None:
    x = np.array([[0.0], [1.0], [3e19], [2.0]], np.float32)
    found = batch_hard(x, [0, 0, 0, 1])
    assert found.positive_index.tolist() == [1, 0, -1, -1]


def test_layouts_give_the_same_answer(level: str) -> None:
    rng = np.random.default_rng(5)
    wide = integers(rng, 80, 40)
    x = wide[::2, 3:30]
    labels = np.arange(80)[::2] % 7
    wanted = batch_hard(x.copy(), labels.copy())
    for view in (x, np.asfortranarray(x), memoryview(x.copy())):
        assert_same(batch_hard(view, labels), wanted)
    locked = x.copy()
    locked.flags.writeable = False
    assert_same(batch_hard(locked, labels), wanted)
    np.testing.assert_array_equal(
        triplet_loss(x, labels).gradient, triplet_loss(x.copy(), labels).gradient
    )


def test_gathered_batch_is_the_batch(level: str) -> None:
    rng = np.random.default_rng(6)
    x, rest = rng.standard_normal((90, 20)).astype(np.float32), batch(rng, 90)
    whole = triplet_loss(x, **rest, negatives="cross_camera", reduction="none")
    gathered = {
        "candidates": x,
        "candidate_labels": rest["labels"],
        "candidate_cameras": rest["cameras"],
    }
    loss, gradient = [], np.zeros_like(x)
    for part in (slice(0, 40), slice(40, 90)):
        own = triplet_loss(
            x[part],
            rest["labels"][part],
            cameras=rest["cameras"][part],
            negatives="cross_camera",
            reduction="none",
            self_index=np.arange(90)[part],
            **gathered,
        )
        loss.append(own.loss)
        gradient[part] += own.gradient
        assert own.candidate_gradient is not None
        gradient += own.candidate_gradient
    np.testing.assert_array_equal(np.concatenate(loss), whole.loss)
    np.testing.assert_allclose(gradient, whole.gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("margin", [0.3, 0.0, None])
@pytest.mark.parametrize("distance", DISTANCES)
def test_loss_and_gradient_agree_with_autograd(
    distance: str, margin: float | None, reduction: str
) -> None:
    rng = np.random.default_rng(7)
    for rows, dim in ((12, 3), (70, 33)):
        call: dict[str, Any] = {
            "features": rng.standard_normal((rows, dim)).astype(np.float32),
            **batch(rng, rows, rows // 3),
            "positives": "any",
            "negatives": "same_camera",
        }
        options = {"distance": distance, "margin": margin, "reduction": reduction}
        if dim == 33:  # from candidates of their own
            call |= others(rng, rows, 50, dim)
            call["candidates"] = rng.standard_normal((50, dim)).astype(np.float32)
        exact = as_tensors(call)
        exact["features"].requires_grad_()
        if "candidates" in exact:
            exact["candidates"].requires_grad_()
        loss = reference.triplet_loss(**exact, **options)
        loss.sum().backward()
        found = triplet_loss(**call, **options)
        np.testing.assert_allclose(found.loss, loss.detach().numpy(), rtol=1e-5, atol=1e-6)
        for ours, theirs in (
            (found.gradient, exact["features"].grad),
            (found.candidate_gradient, exact["candidates"].grad if dim == 33 else None),
        ):
            assert (ours is None) == (theirs is None)
            if ours is not None:
                scale = float(theirs.abs().max()) + 1e-12
                np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5, atol=1e-6 * scale)


def test_loss_by_hand() -> None:
    x = np.array([[0, 0], [3, 0], [0, 4], [100, 0]], np.float32)
    labels = [0, 0, 1, 2]
    # Anchor 0: 3 - 4, anchor 1: 3 - 5, the others have no positive.
    assert triplet_loss(x, labels, margin=1.5, reduction="none").loss.tolist() == [0.5, 0, 0, 0]
    assert triplet_loss(x, labels, margin=1.5).loss == 0.25
    assert triplet_loss(x, labels, margin=1.5, reduction="mean_active").loss == 0.5
    squared = triplet_loss(x, labels, margin=8, distance="squared_euclidean", reduction="none")
    assert squared.loss.tolist() == [1, 0, 0, 0]
    soft = triplet_loss(x, labels, margin=None).loss
    np.testing.assert_allclose(soft, (np.log1p(np.exp(-1)) + np.log1p(np.exp(-2))) / 2, rtol=1e-6)
    gradient = triplet_loss(x, labels, margin=1.5, reduction="none").gradient
    np.testing.assert_allclose(gradient, [[-1, 1], [1, 0], [0, -1], [0, 0]], atol=1e-7)


def test_soft_margin_neither_overflows_nor_loses_small_losses() -> None:
    x = np.array([[0.0], [1000.0], [1.0], [-1e5]], np.float32)
    far = triplet_loss(x, [0, 0, 1, 2], margin=None, reduction="none").loss
    assert far[0] == 999.0
    near = triplet_loss(
        np.array([[0.0], [0.0], [20.0], [500.0]], np.float32),
        [0, 0, 1, 2],
        margin=None,
        reduction="none",
    ).loss
    np.testing.assert_allclose(near[0], np.log1p(np.exp(-20.0 + 1e-6)), rtol=1e-5)


def test_identical_rows_have_no_gradient_between_them() -> None:
    x = np.array([[1, 2], [1, 2], [4, 6]], np.float32)
    found = triplet_loss(x, [0, 0, 1], margin=10.0, reduction="none")
    np.testing.assert_allclose(found.loss, [5 + 1e-6, 5 + 1e-6, 0], rtol=1e-6)
    # Only the negatives pull: along (3, 4) / 5, from both twins.
    np.testing.assert_allclose(found.gradient, [[0.6, 0.8], [0.6, 0.8], [-1.2, -1.6]], rtol=1e-6)


def test_a_row_of_zeros_has_cosine_distance_one() -> None:
    x = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
    found = batch_hard(x, [0, 0, 1, 1], distance="cosine")
    assert found.positive_distance[0] == 1.0
    assert found.negative_distance[0] == 1.0
    assert (found.positive_index[0], found.negative_index[0]) == (1, 2)


def test_memory_is_not_quadratic() -> None:
    # 12 000 rows: a matrix of distances would be 576 MB.
    code = (
        "import resource, numpy as np; from crosscam_kernels import triplet_loss;"
        "x = np.random.default_rng(0).standard_normal((12000, 16)).astype('f4');"
        "y = np.arange(12000) // 4; triplet_loss(x[:64], y[:64]);"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "triplet_loss(x, y);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 40_000  # KiB
