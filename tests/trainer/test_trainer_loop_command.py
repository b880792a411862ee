"""`crosscam train`: the command, its estimate, and what it says when something is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

torch = pytest.importorskip("torch")

from loop_parts import make_recipe, write_pictures  # noqa: E402

from crosscam_edge.cli import train as command_file  # noqa: E402
from crosscam_edge.cli.train import command  # noqa: E402
from crosscam_kernels.errors import InputError, MissingExtraError, UsageError  # noqa: E402
from crosscam_trainer.methods.registry import METHODS  # noqa: E402


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(METHODS, "tiny", "loop_parts")
    monkeypatch.chdir(tmp_path)
    chosen = make_recipe(write_pictures(tmp_path / "set"), model={"tower": "test-tiny"})
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(chosen.model_dump(mode="json")))
    return path


def run(*words: object) -> str:
    result = CliRunner().invoke(command, [str(w) for w in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_trains_and_resumes(recipe: Path) -> None:
    said = run(recipe, "model.pooling=own")
    assert "tiny, test, 1 seed" in said
    assert "chosen on the test split" in said
    assert "classify 4/4" in said
    assert Path("runs/tiny/seed-0/last.safetensors").exists()
    with pytest.raises(UsageError, match=r"model\.pooling was 'own', now 'gem'"):
        run(recipe, "--resume")
    assert "classify" not in run(recipe, "model.pooling=own", "--resume")


def test_an_estimate_leaves_no_files(recipe: Path) -> None:
    before = sorted(recipe.parent.rglob("*"))
    said = run(recipe, "--dry-run", "seeds=[1,2]")
    assert sorted(recipe.parent.rglob("*")) == before
    assert "32 pictures of 4 people" in said
    assert "batch 8 x 3 x 32 x 16" in said
    assert re.search(r"counted .*: 0\.0\d GiB for weights.*; [1-9]?[0-9.]*[1-9] GFLOP", said)
    assert "stage labels: 2 epochs of 3 batches" in said
    assert "stage classify: 4 epochs of 3 batches" in said
    assert "for 2 seeds" in said


def test_what_is_missing_is_named(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no recipe 'nothing'"):
        run("nothing")
    with pytest.raises(InputError, match=r"batch\.peopel"):
        run(recipe, "batch.peopel=3")
    with pytest.raises(UsageError, match="one of them"):
        run(recipe, "--resume", "--dry-run")
    monkeypatch.setattr(command_file, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"crosscam\[train\]"):
        run(recipe)
