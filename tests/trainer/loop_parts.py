"""The smallest parts that a real run can be made of, and a command line for them.

``python loop_parts.py RECIPE OUTPUT [--resume] [--slow]`` trains; tests kill it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from crosscam_trainer.data.samplers import PersonSampler
from crosscam_trainer.loop.train import Makers, train
from crosscam_trainer.methods.base import Method, Part, Stage
from crosscam_trainer.models.reid import ReIDModel
from crosscam_trainer.models.types import TowerFeatures
from crosscam_trainer.recipe import OptimiserRecipe, Recipe, Strict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from crosscam_trainer.data.dataset import Batch
    from crosscam_trainer.data.samplers import EpochSampler
    from crosscam_trainer.data.types import ReIDData
    from crosscam_trainer.methods.base import Run

PEOPLE, CAMERAS, VIEWS = 6, 2, 4


def write_pictures(root: Path, people: int = PEOPLE) -> Path:
    """Everybody has a colour of their own, under noise."""
    rng = np.random.default_rng(0)
    for person in range(people):
        colour = rng.integers(40, 216, 3)
        (root / f"{person:03d}").mkdir(parents=True)
        for camera in range(CAMERAS):
            for view in range(VIEWS):
                image = np.clip(colour + rng.normal(0, 30, (32, 16, 3)), 0, 255).astype(np.uint8)
                done, data = cv2.imencode(".png", image)
                assert done
                (root / f"{person:03d}/{camera}_{view}.png").write_bytes(data.tobytes())
    return root


def make_recipe(root: Path, **changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": "tiny",
        "data": {"path": root, "pattern": "{person}/{camera}_{view}.png", "train_share": 0.7},
        "model": {"size": (32, 16)},
        "augmentation": {"pad": 2},
        "method": {"name": "tiny"},
        "batch": {"people": 2, "pictures": 4},
        "loop": {"device": "cpu", "workers": 0},
        "evaluation": {"every": 2, "batch_size": 16},
    }
    for key, value in changes.items():
        part = values.setdefault(key, {})
        values[key] = {**part, **value} if isinstance(part, dict) else value
    return Recipe.model_validate(values)


class Tower(torch.nn.Module):  # type: ignore[misc, name-defined]
    """As small as a tower can be; with dropout, so that generators matter."""

    previous_dim, final_dim, joint_dim = 4, 6, 5

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 6, 4, stride=4)
        self.drop = torch.nn.Dropout(dropout)
        self.out = torch.nn.Linear(6, 5)

    def forward(self, images: torch.Tensor, cameras: torch.Tensor | None = None) -> TowerFeatures:
        x = self.drop(self.conv(images))
        pooled = x.mean((2, 3))
        return TowerFeatures(pooled[:, :4], x, pooled, self.out(pooled))


class Labels(Stage):
    """Learns a scale for every person from labels and extracted features; needs no pictures.

    As stages of prompts do, it has the features computed again when it is resumed.
    """

    name, epochs, needs_pictures = "labels", 2, False

    def __init__(self, run: Run, recipe: Recipe) -> None:
        self.recipe = recipe
        self.scales = torch.nn.Embedding(run.data.train_people, run.model.final_dim).to(run.device)
        self.targets: torch.Tensor | None = None

    def begin(self, run: Run) -> None:
        assert self.targets is None
        self.targets = run.extract().final_bn

    def resume(self, run: Run) -> None:
        self.begin(run)

    def end(self) -> None:
        self.targets = None

    def parts(self) -> Mapping[str, Part]:
        return {"scales": Part(tuple(self.scales.named_parameters()), OptimiserRecipe(lr=0.05))}

    def sampler(self, *, rank: int, world_size: int) -> EpochSampler:
        return _sampler(self.people, self.recipe, 1, rank, world_size)

    people: list[int]

    def step(self, run: Run, batch: Batch, epoch: int) -> dict[str, torch.Tensor]:
        assert self.targets is not None
        loss = (self.scales(batch["person"]) - self.targets[batch["index"]]).square().mean()
        run.minimise("scales", loss)
        return {"distance": loss}

    def modules(self) -> Iterable[tuple[str, torch.nn.Module]]:
        return [("scales", self.scales)]


class Classify(Stage):
    """A classifier over people and a centre that moves: two parts, a memory, notes."""

    name, epochs = "classify", 4
    pause = 0.0
    spoil_at: int | None = None

    def __init__(self, run: Run, recipe: Recipe, labels: Labels) -> None:
        self.recipe, self.labels = recipe, labels
        self.people = [s.person for s in run.data.train]
        self.model = run.model
        self.head = torch.nn.Linear(run.model.final_dim, run.data.train_people).to(run.device)
        self.memory = torch.zeros(run.model.final_dim)
        self.steps = 0

    def begin_epoch(self, run: Run, epoch: int) -> None:
        # Depends on all that was learned so far, and on torch's generator.
        found = run.extract().final_bn.mean(0)
        self.memory = 0.5 * self.memory + found + 0.01 * torch.rand(len(found))
        run.note(memory=float(self.memory.norm()))

    def parts(self) -> Mapping[str, Part]:
        adam = OptimiserRecipe(lr=0.01, warmup_epochs=1.5, schedule="cosine", clip_norm=5.0)
        sgd = OptimiserRecipe(name="sgd", lr=0.01, milestones=(2,))
        model = tuple(self.model.named_parameters())
        return {"model": Part(model, adam), "head": Part(tuple(self.head.named_parameters()), sgd)}

    def sampler(self, *, rank: int, world_size: int) -> EpochSampler:
        return _sampler(self.people, self.recipe, 2, rank, world_size)

    def step(self, run: Run, batch: Batch, epoch: int) -> dict[str, torch.Tensor]:
        if self.pause:
            time.sleep(self.pause)
        self.steps += 1
        features = run.model(batch["image"], batch["camera"])
        entropy = torch.nn.functional.cross_entropy
        examine = entropy(self.head(features.final_bn.detach()), batch["person"])
        run.minimise("head", examine)
        learn = entropy(self.head(features.final_bn), batch["person"])
        scales = self.labels.scales(batch["person"]).detach()
        pull = (features.final - self.memory - scales).square().mean()
        spoilt = float("nan") if self.steps == self.spoil_at else 1.0
        run.minimise("model", (learn + 0.1 * pull) * spoilt)
        return {"examine": examine, "learn": learn}

    def modules(self) -> Iterable[tuple[str, torch.nn.Module]]:
        return [("head", self.head)]

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"memory": self.memory}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.memory = state["memory"]


class Tiny(Method):
    name = "tiny"

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def stages(self, run: Run) -> list[Stage]:
        labels = Labels(run, self.recipe)
        labels.people = [s.person for s in run.data.train]
        return [labels, Classify(run, self.recipe, labels)]

    def check(self, data: ReIDData) -> None:
        pass


def _sampler(
    people: list[int], recipe: Recipe, salt: int, rank: int, world_size: int
) -> EpochSampler:
    batch = recipe.batch
    return PersonSampler(
        people, batch.people, batch.pictures, seed=salt, rank=rank, world_size=world_size, batches=3
    )


class Options(Strict):
    """The method has none."""


def build(recipe: Recipe, _options: Options) -> Tiny:
    return Tiny(recipe)


class Separation:
    """A figure in [0, 1] that follows from the weights alone."""

    def __call__(self, model: ReIDModel) -> dict[str, float]:
        assert not model.training
        probe = torch.linspace(-1, 1, 3 * 32 * 16).view(1, 3, 32, 16).repeat(2, 1, 1, 1)
        probe[1] = -probe[1]
        a, b = model.embed(probe)
        return {"mAP": float((1 - a @ b) / 2), "R1": 0.5}


def makers(dropout: float = 0.1) -> Makers:
    return Makers(
        models=lambda _recipe, _data: (ReIDModel(Tower(dropout)), None),
        method=Tiny,
        evaluate=lambda _recipe, _data, _world: Separation(),
    )


if __name__ == "__main__":
    from crosscam_trainer.recipe import load_recipe

    torch.set_num_threads(1)
    if "--slow" in sys.argv:
        Classify.pause = 0.3
    dropout = 0.0 if "--no-dropout" in sys.argv else 0.1
    train(
        load_recipe(Path(sys.argv[1])),
        Path(sys.argv[2]),
        makers(dropout),
        resume="--resume" in sys.argv,
    )
