"""Recipes: what they refuse, and how overrides reach into them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crosscam_kernels.errors import InputError, UsageError
from crosscam_trainer.recipe import load_recipe

SMALL = """
name: small
data: {path: pictures}
method: {name: ccafl, lambda_: 0.6}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(SMALL)
    return path


def test_defaults_are_the_papers(recipe: Path) -> None:
    found = load_recipe(recipe)
    assert found.model.size == (256, 128)
    assert (found.batch.people, found.batch.pictures) == (16, 8)
    assert found.method == {"name": "ccafl", "lambda_": 0.6}


def test_overrides_reach_into_parts(recipe: Path) -> None:
    found = load_recipe(
        recipe, ["batch.people=4", "model.size=[128, 64]", "seeds=[1, 2]", "data.path=elsewhere"]
    )
    assert found.batch.people == 4
    assert found.model.size == (128, 64)
    assert found.seeds == (1, 2)
    assert found.data.path == Path("elsewhere")


def test_a_pattern_needs_no_quotes(recipe: Path) -> None:
    pattern = "{person}/{camera}_{view}.png"
    assert load_recipe(recipe, [f"data.pattern={pattern}"]).data.pattern == pattern
    assert load_recipe(recipe, [f"data.pattern='{pattern}'"]).data.pattern == pattern


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("batch.peple=4", "batch.peple: no such key; did you mean people?"),
        ("evaluation.zzz=4", "evaluation.zzz: no such key."),
        ("bach={people: 4}", "bach: no such key; did you mean batch?"),
        ("batch.people=0", "batch.people"),
        ("augmentation.flip=1.5", "augmentation.flip"),
        ("name=No Name", "name"),
        ("method={}", "method needs a name"),
        ("method={name: ccafl", "method"),
        ("seeds=[]", "seeds"),
        ("loop.precision=int8", "loop.precision"),
    ],
)
def test_wrong_values_are_named(recipe: Path, override: str, told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        load_recipe(recipe, [override])


@pytest.mark.parametrize("override", ["batch", "=4", "batch..people=4", "name.first=a", "seeds=["])
def test_overrides_that_are_none(recipe: Path, override: str) -> None:
    with pytest.raises(UsageError):
        load_recipe(recipe, [override])


@pytest.mark.parametrize("text", ["", "- 1", "name: [", "\x00", "name: small"])
def test_files_that_are_no_recipe(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(InputError):
        load_recipe(path)
    with pytest.raises(InputError, match="nowhere"):
        load_recipe(tmp_path / "nowhere.yaml")
