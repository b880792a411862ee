"""What the tests of CCAFL share: a small problem, and comparisons with the paper's sums.

The problem: ten pictures, eight accumulated labels in three cameras, three pseudo identities.
"""

from __future__ import annotations

from typing import Any

import method_runs as runs
import torch

from crosscam_trainer.methods import ccafl
from crosscam_trainer.methods.icdl import HybridMemory
from crosscam_trainer.methods.prompts_stage import PromptOptions
from crosscam_trainer.recipe import BatchRecipe

CAMERA_OF = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2])
"""Cameras of the accumulated labels of the small problem."""

PERSON = torch.tensor([0, 0, 1, 2, 3, 3, 4, 5, 5, 6])
CAMERA = CAMERA_OF[PERSON]
PSEUDO = torch.tensor([0, 1, -1, 0, 1, 2, 2, 0])


def unit_rows(*shape: int, seed: int = 0) -> Any:
    """Random rows of unit length, float64."""
    drawn = torch.randn(*shape, dtype=torch.float64, generator=torch.manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=-1)


def log_softmax_at(logits: Any, at: int) -> Any:
    return logits[at] - torch.log(torch.exp(logits).sum())


def sum_of_camera_means(losses: list[Any]) -> Any:
    """Sum over cameras of the mean loss of their pictures."""
    stacked = torch.stack(losses)
    return sum(stacked[c == CAMERA].mean() for c in CAMERA.unique())


def check_gradient(found: Any, expected: Any, of: Any) -> None:
    """Value and gradient are those expected, and the gradient is not nothing."""
    torch.testing.assert_close(found, expected)
    (ours,) = torch.autograd.grad(found, of, retain_graph=True)
    (theirs,) = torch.autograd.grad(expected, of, retain_graph=True)
    torch.testing.assert_close(ours, theirs)
    assert ours.abs().sum() > 0


def small_memory(slots: int = 3) -> HybridMemory:
    filled = torch.ones(8, slots, dtype=torch.bool)
    return HybridMemory(unit_rows(8, 6, seed=1), unit_rows(8, slots, 6, seed=2), filled, CAMERA_OF)


class _Recipe:
    def __init__(self, people: int, pictures: int) -> None:
        self.batch = BatchRecipe(people=people, pictures=pictures)


def method(**options: Any) -> ccafl.CCAFL:
    prompts = options.pop("prompts", PromptOptions(epochs=3, batch=32))
    recipe: Any = _Recipe(6, 4)
    return ccafl.build(recipe, ccafl.Options(prompts=prompts, **options))


def stage_of(run: runs.PlainRun, **options: Any) -> ccafl.CameraAgnosticStage:
    _, stage = method(**options).stages(run)
    assert isinstance(stage, ccafl.CameraAgnosticStage)
    return stage
