"""The Triton kernels of memory_infonce and update_memory, interpreted, against the CPU path."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from crosscam_kernels.gpu import memory as gpu
from crosscam_kernels.gpu import memory_hard
from crosscam_kernels.gpu import memory_update as gpu_update
from crosscam_kernels.reference import memory as reference
from crosscam_kernels.torch_ops import memory as ops

RNG = np.random.default_rng(0)


def unit_rows(n: int, d: int) -> torch.Tensor:
    x = torch.tensor(RNG.standard_normal((n, d)))
    return torch.nn.functional.normalize(x).float()


def whole(n: int, low: int, high: int) -> torch.Tensor:
    return torch.as_tensor(RNG.integers(low, high, n))


def compare(features: torch.Tensor, *rest: Any, tolerance: float = 1e-5) -> torch.Tensor:
    """Both passes, on float32 copies for the CPU path; counts must agree exactly.

    Returns:
        (N, 1 + D): losses and gradients.
    """
    found = gpu.forward(features, *rest)
    bank, *others = rest
    exact = (features.float(), bank.float(), *others)
    wanted = ops._forward_cpu(*exact, True)
    torch.testing.assert_close(found[0], wanted[0], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(found[1], wanted[1], rtol=tolerance, atol=tolerance)
    assert torch.equal(found[2], wanted[2])
    if others[-1]:  # numbers of allowed rows are kept for label smoothing only
        assert torch.equal(found[3], wanted[3])
    grad = torch.linspace(0.5, 1.5, len(features))
    ours = gpu.backward(grad, *found[1:], features, *rest)
    theirs = ops._backward_cpu(grad, *wanted[1:], *exact)
    assert ours.dtype == features.dtype
    torch.testing.assert_close(ours.float(), theirs, rtol=tolerance, atol=10 * tolerance)
    return torch.cat([found[0][:, None], ours], 1)


@pytest.mark.parametrize(("n", "k", "d"), [(1, 1, 1), (40, 150, 40), (33, 64, 130), (70, 3, 5)])
def test_all_rows(n: int, k: int, d: int) -> None:
    targets = whole(n, 0, k)
    compare(unit_rows(n, d), unit_rows(k, d), targets, None, None, None, "any", "any", -1, 0.1, 0.0)


RULES = ("any", "only_same", "exclude_same")
PAIRS = [  # a Latin square: every two of candidates, positives and number of negatives meet
    (RULES[row], RULES[column], (-1, 0, 5)[(row + column) % 3])
    for row in range(3)
    for column in range(3)
]


@pytest.mark.parametrize(("candidates", "positives", "hard_negatives"), PAIRS)
def test_every_pair_of_rules(candidates: str, positives: str, hard_negatives: int) -> None:
    n, k = (33, 70) if hard_negatives < 0 else (17, 66)  # just more than one tile of each
    labels = 6 if hard_negatives < 0 else 15  # few positives: one step each where gathered
    columns = (whole(n, -1, labels), whole(k, -1, labels), whole(n, 0, 3), whole(k, 0, 3))
    options = (candidates, positives, hard_negatives, 0.2, 0.1)
    compare(unit_rows(n, 12), unit_rows(k, 12), *columns, *options)


@pytest.mark.parametrize("hard_negatives", [-1, 3])
def test_two_runs_have_the_same_bits(hard_negatives: int) -> None:
    x, bank, columns = unit_rows(5, 12), unit_rows(66, 12), (whole(5, 0, 15), whole(66, 0, 15))
    options = (None, None, "any", "any", hard_negatives, 0.2, 0.1)
    once, again = (compare(x, bank, *columns, *options) for _ in range(2))
    assert torch.equal(once, again)


def test_slabs_of_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "SLAB_WEIGHTS", 40 * 64)  # one tile of rows for each slab
    columns = (whole(33, -1, 9), whole(130, -1, 9), whole(33, 0, 2), whole(130, 0, 2))
    for candidates in ("any", "only_same"):
        options = (candidates, "any", -1, 0.2, 0.1)
        compare(unit_rows(33, 20), unit_rows(130, 20), *columns, *options)


def test_float16() -> None:
    x, bank = unit_rows(9, 40).half(), unit_rows(70, 40).half()
    rest = (whole(9, 0, 70), None, None, None, "any", "any")
    compare(x, bank, *rest, -1, 0.1, 0.0, tolerance=2e-3)
    compare(x, bank, *rest, 4, 0.1, 0.0, tolerance=2e-3)


def test_features_of_hard_negatives_in_several_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_hard, "_WIDTH", 16)
    columns = (whole(4, 0, 8), whole(20, 0, 8), None, None)
    compare(unit_rows(4, 40), unit_rows(20, 40), *columns, "any", "any", 3, 0.2, 0.1)


def test_ties_among_hard_negatives_go_to_the_smaller_row() -> None:
    """Integer data with many equal rows, zero and minus zero among the similarities."""
    x = torch.as_tensor(RNG.integers(-1, 2, (20, 4))).float()
    bank = torch.as_tensor(np.tile(RNG.integers(-1, 2, (30, 4)), (4, 1))).float()
    rest = (whole(20, 0, 50), whole(120, 0, 50), None, None, "any", "any", 7, 1.0, 0.0)
    found, wanted = gpu.forward(x, bank, *rest), ops._forward_cpu(x, bank, *rest, True)
    assert torch.equal(found[4], wanted[4])


def test_more_hard_negatives_than_rows_and_nan() -> None:
    x, bank = unit_rows(6, 8), unit_rows(10, 8)
    bank[3] = float("nan")
    rest = (whole(6, 0, 3), None, None, None, "any", "any", 12, 0.5, 0.0)
    found, wanted = gpu.forward(x, bank, *rest), ops._forward_cpu(x, bank, *rest, True)
    assert torch.equal(found[4], wanted[4])
    assert not (found[4] == 3).any()
    torch.testing.assert_close(found[0], wanted[0])


def test_a_broken_row_of_another_camera_does_not_matter() -> None:
    x, bank = unit_rows(16, 8), unit_rows(30, 8)
    bank_cameras, targets = torch.arange(30) % 2, whole(16, 0, 30)
    bank[5] = float("nan")
    rest = (targets, None, bank_cameras[targets], bank_cameras, "only_same", "any", -1, 0.1, 0.0)
    found = gpu.forward(x, bank, *rest)
    gradient = gpu.backward(torch.ones(16), *found[1:], x, bank, *rest)
    assert torch.equal(found[0].isfinite(), targets % 2 == 0)
    assert torch.equal(gradient.isfinite().all(1), targets % 2 == 0)


@pytest.mark.parametrize("hard_negatives", [-1, 3])
def test_empty(hard_negatives: int) -> None:
    for n, k in ((0, 4), (4, 0)):
        x, bank = torch.ones(n, 3), torch.ones(k, 3)
        rest = (whole(n, 0, 4), whole(k, 0, 4), None, None, "any", "any", hard_negatives, 1.0, 0.0)
        found = gpu.forward(x, bank, *rest)
        assert not found[0].any()
        assert gpu.backward(found[0], *found[1:], x, bank, *rest).shape == (n, 3)


@pytest.mark.parametrize("mode", ["momentum", "hardest", "mean"])
@pytest.mark.parametrize(("n", "k", "d"), [(1, 1, 1), (40, 7, 33)])
def test_update_has_the_bits_of_the_loop(
    monkeypatch: pytest.MonkeyPatch, mode: str, n: int, k: int, d: int
) -> None:
    monkeypatch.setattr(gpu_update, "_SCAN", 16)  # a batch in several steps
    bank, x, targets = unit_rows(k, d), unit_rows(n, d), whole(n, -1, k)
    wanted = bank.numpy().copy()
    reference.update_memory(wanted, x.numpy(), targets.numpy(), 0.2, mode)
    gpu_update.update_memory(bank, x, targets, 0.2, mode)
    np.testing.assert_array_equal(bank.numpy(), wanted)


def test_update_ignores_targets_beyond_the_bank() -> None:
    bank, x = unit_rows(3, 8), unit_rows(2, 8)
    before = bank.clone()
    gpu_update.update_memory(bank, x, torch.tensor([3, -1]), 0.2, "momentum")
    assert torch.equal(bank, before)
