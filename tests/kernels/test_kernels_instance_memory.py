"""instance_infonce and update_instances on arrays against their specification."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscam_kernels import instance_infonce, memory_infonce, simd_levels, update_instances
from crosscam_kernels.errors import InputError, ShapeError, UsageError

torch = pytest.importorskip("torch")  # the specification of the loss is written in it
from crosscam_kernels.reference import instance_memory as reference  # noqa: E402


def unit_rows(rng: np.random.Generator, *shape: int) -> np.ndarray:
    x = rng.standard_normal(shape)
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def expected(
    x: np.ndarray, bank: np.ndarray, filled: np.ndarray, targets: np.ndarray, **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    tensors = {
        key: torch.as_tensor(value) if isinstance(value, np.ndarray) else value
        for key, value in options.items()
    }
    loss = reference.instance_infonce(
        leaf,
        torch.tensor(bank, dtype=torch.float64),
        torch.as_tensor(filled),
        torch.as_tensor(targets),
        **tensors,
    )
    loss.sum().backward()
    return loss.detach().numpy(), leaf.grad.numpy()


def assert_as_specified(*arguments: Any, **options: Any) -> None:
    found = instance_infonce(*arguments, **options)
    loss, gradient = expected(*arguments, **options)
    np.testing.assert_allclose(found.loss, loss, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.gradient, gradient, rtol=1e-4, atol=3e-5)


@pytest.fixture(params=simd_levels())
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CROSSCAM_SIMD", request.param)
    return str(request.param)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    ("n", "classes", "slots", "d"), [(1, 1, 1, 1), (7, 5, 3, 4), (70, 110, 5, 33), (9, 3, 130, 17)]
)
def test_all_classes(level: str, n: int, classes: int, slots: int, d: int, reduction: str) -> None:
    rng = np.random.default_rng(n)
    assert_as_specified(
        unit_rows(rng, n, d),
        unit_rows(rng, classes, slots, d),
        np.ones((classes, slots), np.bool_),
        rng.integers(0, classes, n),
        reduction=reduction,
        temperature=0.1,
    )


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_any_shape_and_camera(data: st.DataObject) -> None:
    n, classes = data.draw(st.integers(0, 70)), data.draw(st.integers(1, 110))
    slots, d = data.draw(st.integers(0, 9)), data.draw(st.integers(1, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    class_cameras = rng.integers(0, 3, classes)
    targets = rng.integers(-1, classes, n)
    cameras = np.where(rng.random(n) < 0.9, class_cameras[targets], 1)
    filled = rng.random((classes, slots)) < data.draw(st.sampled_from([0.3, 0.9, 1.0]))
    options = {"class_cameras": class_cameras, "cameras": cameras} if slots % 2 else {}
    if slots == 0:  # the specification's argmax has nothing to choose from
        found = instance_infonce(
            unit_rows(rng, n, d), np.empty((classes, 0, d), np.float32), filled, targets
        )
        assert found.loss == 0
        assert not found.gradient.any()
        return
    assert_as_specified(
        unit_rows(rng, n, d), unit_rows(rng, classes, slots, d), filled, targets,
        reduction=data.draw(st.sampled_from(["mean", "sum", "none"])), temperature=0.3, **options,
    )  # fmt: skip


def test_ties_go_to_the_smaller_slot() -> None:
    """Integer data; features that no sample has tell the slots apart in the gradient."""
    rng = np.random.default_rng(0)
    classes, slots = 12, 8
    stored = rng.integers(-1, 2, (classes, slots, 3)).astype(np.float32)
    marks = np.eye(classes * slots, dtype=np.float32).reshape(classes, slots, -1)
    bank = np.concatenate([stored, marks], axis=2)
    x = np.zeros((30, bank.shape[2]), np.float32)
    x[:, :3] = rng.integers(-1, 2, (30, 3))
    filled = rng.random((classes, slots)) < 0.8
    filled[:, 0] = True
    targets = rng.integers(0, classes, 30)
    found = instance_infonce(x, bank, filled, targets, temperature=2.0)
    _, gradient = expected(x, bank, filled, targets, temperature=2.0)
    np.testing.assert_array_equal(found.gradient[:, 3:] != 0, np.abs(gradient[:, 3:]) > 1e-12)


def test_one_slot_is_memory_infonce() -> None:
    rng = np.random.default_rng(1)
    x, bank, targets = unit_rows(rng, 50, 24), unit_rows(rng, 80, 24), rng.integers(0, 80, 50)
    cameras = rng.integers(0, 3, 80)
    own = cameras[targets]
    found = instance_infonce(
        x, bank[:, None], np.ones(80, int), targets, class_cameras=cameras, cameras=own
    )
    same = memory_infonce(
        x, bank, targets, cameras=own, bank_cameras=cameras, candidates="only_same"
    )
    np.testing.assert_allclose(found.loss, same.loss, rtol=1e-6)
    np.testing.assert_allclose(found.gradient, same.gradient, atol=1e-6)


def test_hardest_instances_by_hand() -> None:
    """One sample, two classes of its camera, one of another camera that would dominate."""
    x = np.array([[1.0, 0.0]], np.float32)
    bank = np.array([[[0.9, 0], [0.5, 0]], [[0.1, 0], [0.3, 0]], [[1, 0], [1, 0]]], np.float32)
    found = instance_infonce(
        x, bank, np.full((3, 2), True), np.array([0]),
        class_cameras=np.array([4, 4, 5]), cameras=np.array([4]), temperature=1.0,
    )  # fmt: skip
    p = np.exp(0.3) / (np.exp(0.3) + np.exp(0.5))
    assert float(found.loss) == pytest.approx(-np.log(1 - p), rel=1e-6)
    np.testing.assert_allclose(found.gradient, [[p * (0.3 - 0.5), 0]], atol=1e-7)


def test_numbers_of_filled_slots() -> None:
    rng = np.random.default_rng(2)
    x, bank, targets = unit_rows(rng, 20, 8), unit_rows(rng, 6, 5, 8), rng.integers(0, 6, 20)
    counts = np.array([5, 0, 1, 3, 2, 5])
    mask = np.arange(5) < counts[:, None]
    a = instance_infonce(x, bank, counts, targets, reduction="none")
    b = instance_infonce(x, bank, mask, targets, reduction="none")
    np.testing.assert_array_equal(a.gradient, b.gradient)
    assert (a.loss[targets == 1] == 0).all()
    assert (targets == 1).any()


def test_neither_threads_nor_instruction_sets_change_a_bit(monkeypatch: Any) -> None:
    rng = np.random.default_rng(3)
    x, bank = unit_rows(rng, 150, 37), unit_rows(rng, 230, 6, 37)
    filled, targets = rng.random((230, 6)) < 0.8, rng.integers(-1, 230, 150)
    cameras = rng.integers(0, 2, 230)
    options: dict[str, Any] = {
        "class_cameras": cameras, "cameras": cameras[targets], "reduction": "none",
    }  # fmt: skip
    first = instance_infonce(x, bank, filled, targets, threads=1, **options)
    for level in simd_levels():
        monkeypatch.setenv("CROSSCAM_SIMD", level)
        found = instance_infonce(x, bank, filled, targets, threads=3, **options)
        np.testing.assert_array_equal(found.loss, first.loss)
        np.testing.assert_array_equal(found.gradient, first.gradient)


def test_nan_is_never_chosen_but_a_broken_sample_shows() -> None:
    rng = np.random.default_rng(4)
    x, bank, targets = unit_rows(rng, 12, 8), unit_rows(rng, 4, 3, 8), np.arange(12) % 4
    bank[2, 1] = np.nan
    found = instance_infonce(x, bank, np.full((4, 3), True), targets, reduction="none")
    assert np.isfinite(found.loss).all()
    assert np.isfinite(found.gradient).all()
    x[5, 0] = np.nan
    found = instance_infonce(x, bank, np.full((4, 3), True), targets, reduction="none")
    assert np.isnan(found.loss[5])
    assert np.isfinite(np.delete(found.loss, 5)).all()


def test_impossible_calls() -> None:
    x, bank, filled = np.ones((3, 2), np.float32), np.ones((4, 5, 2), np.float32), np.ones(4, int)
    with pytest.raises(UsageError, match="only one of"):
        instance_infonce(x, bank, filled, np.arange(3), cameras=np.arange(3))
    with pytest.raises(ShapeError, match="filled"):
        instance_infonce(x, bank, np.ones((4, 4), np.bool_), np.arange(3))
    with pytest.raises(ShapeError, match="bank"):
        instance_infonce(x, bank[0], filled, np.arange(3))
    with pytest.raises(ShapeError, match="columns"):
        instance_infonce(x, bank[:, :, :1], filled, np.arange(3))
    with pytest.raises(InputError, match="targets hold 4"):
        instance_infonce(x, bank, filled, np.array([0, 4, 1]))
    with pytest.raises(UsageError, match="temperature"):
        instance_infonce(x, bank, filled, np.arange(3), temperature=-1.0)
    with pytest.raises(UsageError, match="reduction"):
        instance_infonce(x, bank, filled, np.arange(3), reduction="max")  # type: ignore[arg-type]


# update_instances


@pytest.mark.parametrize(("n", "classes", "slots"), [(0, 3, 2), (30, 6, 3), (40, 2, 32), (9, 9, 1)])
def test_replacement_is_the_loop(n: int, classes: int, slots: int) -> None:
    rng = np.random.default_rng(n)
    bank, x = unit_rows(rng, classes, slots, 5), unit_rows(rng, n, 5)
    filled, targets = rng.random((classes, slots)) < 0.5, rng.integers(-1, classes, n)
    wanted, wanted_filled = bank.copy(), filled.copy()
    wanted_slots = reference.update_instances(wanted, wanted_filled, x, targets)
    np.testing.assert_array_equal(update_instances(bank, filled, x, targets), wanted_slots)
    np.testing.assert_array_equal(bank, wanted)
    np.testing.assert_array_equal(filled, wanted_filled)


def test_replacement_without_slots() -> None:
    bank, filled = np.empty((2, 0, 3), np.float32), np.empty((2, 0), np.bool_)
    slots = update_instances(bank, filled, np.ones((2, 3), np.float32), np.array([0, 1]))
    np.testing.assert_array_equal(slots, [-1, -1])


def test_impossible_replacements() -> None:
    bank, x = np.ones((3, 2, 2), np.float32), np.ones((2, 2), np.float32)
    filled = np.zeros((3, 2), np.bool_)
    with pytest.raises(InputError, match="targets hold 3"):
        update_instances(bank, filled, x, np.array([0, 3]))
    with pytest.raises(ShapeError, match="filled"):
        update_instances(bank, np.zeros(3, int), x, np.array([0, 1]))
    filled.flags.writeable = False
    with pytest.raises(ShapeError, match="read-only"):
        update_instances(bank, filled, x, np.array([0, 1]))
    assert (bank == 1).all()
