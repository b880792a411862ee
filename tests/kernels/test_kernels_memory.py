"""memory_infonce and update_memory on arrays against their specification."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscam_kernels import memory_infonce, simd_levels, update_memory
from crosscam_kernels.errors import InputError, ShapeError, UsageError

torch = pytest.importorskip("torch")  # the specification of the loss is written in it
from crosscam_kernels.reference import memory as reference  # noqa: E402

RULES = ("any", "only_same", "exclude_same")


def unit_rows(rng: np.random.Generator, *shape: int) -> np.ndarray:
    x = rng.standard_normal(shape)
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def expected(
    x: np.ndarray, bank: np.ndarray, targets: np.ndarray, **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Loss and gradient of the specification in float64."""
    leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    tensors = {
        key: torch.as_tensor(value) if isinstance(value, np.ndarray) else value
        for key, value in options.items()
    }
    loss = reference.memory_infonce(
        leaf, torch.tensor(bank, dtype=torch.float64), torch.as_tensor(targets), **tensors
    )
    loss.sum().backward()
    assert leaf.grad is not None
    return loss.detach().numpy(), leaf.grad.numpy()


def assert_as_specified(
    x: np.ndarray, bank: np.ndarray, targets: np.ndarray, **options: Any
) -> None:
    found = memory_infonce(x, bank, targets, **options)
    loss, gradient = expected(x, bank, targets, **options)
    np.testing.assert_allclose(found.loss, loss, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.gradient, gradient, rtol=1e-4, atol=3e-5)


def some_rules(rng: np.random.Generator, n: int, k: int, labels: int) -> dict[str, Any]:
    return {
        "labels": rng.integers(-1, labels, k),
        "cameras": rng.integers(0, 4, n),
        "bank_cameras": rng.integers(0, 4, k),
    }


@pytest.fixture(params=simd_levels())
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CROSSCAM_SIMD", request.param)
    return str(request.param)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("n", "k", "d"), [(1, 1, 1), (5, 7, 3), (67, 99, 33), (20, 1700, 9)])
def test_all_rows(level: str, n: int, k: int, d: int, reduction: str) -> None:
    rng = np.random.default_rng(n)
    targets = rng.integers(0, k, n)
    assert_as_specified(
        unit_rows(rng, n, d), unit_rows(rng, k, d), targets, reduction=reduction, temperature=0.1
    )


@pytest.mark.parametrize("candidates", RULES)
@pytest.mark.parametrize("positives", RULES)
@pytest.mark.parametrize("hard_negatives", [None, 0, 1, 9, 500])
def test_every_combination_of_rules(
    candidates: str, positives: str, hard_negatives: int | None
) -> None:
    rng = np.random.default_rng(3)
    x, bank = unit_rows(rng, 70, 20), unit_rows(rng, 210, 20)
    assert_as_specified(
        x,
        bank,
        rng.integers(-1, 12, 70),
        candidates=candidates,
        positives=positives,
        hard_negatives=hard_negatives,
        label_smoothing=0.1,
        reduction="none",
        temperature=0.2,
        **some_rules(rng, 70, 210, 12),
    )


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_any_shape_and_rule(data: st.DataObject) -> None:
    n, k = data.draw(st.integers(0, 70)), data.draw(st.integers(0, 210))
    d, labels = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 20))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    options = some_rules(rng, n, k, labels) | {
        "candidates": data.draw(st.sampled_from(RULES)),
        "positives": data.draw(st.sampled_from(RULES)),
        "hard_negatives": data.draw(st.sampled_from([None, 0, 3])),
        "label_smoothing": data.draw(st.sampled_from([0.0, 0.3])),
        "reduction": data.draw(st.sampled_from(["mean", "sum", "none"])),
        "temperature": 0.3,
    }
    assert_as_specified(
        unit_rows(rng, n, d), unit_rows(rng, k, d), rng.integers(-1, labels, n), **options
    )


def test_ties_among_hard_negatives_go_to_the_smaller_row() -> None:
    """Integer data: similarities are exact, and the weight of a row shows in the gradient."""
    rng = np.random.default_rng(0)
    x = rng.integers(-1, 2, (40, 6)).astype(np.float32)
    copies = np.tile(rng.integers(-1, 2, (30, 6)), (5, 1)).astype(np.float32)
    marks = np.eye(150, dtype=np.float32)  # features that no sample has tell the rows apart
    bank = np.concatenate([copies, marks], axis=1)
    x = np.concatenate([x, np.zeros((40, 150), np.float32)], axis=1)
    options: dict[str, Any] = {
        "labels": rng.integers(0, 50, 150),
        "hard_negatives": 7,
        "temperature": 1.0,
    }
    targets = rng.integers(0, 50, 40)
    found = memory_infonce(x, bank, targets, **options)
    _, gradient = expected(x, bank, targets, **options)
    np.testing.assert_array_equal(found.gradient[:, 6:] != 0, np.abs(gradient[:, 6:]) > 1e-12)


