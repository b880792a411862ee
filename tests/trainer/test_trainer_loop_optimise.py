"""Optimisers of parts: they touch nothing else, accumulate, scale, clip, and follow schedules."""

from __future__ import annotations

import errno
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from crosscam_kernels.errors import InputError, RunError, UsageError  # noqa: E402
from crosscam_trainer.loop import checkpoint as files  # noqa: E402
from crosscam_trainer.loop.checkpoint import (  # noqa: E402
    Checkpoint,
    numbers,
    read_newest,
    write_checkpoint,
)
from crosscam_trainer.loop.devices import World  # noqa: E402
from crosscam_trainer.loop.optimise import (  # noqa: E402
    LossScale,
    NotFiniteError,
    PartOptimiser,
    factor,
)
from crosscam_trainer.methods.base import Part  # noqa: E402
from crosscam_trainer.recipe import OptimiserRecipe  # noqa: E402

WORLD = World(torch.device("cpu"))


def part(module: Any, **recipe: Any) -> Part:
    return Part(tuple(module.named_parameters()), OptimiserRecipe(**recipe))


def optimiser(module: Any, scale: LossScale | None = None, **recipe: Any) -> PartOptimiser:
    accumulate = recipe.pop("accumulate", 1)
    scale = scale or LossScale()
    return PartOptimiser("model", part(module, **recipe), WORLD, scale, accumulate=accumulate)


def test_other_parts_keep_parameters_and_gradients() -> None:
    body, head = torch.nn.Linear(3, 3), torch.nn.Linear(3, 2)
    x = torch.rand(4, 3)
    body.weight.grad = torch.full((3, 3), 7.0)
    before = [p.detach().clone() for p in body.parameters()]
    head_before = head.weight.detach().clone()
    optimiser(head).minimise(head(body(x)).square().sum())
    assert all(torch.equal(a, b) for a, b in zip(before, body.parameters(), strict=True))
    assert torch.equal(body.weight.grad, torch.full((3, 3), 7.0))
    assert body.bias.grad is None
    assert head.weight.grad is None
    assert not torch.equal(head.weight, head_before)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_steps_are_those_of_torch_with_the_papers_groups(name: str) -> None:
    torch.manual_seed(0)
    ours = torch.nn.Linear(3, 2)
    theirs = torch.nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    groups = [
        {"params": [theirs.weight], "lr": 0.1},
        {"params": [theirs.bias], "lr": 0.2},
    ]
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    plain = (
        torch.optim.SGD(groups, 0.1, momentum=0.9, weight_decay=0.01)
        if name == "sgd"
        else kinds[name](groups, 0.1, weight_decay=0.01)
    )
    mine = optimiser(ours, name=name, lr=0.1, weight_decay=0.01)
    for _ in range(3):
        x = torch.rand(5, 3)
        mine.minimise(ours(x).square().mean())
        plain.zero_grad()
        theirs(x).square().mean().backward()
        plain.step()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.bias, theirs.bias, rtol=0, atol=1e-6)


@pytest.mark.parametrize("laid_out", [torch.contiguous_format, torch.channels_last])
def test_gradients_and_moments_laid_out_otherwise_than_their_parameter(laid_out: Any) -> None:
    torch.manual_seed(0)
    weight, wanted = torch.rand(4, 3, 3, 3), torch.rand(4, 3, 3, 3)
    ours = torch.nn.ParameterList([weight.clone(memory_format=laid_out)])
    theirs = weight.clone().requires_grad_()
    plain = torch.optim.AdamW([theirs], 0.1, weight_decay=0.01, fused=False)
    mine = optimiser(ours, name="adamw", lr=0.1, weight_decay=0.01)
    for kept in (torch.channels_last, torch.contiguous_format):
        # What a checkpoint holds is contiguous; the gradient has the layout of `wanted`.
        state = {name: value.contiguous() for name, value in mine.state_dict().items()}
        mine = optimiser(ours, name="adamw", lr=0.1, weight_decay=0.01)
        mine.load_state_dict(state)
        mine.minimise((ours[0] * wanted.clone(memory_format=kept)).sum())
        theirs.grad = wanted.clone()
        plain.step()
    torch.testing.assert_close(ours[0], theirs, rtol=0, atol=1e-6)


