"""The Triton kernels of batch_hard and triplet_loss on Triton's interpreter."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from crosscam_kernels.gpu import triplet as gpu  # noqa: E402
from crosscam_kernels.reference import triplet as reference  # noqa: E402

# Small tiles, so that small shapes have several and incomplete ones.
TILE = gpu.Tile(16, 16, 16, 4, 1)
ORDER = ("features", "candidates", "labels", "candidate_labels", "cameras", "candidate_cameras",
         "self_index")  # fmt: skip


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "TILES", {2: (TILE, TILE), 4: (TILE, TILE)})
    monkeypatch.setattr(gpu, "SCAN", 16)


def integers(rows: int, dim: int, seed: int, dtype: Any = torch.float32) -> dict[str, Any]:
    """Small integers: every product and sum is exact, so that indices must agree among ties."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "features": torch.randint(-2, 3, (rows, dim), generator=generator).to(dtype),
        "labels": torch.randint(0, 4, (rows,), generator=generator) * 10**10,
        "cameras": torch.randint(0, 3, (rows,), generator=generator, dtype=torch.int32),
    }


def with_candidates(rows: int, others: int, dim: int) -> dict[str, Any]:
    rest = integers(others, dim, 7)
    return {
        **integers(rows, dim, 8),
        "candidates": rest["features"],
        "candidate_labels": rest["labels"],
        "candidate_cameras": rest["cameras"],
        "self_index": torch.arange(rows) % others,
    }


def search(call: dict[str, Any], rules: dict[str, Any], **loss: Any) -> Any:
    return gpu.search(*(call.get(name) for name in ORDER), **rules, **loss)


def wide(call: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.double() if value.is_floating_point() else value for name, value in call.items()
    }


def check_search(call: dict[str, Any], rules: dict[str, Any]) -> Any:
    found, exact = search(call, rules), reference.batch_hard(**wide(call), **rules)
    assert torch.equal(found.positive_index.long(), exact.positive_index)
    assert torch.equal(found.negative_index.long(), exact.negative_index)
    for ours, theirs in (
        (found.positive_distance, exact.positive_distance),
        (found.negative_distance, exact.negative_distance),
    ):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-6, atol=0)
    return found


@pytest.mark.parametrize(
    ("positives", "negatives"),
    [
        ("any", "any"),
        ("same_camera", "cross_camera"),
        ("cross_camera", "any"),
        ("any", "same_camera"),
    ],
)
def test_rules_and_ties_on_integers(positives: str, negatives: str) -> None:
    rules = {"positives": positives, "negatives": negatives, "distance": "squared_euclidean"}
    check_search(integers(37, 19, 1), rules)
    check_search(with_candidates(21, 35, 5), rules)


@pytest.mark.parametrize(("rows", "dim"), [(1, 1), (2, 16), (16, 16), (17, 40), (33, 1)])
def test_shapes(rows: int, dim: int) -> None:
    rules = {"positives": "any", "negatives": "any", "distance": "euclidean"}
    check_search(integers(rows, dim, rows), rules)
    check_search(integers(rows, dim, rows, torch.float16), rules)


@pytest.mark.parametrize("processors", [1, 3, 64])
def test_splits_of_the_candidates_give_the_same_answer(
    processors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "_processors", lambda _: processors)
    rules = {"positives": "any", "negatives": "cross_camera", "distance": "euclidean"}
    check_search(integers(50, 6, 2), rules)


