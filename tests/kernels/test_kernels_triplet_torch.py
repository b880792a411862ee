"""batch_hard and triplet_loss on torch tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crosscam_kernels import batch_hard, triplet_loss
from crosscam_kernels.errors import ShapeError, UsageError

torch = pytest.importorskip("torch")

from crosscam_kernels.reference import triplet as reference  # noqa: E402
from crosscam_kernels.torch_ops import _triplet_cpu  # noqa: E402
from crosscam_kernels.torch_ops import triplet as torch_ops  # noqa: E402
from crosscam_kernels.triplet import DISTANCES, REDUCTIONS  # noqa: E402


def batch(rows: int, dim: int, seed: int = 0, dtype: Any = torch.float32) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "features": torch.randn(rows, dim, generator=generator, dtype=torch.float64).to(dtype),
        "labels": torch.randint(0, max(rows // 4, 1), (rows,), generator=generator),
        "cameras": torch.randint(0, 3, (rows,), generator=generator, dtype=torch.int32),
    }


def with_candidates(rows: int, others: int, dim: int, dtype: Any = torch.float32) -> dict[str, Any]:
    rest = batch(others, dim, 1, dtype)
    call = {f"candidate_{name}": value for name, value in rest.items() if name != "features"}
    anchors = batch(rows, dim, 0, dtype)
    anchors["labels"] = rest["labels"][torch.arange(rows) % others]
    return {
        **anchors,
        **call,
        "candidates": rest["features"],
        "self_index": torch.arange(rows) % others,
    }


def as_numpy(call: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.numpy() if isinstance(value, torch.Tensor) else value
        for name, value in call.items()
    }


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("make", [lambda: batch(50, 20), lambda: with_candidates(20, 33, 8)])
def test_tensors_and_arrays_agree_to_the_bit(make: Any, distance: str) -> None:
    call = {**make(), "distance": distance, "positives": "cross_camera"}
    for ours, theirs in zip(batch_hard(**call), batch_hard(**as_numpy(call)), strict=True):
        assert isinstance(ours, torch.Tensor)
        np.testing.assert_array_equal(ours.numpy(), theirs)
    for margin in (0.3, None):
        for reduction in REDUCTIONS:
            options = {"margin": margin, "reduction": reduction}
            wanted = triplet_loss(**as_numpy(call), **options)
            tensors = {**call, "features": call["features"].clone().requires_grad_()}
            if "candidates" in call:
                tensors["candidates"] = call["candidates"].clone().requires_grad_()
            loss = triplet_loss(**tensors, **options)
            np.testing.assert_array_equal(loss.detach().numpy(), wanted.loss)
            loss.sum().backward()
            np.testing.assert_array_equal(tensors["features"].grad.numpy(), wanted.gradient)
            if "candidates" in call:
                gradient = tensors["candidates"].grad.numpy()
                np.testing.assert_array_equal(gradient, wanted.candidate_gradient)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("margin", [0.7, None])
def test_gradcheck(distance: str, margin: float | None) -> None:
    call = with_candidates(7, 9, 4, torch.float64)
    for reduction in REDUCTIONS:
        options = {"distance": distance, "margin": margin, "reduction": reduction}

        def alone(x: Any, options: Any = options) -> Any:
            return triplet_loss(x, call["labels"], **options)

        def gathered(x: Any, c: Any, options: Any = options) -> Any:
            return triplet_loss(**{**call, "features": x, "candidates": c}, **options)

        x = call["features"].clone().requires_grad_()
        c = call["candidates"].clone().requires_grad_()
        assert torch.autograd.gradcheck(alone, (x,))
        assert torch.autograd.gradcheck(gathered, (x, c))


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_carry_gradients(distance: str) -> None:
    call = with_candidates(7, 9, 4, torch.float64)

    def mined(x: Any, c: Any) -> Any:
        found = batch_hard(**{**call, "features": x, "candidates": c}, distance=distance)
        return found.positive_distance, found.negative_distance

    x, c = (call[name].clone().requires_grad_() for name in ("features", "candidates"))
    assert torch.autograd.gradcheck(mined, (x, c))
    for anchors in (call["features"], call["features"].float()):
        x = anchors.clone().requires_grad_()
        found = batch_hard(x, call["labels"], distance=distance)
        kept = (found.positive_index >= 0) & (found.negative_index >= 0)
        # Without a pair the distances are infinite the right way round: their hinge is zero.
        gap = found.positive_distance - found.negative_distance
        loss = torch.relu(gap + 0.3).sum() / kept.sum()
        loss.backward()
        y = anchors.clone().requires_grad_()
        fused = triplet_loss(y, call["labels"], distance=distance)
        fused.backward()
        torch.testing.assert_close(loss, fused)
        torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize("distance", DISTANCES)
def test_float64_is_the_reference(distance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_triplet_cpu, "REFERENCE_ROWS", 16)  # several parts
    for call in (batch(50, 6, 3, torch.float64), with_candidates(40, 21, 5, torch.float64)):
        rules = {"distance": distance, "positives": "same_camera", "negatives": "cross_camera"}
        found, exact = batch_hard(**call, **rules), reference.batch_hard(**call, **rules)
        assert torch.equal(found.positive_index, exact.positive_index)
        assert torch.equal(found.negative_index, exact.negative_index)
        torch.testing.assert_close(found.positive_distance, exact.positive_distance)
        torch.testing.assert_close(found.negative_distance, exact.negative_distance)
        for margin in (0.3, None):
            for reduction in REDUCTIONS:
                options = {**rules, "margin": margin, "reduction": reduction}
                one = call["features"].clone().requires_grad_()
                two = call["features"].clone().requires_grad_()
                ours = triplet_loss(**{**call, "features": one}, **options)
                theirs = reference.triplet_loss(**{**call, "features": two}, **options)
                torch.testing.assert_close(ours, theirs)
                ours.sum().backward()
                theirs.sum().backward()
                torch.testing.assert_close(one.grad, two.grad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: Any) -> None:
    call = batch(40, 24, 2)
    half = call["features"].to(dtype).requires_grad_()
    wide = half.detach().float().requires_grad_()
    loss = triplet_loss(half, call["labels"])
    same = triplet_loss(wide, call["labels"])
    assert loss.dtype == torch.float32
    assert torch.equal(loss, same)
    loss.backward()
    same.backward()
    assert half.grad.dtype == dtype
    assert torch.equal(half.grad, wide.grad.to(dtype))


@pytest.mark.parametrize("make", [lambda: batch(12, 6), lambda: with_candidates(9, 14, 5)])
def test_opcheck(make: Any) -> None:
    call = make()
    for name in ("features", "candidates"):
        if name in call:
            call[name].requires_grad_()
    order = ("features", "candidates", "labels", "candidate_labels", "cameras",
             "candidate_cameras", "self_index")  # fmt: skip
    arrays = tuple(call.get(name) for name in order)
    rules = ("cross_camera", "any", "euclidean")
    torch.library.opcheck(torch_ops.batch_hard_op, (*arrays, *rules))
    for margin, reduction in ((0.3, "mean"), (None, "none")):
        torch.library.opcheck(torch_ops.triplet_loss_op, (*arrays, *rules, margin, reduction))
    with torch.no_grad():
        mined = torch_ops.batch_hard_op(*arrays, *rules)
    weights, one = torch.randn(2, len(call["features"])), torch.ones(())
    detached = tuple(None if a is None else a.detach() for a in arrays[:2])
    torch.library.opcheck(
        torch_ops.batch_hard_backward_op, (*detached, *mined, weights, one, one, "cosine")
    )


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_without_a_break(dynamic: bool) -> None:
    torch._dynamo.reset()

    @torch.compile(fullgraph=True, dynamic=dynamic, backend="aot_eager")
    def step(x: Any, labels: Any, cameras: Any) -> Any:
        normed = torch.nn.functional.normalize(x)
        return triplet_loss(normed, labels, cameras=cameras, positives="cross_camera")

    @torch.compile(fullgraph=True, dynamic=dynamic, backend="aot_eager")
    def mine(x: Any, labels: Any) -> Any:
        return batch_hard(x, labels)

    for rows in (24, 31):
        call = batch(rows, 10, rows)
        x, y = (call["features"].clone().requires_grad_() for _ in range(2))
        loss = step(x, call["labels"], call["cameras"])
        loss.backward()
        eager = triplet_loss(
            torch.nn.functional.normalize(y),
            call["labels"],
            cameras=call["cameras"],
            positives="cross_camera",
        )
        eager.backward()
        torch.testing.assert_close(loss, eager)
        torch.testing.assert_close(x.grad, y.grad)
        mined = mine(call["features"], call["labels"])
        for one, two in zip(mined, batch_hard(call["features"], call["labels"]), strict=True):
            assert torch.equal(one, two)


def test_strided_tensors_and_empty_ones() -> None:
    wide = torch.randn(40, 30, generator=torch.Generator().manual_seed(4))
    labels = torch.arange(20) // 4
    for view in (wide[::2, 3:20], wide.t()[:20]):
        x, y = view.detach().requires_grad_(), view.detach().clone().requires_grad_()
        one, two = triplet_loss(x, labels), triplet_loss(y.contiguous(), labels)
        assert torch.equal(one, two)
        one.backward()
        two.backward()
        assert torch.equal(x.grad, y.grad)
    nothing = torch.empty(0, 5, requires_grad=True)
    loss = triplet_loss(nothing, torch.empty(0, dtype=torch.int64))
    loss.backward()
    assert loss == 0
    assert nothing.grad.shape == (0, 5)


def test_wrong_tensors_are_refused() -> None:
    call = batch(6, 4)
    for changed, error, message in (
        ({"features": call["features"][0]}, ShapeError, "features is"),
        ({"features": call["features"].int()}, ShapeError, "features is torch.int32"),
        ({"labels": call["labels"][:3]}, ShapeError, "labels is"),
        ({"labels": call["features"][:, 0]}, ShapeError, "labels is torch.float32"),
        ({"cameras": None, "positives": "cross_camera"}, UsageError, "without cameras"),
        (
            {"candidates": torch.ones(2, 4).double(), "candidate_labels": torch.ones(2),
             "candidate_cameras": torch.ones(2)},
            ShapeError,
            "candidates is torch.float64",
        ),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            batch_hard(**{**call, **changed})


def test_labels_may_be_lists() -> None:
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(5))
    found = batch_hard(x, [0, 0, 1, 1, 2, 2])
    assert found.positive_index.tolist() == [1, 0, 3, 2, 5, 4]
