"""Runs of a detector: from recipe to bundle, killed and resumed, tried, and refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

torch = pytest.importorskip("torch")

from detection_parts import tiny_recipe, write_set  # noqa: E402

from crosscam_deploy.bundle import load_bundle  # noqa: E402
from crosscam_edge.cli.train_detector import command  # noqa: E402
from crosscam_kernels.errors import InputError, RunError, UsageError  # noqa: E402
from crosscam_trainer.detection import train as training  # noqa: E402
from crosscam_trainer.detection.recipe import (  # noqa: E402
    DetectorOptimiser,
    find_detector_recipe,
    load_detector_recipe,
)
from crosscam_trainer.detection.state import rate  # noqa: E402
from crosscam_trainer.loop.checkpoint import read_weights  # noqa: E402


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    write_set(folder / "set")
    return folder / "set"


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that kept a checkpoint of every step but the first."""
    folder = tmp_path_factory.mktemp("run") / "run"
    loop = {"device": "cpu", "workers": 0, "checkpoint_minutes": 1e-6}
    training.train_detector(tiny_recipe(pictures, loop=loop), folder)
    return folder


@pytest.fixture
def exports_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs take the bundle of the finished one: an export takes seconds."""
    monkeypatch.setattr(training, "export_detector", lambda *_: load_bundle(run / "last.bundle"))


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_a_bundle_weights_and_records(run: Path) -> None:
    bundle = load_bundle(run / "last.bundle")
    assert bundle.manifest.task == "detect"
    assert bundle.manifest.licence == "Apache-2.0"
    tensors, about = read_weights(run / "last.safetensors")
    assert tensors
    assert about["step"] == 4
    judged = [line for line in lines(run) if line["kind"] == "judged"]
    assert [line["iteration"] for line in judged] == [2, 4]
    assert about["figures"]["ap50"] == judged[-1]["ap50"]


@pytest.mark.usefixtures("exports_nothing")
def test_a_run_that_was_killed_ends_with_the_same_weights(run: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    shutil.copytree(run, killed)
    newest = max((killed / "checkpoints").iterdir())
    assert newest.name == "00000004"
    shutil.rmtree(newest)
    (killed / "last.safetensors").unlink()
    recipe = load_detector_recipe(run / "recipe.yaml")
    training.train_detector(recipe, killed, resume=True)
    ends = [read_weights(folder / "last.safetensors")[0] for folder in (run, killed)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert lines(killed)[-1]["iteration"] == lines(run)[-1]["iteration"] == 4


def test_a_folder_with_a_run_and_other_recipes_are_refused(run: Path, tmp_path: Path) -> None:
    recipe = load_detector_recipe(run / "recipe.yaml")
    with pytest.raises(InputError, match="holds a run"):
        training.train_detector(recipe, run)
    with pytest.raises(InputError, match="another `seed`"):
        training.train_detector(recipe.model_copy(update={"seed": 1}), run, resume=True)
    with pytest.raises(InputError, match="holds no run"):
        training.train_detector(recipe, tmp_path, resume=True)


def test_a_run_starts_from_weights_of_the_same_network_only(run: Path, pictures: Path) -> None:
    from crosscam_trainer.detection.state import begin

    weights = str(run / "last.safetensors")
    state = begin(tiny_recipe(pictures, weights=weights), torch.device("cpu"))
    known = read_weights(run / "last.safetensors")[0]
    assert torch.equal(state.network.person.weight, known["person.weight"])
    wider = {"channels": (4, 8, 8, 8, 16), "blocks": (0, 1, 0, 0), "neck": 8}
    with pytest.raises(InputError, match="another network"):
        begin(tiny_recipe(pictures, weights=weights, network=wider), torch.device("cpu"))


def test_a_loss_that_is_not_finite_ends_the_run(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        training, "losses", lambda *_: {"person": torch.tensor(float("nan"), requires_grad=True)}
    )
    with pytest.raises(RunError, match="the loss is nan at step 0"):
        training.train_detector(tiny_recipe(pictures), tmp_path / "run")


def test_a_dry_run_estimates_and_leaves_nothing(pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny_recipe(pictures).model_dump(mode="json")))
    with CliRunner().isolated_filesystem(tmp_path) as folder:
        result = CliRunner().invoke(command, [str(file), "--dry-run"], catch_exceptions=False)
        assert not list(Path(folder).iterdir())
    assert "2 pictures to train on, 4 to judge by" in result.output
    assert "parameters" in result.output
    assert "inputs/s" in result.output


@pytest.mark.usefixtures("exports_nothing")
def test_the_command_trains_and_tells(pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny_recipe(pictures).model_dump(mode="json")))
    words = [str(file), "optimiser.steps=1", "--output", str(tmp_path / "run")]
    result = CliRunner().invoke(command, words, catch_exceptions=False)
    assert result.exit_code == 0
    assert "AP50" in result.output
    with pytest.raises(UsageError, match="--resume with --dry-run"):
        CliRunner().invoke(command, [*words, "--resume", "--dry-run"], catch_exceptions=False)


@pytest.mark.parametrize("name", ["default-detector", "default-detector-close"])
def test_the_shipped_recipes_are_small_enough(pictures: Path, name: str) -> None:
    path = find_detector_recipe(name)
    changed = [f"data.path={pictures}", "published=[384, 640]", "weights=null"]
    recipe = load_detector_recipe(path, changed)
    assert recipe.name == name
    assert training.multiplications(recipe) < 1e9
    network = training.begin(recipe, torch.device("cpu")).network
    assert sum(p.numel() for p in network.parameters()) * 4 < 2.5e6


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("augmentation.size=[100, 96]", "multiples of 32"),
        ("augmentation.scale=[2, 1]", "the smaller factor first"),
        ("loop.devices=2", "on one device"),
        ("optimizer.lr=1", "optimizer"),
    ],
)
def test_recipes_that_cannot_be_are_refused(override: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_detector_recipe(find_detector_recipe("default-detector"), [override])
    with pytest.raises(UsageError, match="no recipe 'default'"):
        find_detector_recipe("default")


def test_the_rate_warms_up_and_falls_to_its_end() -> None:
    recipe = DetectorOptimiser(steps=100, warmup=10, lr=1.0, final_lr=0.1)
    assert rate(recipe, 0) == pytest.approx(0.1)
    assert rate(recipe, 9) == rate(recipe, 10) == 1.0
    assert rate(recipe, 55) == pytest.approx(0.55)
    assert rate(recipe, 100) == pytest.approx(0.1)
