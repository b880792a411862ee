"""Every recipe that is shipped can be read, and its method made, with the papers' numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import crosscam_trainer
from crosscam_trainer.methods.ccafl import Options
from crosscam_trainer.methods.registry import METHODS, make_method
from crosscam_trainer.recipe import load_recipe

RECIPES = sorted((Path(crosscam_trainer.__file__).parent / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_makes_its_method(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert recipe.method["name"] in METHODS
    assert make_method(recipe).name == recipe.method["name"]


@pytest.mark.parametrize(
    ("kind", "lambda_", "rate", "margin", "people", "window"),
    [
        ("market1501", 0.6, 1.7, 0.7, 16, (40, 50)),
        ("dukemtmc", 0.6, 1.5, 0.3, 16, (40, 60)),
        ("msmt17", 0.0, 1.3, 0.5, 32, (40, 60)),
    ],
)
def test_numbers_of_ccafl(
    kind: str, lambda_: float, rate: float, margin: float, people: int, window: tuple[int, int]
) -> None:
    for suffix in ("", "-official"):
        (path,) = [p for p in RECIPES if p.stem == f"ccafl-{kind}-rn50{suffix}"]
        recipe = load_recipe(path)
        options = Options.model_validate({k: v for k, v in recipe.method.items() if k != "name"})
        assert (options.intra.lambda_, options.association.rate) == (lambda_, rate)
        assert (recipe.batch.people, recipe.batch.pictures) == (people, 8)
        assert recipe.batch.iterations == 200
        assert recipe.data.labels == "intra"
        official = suffix == "-official"
        assert options.ical.arcface_margin == (margin if official else 0)
        assert options.ical.adv_window == (window if official else (40, None))
        assert options.inter.hard_update is official