def test_is_cross_entropy_where_nothing_is_masked() -> None:
    rng = np.random.default_rng(1)
    x, bank, targets = unit_rows(rng, 33, 24), unit_rows(rng, 150, 24), rng.integers(0, 150, 33)
    for smoothing in (0.0, 0.1):
        leaf = torch.tensor(x, requires_grad=True)
        loss = torch.nn.functional.cross_entropy(
            leaf @ torch.tensor(bank).T / 0.05,
            torch.as_tensor(targets),
            label_smoothing=smoothing,
        )
        loss.backward()
        found = memory_infonce(x, bank, targets, label_smoothing=smoothing)
        np.testing.assert_allclose(found.loss, loss.item(), rtol=1e-5)
        np.testing.assert_allclose(found.gradient, leaf.grad.numpy(), atol=1e-5)


def test_only_rows_of_the_own_camera_matter() -> None:
    rng = np.random.default_rng(2)
    x, bank = unit_rows(rng, 40, 16), unit_rows(rng, 120, 16)
    bank_cameras = rng.integers(0, 3, 120)
    targets = rng.integers(0, 120, 40)
    cameras = bank_cameras[targets]
    whole = memory_infonce(
        x, bank, targets, cameras=cameras, bank_cameras=bank_cameras, candidates="only_same",
        reduction="sum",
    )  # fmt: skip
    total = 0.0
    for camera in range(3):
        mine, rows = cameras == camera, np.flatnonzero(bank_cameras == camera)
        local = np.searchsorted(rows, targets[mine])
        part = memory_infonce(x[mine], bank[rows], local, reduction="sum")
        total += float(part.loss)
        np.testing.assert_allclose(whole.gradient[mine], part.gradient, atol=1e-5)
    assert float(whole.loss) == pytest.approx(total, rel=1e-5)


def test_the_gradient_falls_to_zero_where_only_positives_are_allowed() -> None:
    rng = np.random.default_rng(5)
    x, bank = unit_rows(rng, 9, 8), unit_rows(rng, 4, 8)
    found = memory_infonce(x, bank, rng.integers(0, 4, 9), hard_negatives=0)
    assert found.loss == pytest.approx(0.0, abs=1e-5)
    assert np.abs(found.gradient).max() < 1e-4


def test_samples_without_a_positive_contribute_nothing_and_are_not_counted() -> None:
    rng = np.random.default_rng(4)
    x, bank = unit_rows(rng, 10, 8), unit_rows(rng, 6, 8)
    targets = np.array([0, -1, 3, 2, 5, -7, 1, 4, 0, 3])
    labels = np.array([0, 1, 2, 3, -1, -1])  # rows 4 and 5 are not in use
    with_loss = np.isin(targets, [0, 1, 2, 3])
    each = memory_infonce(x, bank, targets, labels=labels, reduction="none")
    mean = memory_infonce(x, bank, targets, labels=labels)
    assert (each.loss[~with_loss] == 0).all()
    assert (each.gradient[~with_loss] == 0).all()
    assert (each.loss[with_loss] > 0).all()
    assert float(mean.loss) == pytest.approx(each.loss[with_loss].mean(), rel=1e-6)
    few = memory_infonce(x[with_loss], bank[:4], targets[with_loss])
    assert float(mean.loss) == pytest.approx(float(few.loss), rel=1e-6)
    none = memory_infonce(x, bank, np.full(10, -1))
    assert none.loss == 0
    assert not none.gradient.any()


@pytest.mark.parametrize(("n", "k"), [(0, 5), (5, 0), (0, 0)])
def test_empty(n: int, k: int) -> None:
    x, bank = np.ones((n, 4), np.float32), np.ones((k, 4), np.float32)
    found = memory_infonce(x, bank, np.full(n, 2), labels=np.full(k, 2))
    assert found.gradient.shape == (n, 4)
    assert found.loss == 0