def test_every_candidate_is_in_exactly_one_split() -> None:
    for anchors in (1, 17, 300):
        for candidates in (1, 15, 16, 17, 1000):
            for processors in (1, 8, 132):
                splits, per_split = gpu._splits(anchors, candidates, TILE, processors)
                tiles = -(-candidates // TILE.candidates)
                assert (splits - 1) * per_split < tiles <= splits * per_split


def test_strided_rows_and_missing_sides() -> None:
    call = integers(20, 30, 3)
    rules = {"positives": "any", "negatives": "any", "distance": "euclidean"}
    call["features"] = call["features"][:, 3:20]
    check_search(call, rules)
    call["features"] = call["features"].t()[:15, :12]
    call["labels"], call["cameras"] = call["labels"][:15], call["cameras"][:15]
    check_search(call, rules)
    call["labels"] = torch.zeros(15, dtype=torch.int64)
    assert (check_search(call, rules).negative_index == -1).all()
    call["labels"] = torch.arange(15, dtype=torch.int32)
    assert (check_search(call, rules).positive_index == -1).all()


def test_nan_and_infinity_are_never_found() -> None:
    call = integers(24, 6, 4)
    call["features"][:, 5] = 1.0
    call["features"][3, 1], call["features"][9, 2] = float("nan"), float("inf")
    for distance in ("euclidean", "cosine"):
        rules = {"positives": "any", "negatives": "any", "distance": distance}
        found = search(call, rules, loss=True, margin=0.3)
        for broken in (3, 9):
            assert broken not in found.positive_index
            assert broken not in found.negative_index
            assert found.positive_index[broken] == found.negative_index[broken] == -1
        one = torch.ones(())
        made, _ = gpu.gradient(
            call["features"], None, *found[:4], found.weights, one, one, distance=distance
        )
        assert torch.isfinite(made).all()
        assert not made[[3, 9]].any()


# Every two of distance, reduction (with its margin) and side of the candidates meet.
LOSSES = [
    (distance, reduction, bool((row + column) % 2))
    for row, distance in enumerate(("euclidean", "squared_euclidean", "cosine"))
    for column, reduction in enumerate(("mean", "mean_active", "none"))
]


@pytest.mark.parametrize(("distance", "reduction", "other_side"), LOSSES)
def test_loss_and_gradient(distance: str, reduction: str, other_side: bool) -> None:
    rules = {"positives": "any", "negatives": "same_camera", "distance": distance}
    margin = None if reduction == "none" else 0.3
    call = with_candidates(19, 34, 6) if other_side else integers(21, 13, 5)
    generator = torch.Generator().manual_seed(9)
    for name in ("features", "candidates"):
        if name in call:
            call[name] = torch.randn(call[name].shape, generator=generator)
    found = search(call, rules, loss=True, margin=margin)
    if reduction == "none":
        loss, scale = found.loss, torch.ones(())
        grad = torch.rand(len(loss), generator=generator)
    else:
        loss, scale = gpu.reduce_losses(found, reduction)
        grad = torch.tensor(2.0)
    exact = wide(call)
    inputs = [exact[name].requires_grad_() for name in ("features", "candidates") if name in call]
    wanted = reference.triplet_loss(**exact, **rules, margin=margin, reduction=reduction)
    torch.testing.assert_close(loss.double(), wanted.detach(), rtol=1e-5, atol=1e-6)
    gradients = torch.autograd.grad(wanted, inputs, grad.double())
    arguments = (call["features"], call.get("candidates"), *found[:4], found.weights)
    made = gpu.gradient(*arguments, grad, scale, distance=distance)
    for ours, theirs in zip(made, gradients, strict=False):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-6)
    assert made[1].shape == (
        len(call["candidates"]) if "candidates" in call else 0,
        made[0].shape[1],
    )
    if reduction == "mean":  # what runs does not depend on it
        again = gpu.gradient(*arguments, grad, scale, distance=distance)
        assert torch.equal(made[0], again[0])
        assert torch.equal(made[1], again[1])


def test_empty_sides() -> None:
    rules = {"positives": "any", "negatives": "any", "distance": "cosine"}
    nothing = {"features": torch.empty(0, 4), "labels": torch.empty(0, dtype=torch.int64)}
    found = search(nothing, rules, loss=True)
    assert found.loss.shape == (0,)
    assert gpu.reduce_losses(found, "mean")[0] == 0
    alone = integers(3, 4, 1)
    del alone["cameras"]
    alone |= {"candidates": torch.empty(0, 4), "candidate_labels": nothing["labels"]}
    found = search(alone, rules, loss=True)
    assert (found.positive_index == -1).all()
    assert (found.negative_index == -1).all()
    one = torch.ones(())
    made = gpu.gradient(
        alone["features"], alone["candidates"], *found[:4], found.weights, one, one,
        distance="cosine",
    )  # fmt: skip
    assert not made[0].any()
    assert made[1].shape == (0, 4)