def test_accumulated_batches_are_one_large_batch() -> None:
    torch.manual_seed(0)
    small, large = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    large.load_state_dict(small.state_dict())
    x = torch.rand(8, 3)
    mine = optimiser(small, name="sgd", lr=0.1, accumulate=2)
    mine.minimise(small(x[:4]).square().mean())
    assert torch.equal(small.weight, large.weight)  # not yet
    state = mine.state_dict()
    resumed = optimiser(small, name="sgd", lr=0.1, accumulate=2)
    resumed.load_state_dict({k: v.clone() for k, v in state.items()})
    resumed.minimise(small(x[4:]).square().mean())
    optimiser(large, name="sgd", lr=0.1).minimise(large(x).square().mean())
    torch.testing.assert_close(small.weight, large.weight)


def test_gradients_are_clipped() -> None:
    module = torch.nn.Linear(2, 1, bias=False)
    before = module.weight.detach().clone()
    mine = optimiser(module, name="sgd", lr=1.0, weight_decay=0, clip_norm=0.5)
    mine.minimise(100 * module.weight.sum())
    assert float((module.weight.detach() - before).norm()) == pytest.approx(0.5, rel=1e-4)


def test_overflow_is_left_out_and_lowers_the_scale() -> None:
    scale = LossScale(4.0, dynamic=True, patience=2)
    module = torch.nn.Linear(1, 1, bias=False)
    before = module.weight.detach().clone()
    mine = optimiser(module, scale, name="sgd", lr=0.1, weight_decay=0)
    mine.minimise(module.weight.sum() * 2e38)  # finite, but not four times it
    assert torch.equal(module.weight, before)
    assert scale.scale == 2
    for _ in range(2):
        mine.minimise(module.weight.sum())
    torch.testing.assert_close(before - module.weight, torch.full((1, 1), 0.1 + 0.1 * 1.9))
    assert scale.scale == 4


def test_nan_changes_nothing() -> None:
    module = torch.nn.Linear(2, 1)
    before = module.weight.detach().clone()
    with pytest.raises(NotFiniteError, match="part 'model': loss nan"):
        optimiser(module).minimise(module.weight.sum() * math.nan)
    assert torch.equal(module.weight, before)


def test_nothing_to_learn() -> None:
    module = torch.nn.Linear(2, 1).requires_grad_(False)
    with pytest.raises(UsageError, match="nothing to learn"):
        optimiser(module)


def test_steps_after_warm_up() -> None:
    recipe = OptimiserRecipe(warmup_epochs=10, warmup_from=0.01, milestones=(40, 50), gamma=0.1)
    assert factor(recipe, 0, 60) == pytest.approx(0.01)
    assert factor(recipe, 5, 60) == pytest.approx(0.505)
    assert factor(recipe, 39.99, 60) == 1
    assert factor(recipe, 40, 60) == pytest.approx(0.1)
    assert factor(recipe, 59, 60) == pytest.approx(0.01)


def test_cosine_after_warm_up() -> None:
    recipe = OptimiserRecipe(lr=1e-3, schedule="cosine", final_lr=1e-5, warmup_epochs=5)
    assert factor(recipe, 0, 60) == pytest.approx(0.01)
    assert factor(recipe, 30, 60) == pytest.approx(0.505)
    assert factor(recipe, 60, 60) == pytest.approx(0.01)


@given(
    st.sampled_from(["constant", "steps", "cosine"]),
    st.floats(0, 20),
    st.floats(0, 1),
    st.integers(1, 60),
)
def test_rates_lie_between_zero_and_the_full_one(
    schedule: Any, warmup: float, share: float, epochs: int
) -> None:
    recipe = OptimiserRecipe(schedule=schedule, warmup_epochs=warmup)
    assert 0 < factor(recipe, share * epochs, epochs) <= 1


def test_a_full_disk_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path, Checkpoint(1, {"a": torch.ones(3)}, {"b": 1}))

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(RunError, match=r"no space is left.*free some space.*--resume"):
            write_checkpoint(tmp_path, Checkpoint(2, {"a": torch.ones(3)}, {}))
    assert [p.name for p in tmp_path.iterdir()] == ["00000001"]
    kept = read_newest(tmp_path, pytest.fail)
    assert kept is not None
    assert kept.state["b"] == 1
    assert torch.equal(kept.tensors["a"], torch.ones(3))


def test_a_checkpoint_of_another_format_says_so(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, Checkpoint(1, {"a": torch.ones(3)}, {}))
    state = path / "state.json"
    state.write_text(state.read_text().replace('"format": 2', '"format": 1'))
    with pytest.raises(InputError, match=r"^checkpoint .* has format 1.*with the version"):
        read_newest(tmp_path, pytest.fail)
    assert numbers(tmp_path) == [1]
