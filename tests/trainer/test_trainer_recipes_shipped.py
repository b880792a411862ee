"""Every recipe that is shipped can be read, makes its method, and runs dry through the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch")

import recipe_trees

import crosscam_trainer
from crosscam_edge.cli.train import command
from crosscam_trainer.methods.association import ALONE, associate
from crosscam_trainer.methods.cal import Options as ClothesOptions
from crosscam_trainer.methods.ccafl import Options
from crosscam_trainer.methods.registry import METHODS, make_method
from crosscam_trainer.recipe import Recipe, find_recipe, load_recipe

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


def test_numbers_of_cal() -> None:
    for kind in ("ltcc", "prcc"):
        (path,) = [p for p in RECIPES if p.stem == f"cal-{kind}-rn50"]
        recipe = load_recipe(path)
        options = ClothesOptions.model_validate(
            {k: v for k, v in recipe.method.items() if k != "name"}
        )
        assert (recipe.model.pooling, recipe.model.embedding) == ("max_avg", "final_bn")
        assert recipe.model.size == (384, 192)
        assert recipe.evaluation.flip
        assert (recipe.batch.people, recipe.batch.pictures) == (8, 8)
        starts = options.clothes_start, options.adversarial_start
        assert (options.epochs, *starts) == (60, 25, 25)
        assert (options.epsilon, options.temperature) == (0.1, 1 / 16)


# The others take seconds each and are slow tests.
TRIED_SHORTLY = ("own-site",)


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Recipe], list[str]]:
    """What a recipe is to be told of the data; each kind of set is written once."""
    root = tmp_path_factory.mktemp("sets")

    def told(recipe: Recipe) -> list[str]:
        return recipe_trees.overrides(recipe, root / str(recipe.data.kind))

    return told


def dry_run(name: str, *overrides: str) -> str:
    words = [name, "--dry-run", "loop.device=cpu", "loop.workers=0", *overrides]
    result = CliRunner().invoke(command, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return str(result.output)


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=() if p.stem in TRIED_SHORTLY else pytest.mark.slow) for p in RECIPES],
    ids=lambda path: path.stem,
)
def test_recipe_runs_dry(path: Path, trees: Callable[[Recipe], list[str]]) -> None:
    """On a set of its kind, with a small tower of the same family in place of the recipe's."""
    recipe = load_recipe(path)
    tower = "test-tiny-vit" if "vit" in path.stem else "test-tiny"
    small = [f"model.tower={tower}", "model.weights=null", "model.size=[32,16]"]
    if recipe.method["name"] not in ("cal", "captions"):
        small.append("method.prompts.batch=16")
    said = dry_run(path.stem, *trees(recipe), *small, "augmentation.pad=1")
    batch = recipe.batch.people * recipe.batch.pictures
    assert f"batch {batch} x 3 x 32 x 16" in said
    assert f"{recipe.name}: " in said


def test_own_cameras_begin_with_what_comes_with_crosscam(
    trees: Callable[[Recipe], list[str]],
) -> None:
    recipe = load_recipe(find_recipe("own-site"))
    said = dry_run("own-site", *trees(recipe), "method.prompts.batch=16")
    assert "batch 64 x 3 x 96 x 48" in said


def test_own_cameras_join_nobody_with_strangers() -> None:
    """Who was in one camera only stays alone, however few the pairs are from which to choose."""
    own = load_recipe(find_recipe("own-site")).method
    how = Options.model_validate({"association": own["association"]}).association
    apart = np.eye(12, dtype=np.float32)
    again = 0.7 * apart[:3] + np.sqrt(1 - 0.7**2) * apart[9:]
    vectors = np.concatenate([apart[3:6], apart[:3], apart[6:9], again.astype(np.float32)])
    cameras = np.array([0] * 6 + [1] * 6)
    found = associate(vectors, cameras, **how.model_dump(exclude={"centre"}))
    assert found.pseudo.tolist() == [*[ALONE] * 3, 0, 1, 2] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["clip-reid-market1501-vit-b16", "ccafl-market1501-vit-b16", "ccafl-ccaf-prcc-rn50"]
)
def test_recipe_runs_dry_with_its_own_tower(
    name: str, trees: Callable[[Recipe], list[str]]
) -> None:
    recipe = load_recipe(find_recipe(name))
    few = ["batch.people=2", "batch.pictures=2", "method.prompts.batch=4", "model.weights=null"]
    said = dry_run(name, *trees(recipe), *few)
    assert "batch 4 x 3 x 256 x 128" in said