def test_neither_threads_nor_instruction_sets_change_a_bit(monkeypatch: Any) -> None:
    rng = np.random.default_rng(6)
    x, bank = unit_rows(rng, 150, 70), unit_rows(rng, 3500, 70)
    options = some_rules(rng, 150, 3500, 30) | {"label_smoothing": 0.1, "reduction": "none"}
    targets = rng.integers(0, 30, 150)
    for more in ({}, {"candidates": "only_same"}, {"hard_negatives": 20}):
        first = memory_infonce(x, bank, targets, threads=1, **options, **more)
        again = memory_infonce(x, bank, targets, threads=1, **options, **more)
        np.testing.assert_array_equal(first.gradient, again.gradient)
        for level in simd_levels():
            with monkeypatch.context() as patch:
                patch.setenv("CROSSCAM_SIMD", level)
                found = memory_infonce(x, bank, targets, threads=3, **options, **more)
            np.testing.assert_array_equal(found.loss, first.loss)
            np.testing.assert_array_equal(found.gradient, first.gradient)


def test_a_large_range_of_similarities_does_not_overflow() -> None:
    x = np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32) * 300
    bank = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], np.float32)
    assert_as_specified(x, bank, np.array([1, 0]), temperature=0.05, reduction="none")


def test_nan() -> None:
    rng = np.random.default_rng(7)
    x, bank = unit_rows(rng, 20, 8), unit_rows(rng, 30, 8)
    targets, labels = rng.integers(0, 10, 20), rng.permutation(np.arange(30) % 10)
    x[3, 2] = np.nan
    found = memory_infonce(x, bank, targets, labels=labels, reduction="none")
    assert np.isnan(found.loss[3])
    assert np.isnan(found.gradient[3]).any()
    assert np.isfinite(np.delete(found.loss, 3)).all()
    assert np.isfinite(np.delete(found.gradient, 3, axis=0)).all()
    x[3, 2] = 0
    bank[11] = np.nan  # never chosen as a hard negative
    safe = targets != labels[11]
    found = memory_infonce(x, bank, targets, labels=labels, hard_negatives=29, reduction="none")
    assert np.isfinite(found.loss[safe]).all()
    assert np.isfinite(found.gradient[safe]).all()
    assert np.isnan(found.loss[~safe]).all()
    assert (~safe).any()


def test_a_broken_row_of_another_camera_does_not_matter() -> None:
    rng = np.random.default_rng(12)
    x, bank = unit_rows(rng, 20, 8), unit_rows(rng, 30, 8)
    bank_cameras, targets = np.arange(30) % 2, rng.integers(0, 30, 20)
    bank[5], bank[7] = np.nan, np.inf
    found = memory_infonce(
        x, bank, targets, cameras=bank_cameras[targets], bank_cameras=bank_cameras,
        candidates="only_same", reduction="none",
    )  # fmt: skip
    assert np.isfinite(found.loss[targets % 2 == 0]).all()
    assert np.isfinite(found.gradient[targets % 2 == 0]).all()
    assert not np.isfinite(found.loss[targets % 2 == 1]).any()
    assert not np.isfinite(found.gradient[targets % 2 == 1]).any()


def test_layouts() -> None:
    rng = np.random.default_rng(8)
    x, bank, targets = unit_rows(rng, 12, 10), unit_rows(rng, 30, 10), rng.integers(0, 30, 12)
    plain = memory_infonce(x, bank, targets)
    wide = np.zeros((24, 15), np.float32)
    wide[::2, :10] = x
    fortran = np.asfortranarray(bank)
    for a, b, t in ((wide[::2, :10], fortran, targets.astype(np.int32)), (x, bank, list(targets))):
        found = memory_infonce(a, b, np.asarray(t))
        np.testing.assert_array_equal(found.gradient, plain.gradient)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"candidates": "only_same"}, UsageError, "without cameras"),
        ({"candidates": "mine"}, UsageError, "candidates='mine'"),
        ({"cameras": np.zeros(3, int)}, UsageError, "only one of"),
        ({"temperature": 0.0}, UsageError, "temperature"),
        ({"temperature": float("nan")}, UsageError, "temperature"),
        ({"label_smoothing": 1.0}, UsageError, "label_smoothing"),
        ({"hard_negatives": -1}, UsageError, "hard_negatives"),
        ({"reduction": "max"}, UsageError, "reduction"),
        ({"labels": np.zeros(4, int)}, ShapeError, "labels"),
        ({"threads": 0}, UsageError, "threads"),
    ],
)
def test_impossible_calls(change: dict[str, Any], error: type[Exception], match: str) -> None:
    x, bank = np.ones((3, 2), np.float32), np.ones((5, 2), np.float32)
    with pytest.raises(error, match=match):
        memory_infonce(x, bank, np.arange(3), **change)


def test_impossible_arrays() -> None:
    x, bank = np.ones((3, 2), np.float32), np.ones((5, 2), np.float32)
    with pytest.raises(InputError, match="targets hold 5"):
        memory_infonce(x, bank, np.array([0, 5, 1]))
    with pytest.raises(ShapeError, match="columns"):
        memory_infonce(x, bank[:, :1], np.arange(3))
    with pytest.raises(ShapeError, match="float64"):
        memory_infonce(x.astype(np.float64), bank, np.arange(3))
    with pytest.raises(ShapeError, match="targets"):
        memory_infonce(x, bank, np.arange(4))


# update_memory


@pytest.mark.parametrize("mode", ["momentum", "hardest", "mean"])
@pytest.mark.parametrize(("n", "k", "d"), [(1, 1, 1), (64, 9, 35), (200, 30, 16), (50, 400, 100)])
def test_update_has_the_bits_of_the_loop(mode: Any, n: int, k: int, d: int) -> None:
    rng = np.random.default_rng(n)
    bank, x, targets = unit_rows(rng, k, d), unit_rows(rng, n, d), rng.integers(-1, k, n)
    wanted, found, threaded = bank.copy(), bank.copy(), bank.copy()
    reference.update_memory(wanted, x, targets, 0.2, mode)
    update_memory(found, x, targets, 0.2, mode)
    update_memory(threaded, x, targets, 0.2, mode, threads=3)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(threaded, wanted)
    touched = np.isin(np.arange(k), targets)
    np.testing.assert_array_equal(found[~touched], bank[~touched])
    assert (found[touched] != bank[touched]).any() or d == 1
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_update_is_the_loop_of_cluster_contrast() -> None:
    """The public loop in float64, whose norm may differ in the last bit of float32."""
    rng = np.random.default_rng(9)
    bank, x, targets = unit_rows(rng, 10, 32), unit_rows(rng, 60, 32), rng.integers(0, 10, 60)
    loop = bank.astype(np.float64)
    for row, label in zip(x, targets, strict=True):
        loop[label] = 0.1 * loop[label] + 0.9 * row
        loop[label] /= np.linalg.norm(loop[label])
    update_memory(bank, x, targets, 0.1)
    np.testing.assert_allclose(bank, loop, atol=1e-6)


def test_order_of_the_batch_matters_and_is_kept() -> None:
    rng = np.random.default_rng(10)
    bank, x, targets = unit_rows(rng, 2, 8), unit_rows(rng, 20, 8), rng.integers(0, 2, 20)
    forward, backward = bank.copy(), bank.copy()
    update_memory(forward, x, targets, 0.5)
    update_memory(backward, x[::-1], targets[::-1], 0.5)
    assert np.abs(forward - backward).max() > 0.01


def test_hardest_breaks_ties_by_order_and_skips_nan() -> None:
    bank = np.array([[1.0, 0.0, 0.0]], np.float32)
    x = np.array([[np.nan, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    update_memory(bank, x, np.zeros(3, int), 0.0, "hardest")
    np.testing.assert_array_equal(bank, [[0, 1, 0]])
    update_memory(bank, x[:1], np.zeros(1, int), 0.0, "hardest")
    np.testing.assert_array_equal(bank, [[0, 1, 0]])


def test_a_row_that_cancels_out_becomes_zero_not_nan() -> None:
    bank = np.array([[1.0, 0.0]], np.float32)
    update_memory(bank, -bank, np.zeros(1, int), 0.5)
    np.testing.assert_array_equal(bank, [[0, 0]])


def test_update_of_a_part_of_a_larger_array() -> None:
    rng = np.random.default_rng(11)
    whole = unit_rows(rng, 6, 10)
    wanted = whole.copy()
    part = np.ascontiguousarray(whole[1:5, 2:9])
    x, targets = unit_rows(rng, 8, 7), rng.integers(0, 4, 8)
    reference.update_memory(part, x, targets, 0.3)
    wanted[1:5, 2:9] = part
    update_memory(whole[1:5, 2:9], x, targets, 0.3)
    np.testing.assert_array_equal(whole, wanted)


def test_impossible_updates() -> None:
    bank, x = np.ones((3, 2), np.float32), np.ones((2, 2), np.float32)
    with pytest.raises(InputError, match="targets hold 3"):
        update_memory(bank, x, np.array([0, 3]))
    with pytest.raises(UsageError, match="momentum"):
        update_memory(bank, x, np.array([0, 1]), 1.5)
    with pytest.raises(UsageError, match="mode"):
        update_memory(bank, x, np.array([0, 1]), 0.5, "median")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="float64"):
        update_memory(bank.astype(np.float64), x, np.array([0, 1]))
    with pytest.raises(ShapeError, match="in place"):
        update_memory(np.asfortranarray(bank), x, np.array([0, 1]))
    bank.flags.writeable = False
    with pytest.raises(ShapeError, match="in place"):
        update_memory(bank, x, np.array([0, 1]))
