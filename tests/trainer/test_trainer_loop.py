"""The loop: a whole run on tiny pictures, and resuming it to the same weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

torch = pytest.importorskip("torch")

import loop_parts  # noqa: E402
import method_runs  # noqa: E402
from loop_parts import make_recipe, makers, write_pictures  # noqa: E402

from crosscam_kernels.errors import InputError, RunError, UsageError  # noqa: E402
from crosscam_trainer.loop.checkpoint import numbers, read_newest, read_weights  # noqa: E402
from crosscam_trainer.loop.train import ON_TEST, Makers, train  # noqa: E402
from crosscam_trainer.loop.trainer import Trainer  # noqa: E402
from crosscam_trainer.methods.registry import make_method  # noqa: E402
from crosscam_trainer.models.reid import ReIDModel  # noqa: E402

PARTS = Path(loop_parts.__file__)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures") / "set")


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    output = tmp_path_factory.mktemp("whole") / "run"
    torch.set_num_threads(1)
    train(make_recipe(pictures), output, makers())
    return output / "seed-0"


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def figures(folder: Path) -> list[Any]:
    return [(r["kind"], r["epoch"], r["figures"]) for r in lines(folder)]


def same_weights(one: Path, other: Path) -> None:
    a, _ = read_weights(one / "last.safetensors")
    b, _ = read_weights(other / "last.safetensors")
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def stop_before(iteration: int, monkeypatch: pytest.MonkeyPatch, run: Callable[[], object]) -> None:
    """Carry out a run up to an iteration."""

    class KilledError(BaseException):
        pass

    step = Trainer._step

    def dying(self: Trainer, *args: Any) -> None:
        if self.position.iteration == iteration:
            raise KilledError
        step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", dying)
        with pytest.raises(KilledError):
            run()


def command(*words: object, **environment: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen([sys.executable, str(PARTS), *map(str, words)], env=env)


def test_a_run_learns_and_tells(whole: Path) -> None:
    told = lines(whole)
    assert [(r["kind"], r["epoch"]) for r in told] == [
        ("labels", 0),
        ("labels", 1),
        ("classify", 0),
        ("classify", 1),
        ("evaluation.test", 1),
        ("classify", 2),
        ("classify", 3),
        ("evaluation.test", 3),
    ]
    assert told[1]["figures"]["distance"] < told[0]["figures"]["distance"]
    learned = [r["figures"]["learn"] for r in told if r["kind"] == "classify"]
    assert learned[-1] < 0.8 * learned[0]
    assert told[2]["figures"]["memory"] > 0
    assert 0 <= told[2]["speed"]["waiting"] <= 1
    assert "classify 4/4" in (whole / "log.txt").read_text()
    assert list((whole / "tensorboard").iterdir())
    assert len(numbers(whole / "checkpoints")) == 2
    _, about = read_weights(whole / "best.safetensors")
    assert about["selected_on"] == "test"
    result = json.loads((whole / "result.json").read_text())
    assert about["judged"] == {**result["best"]}
    assert result["last"]["epoch"] == 4


@pytest.mark.parametrize("after", [1, 4, 8, 12, 17])
def test_resuming_after_any_batch_gives_the_same_weights(
    after: int, pictures: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(pictures, loop={"checkpoint_minutes": 1e-9})
    stop_before(after, monkeypatch, partial(train, recipe, tmp_path / "run", makers()))
    train(recipe.model_copy(), tmp_path / "run", makers(), resume=True)
    same_weights(whole, tmp_path / "run/seed-0")
    assert figures(whole) == figures(tmp_path / "run/seed-0")


def test_prompts_go_on_with_features_that_no_checkpoint_holds(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = makers()
    prompted = Makers(
        models=lambda _recipe, _data: (ReIDModel(method_runs.Tower()), method_runs.Text()),
        method=make_method,
        evaluate=parts.evaluate,
    )
    recipe = make_recipe(
        pictures,
        method={"name": "clip_reid", "epochs": 1, "prompts": {"epochs": 2, "batch": 8}},
        batch={"iterations": 2},
        loop={"checkpoint_minutes": 1e-9},
    )
    for name, after in (("whole", None), ("stopped", 5), ("later", 9)):
        output = tmp_path / name
        if after is not None:
            stop_before(after, monkeypatch, partial(train, recipe, output, prompted))
            kept = read_newest(output / "seed-0/checkpoints", pytest.fail)
            assert kept is not None
            assert kept.state["position"]["stage"] == (after == 9)
            assert [k for k in kept.tensors if k.startswith("stage.0.")] == [
                "stage.0.module.prompts.learned"
            ]
        train(recipe, output, prompted, resume=after is not None)
        same_weights(tmp_path / "whole/seed-0", output / "seed-0")
        assert figures(tmp_path / "whole/seed-0") == figures(output / "seed-0")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_in_the_middle_of_an_epoch(pictures: Path, whole: Path, tmp_path: Path) -> None:
    recipe = make_recipe(pictures, loop={"checkpoint_minutes": 1e-9})
    path, output = tmp_path / "recipe.yaml", tmp_path / "run"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    process = command(path, output, "--slow")
    checkpoints = output / "seed-0/checkpoints"
    deadline = time.monotonic() + 200
    # The checkpoint after the second batch of the second epoch of the second stage.
    while not numbers(checkpoints) or max(numbers(checkpoints)) < 18:
        assert process.poll() is None, "the run ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = read_newest(checkpoints, lambda _text: None)
    assert kept is not None
    assert kept.state["position"]["stage"] == 1
    assert not (output / "seed-0/result.json").exists()
    assert command(path, output, "--resume").wait(200) == 0
    same_weights(whole, output / "seed-0")
    assert figures(whole) == figures(output / "seed-0")


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    pictures: Path, whole: Path, tmp_path: Path
) -> None:
    import shutil
    from io import StringIO

    from rich.console import Console

    output = tmp_path / "run"
    shutil.copytree(whole, output / "seed-0")
    (output / "seed-0/result.json").unlink()
    newest = max((output / "seed-0/checkpoints").iterdir())
    tensors = newest / "tensors.safetensors"
    data = bytearray(tensors.read_bytes())
    data[-1] ^= 1
    tensors.write_bytes(data)
    said = StringIO()
    train(make_recipe(pictures), output, makers(), resume=True, console=Console(file=said))
    assert f"checkpoint {newest} is damaged" in said.getvalue().replace("\n", "")
    assert "the one before" in said.getvalue()
    same_weights(whole, output / "seed-0")


def test_all_checkpoints_damaged(whole: Path, pictures: Path, tmp_path: Path) -> None:
    import shutil

    output = tmp_path / "run"
    shutil.copytree(whole, output / "seed-0")
    (output / "seed-0/result.json").unlink()
    for state in (output / "seed-0/checkpoints").glob("*/state.json"):
        state.write_text("{")
    with pytest.raises(InputError, match=r"all checkpoints in .* are damaged"):
        train(make_recipe(pictures), output, makers(), resume=True)


def test_another_recipe_or_other_pictures_are_refused(
    whole: Path, pictures: Path, tmp_path: Path
) -> None:
    output = whole.parent
    with pytest.raises(UsageError, match=r"batch\.people was 2, now 3"):
        train(make_recipe(pictures, batch={"people": 3}), output, makers(), resume=True)
    other = write_pictures(tmp_path / "other")
    next(other.glob("*/0_0.png")).write_bytes(next(other.glob("*/0_1.png")).read_bytes())
    for path in other.glob("*/1_3.png"):
        path.unlink()
    with pytest.raises(UsageError, match=r"training pictures differ \(32 were there, now 28\)"):
        train(make_recipe(other), output, makers(), resume=True)
    with pytest.raises(UsageError, match="exists already"):
        train(make_recipe(pictures), output, makers())
    # How it is carried out may change, and a run that is done is not repeated.
    changed = make_recipe(pictures, loop={"workers": 3, "checkpoint_minutes": 9.0})
    assert train(changed, output, makers(), resume=True).figures["last"]["R1"] == (0.5, None)


def test_nan_stops_with_the_checkpoint_of_before(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_parts.Classify, "spoil_at", 5)
    with pytest.raises(
        RunError, match=r"stage 'classify', epoch 2, batch 2: part 'model': loss na"
    ):
        train(make_recipe(pictures), tmp_path / "run", makers())
    kept = read_newest(tmp_path / "run/seed-0/checkpoints", lambda _text: None)
    assert kept is not None
    assert all(bool(t.isfinite().all()) for t in kept.tensors.values())
    assert "stopped: stage 'classify'" in (tmp_path / "run/seed-0/log.txt").read_text()


def test_several_seeds_have_a_mean_and_a_spread(pictures: Path, tmp_path: Path) -> None:
    recipe = make_recipe(pictures, evaluation={"split": "test"})
    recipe = recipe.model_copy(update={"seeds": (3, 4)})
    summary = train(recipe, tmp_path / "run", makers())
    values = [r["last"]["figures"]["mAP"] for r in summary.seeds]
    assert values[0] != values[1]
    mean, spread = summary.figures["last"]["mAP"]
    assert mean == pytest.approx(sum(values) / 2)
    assert spread == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert summary.warnings == (ON_TEST,)
    assert json.loads((tmp_path / "run/summary.json").read_text())["warnings"] == [ON_TEST]
    assert (tmp_path / "run/seed-4/last.safetensors").exists()


def test_patience_ends_a_stage(pictures: Path, tmp_path: Path) -> None:
    recipe = make_recipe(pictures, evaluation={"every": 1, "patience": 1})
    steady = makers()
    calm = type(steady)(steady.models, steady.method, lambda *_: lambda _model: {"mAP": 0.25})
    summary = train(recipe, tmp_path / "run", calm)
    assert summary.seeds[0]["last"]["epoch"] == 2
    assert summary.seeds[0]["best"]["epoch"] == 1


def test_pictures_that_nothing_can_be_learned_from(pictures: Path, tmp_path: Path) -> None:
    for share, message in ((0.0, "no training pictures"), (0.17, "one person only")):
        with pytest.raises(InputError, match=message):
            train(make_recipe(pictures, data={"train_share": share}), tmp_path / "run", makers())
    alone = make_recipe(pictures, data={"train_share": 0.17, "labels": "intra"})
    with pytest.raises(InputError, match="one person only"):  # two labels, of two cameras
        train(alone, tmp_path / "run", makers())
    with pytest.raises(UsageError, match=r"batch\.people is 9, but .* has 4 people"):
        train(make_recipe(pictures, batch={"people": 9}), tmp_path / "run", makers())
    assert not (tmp_path / "run").exists()
    if not torch.cuda.is_available():
        with pytest.raises(RunError, match="finds no CUDA device"):
            train(make_recipe(pictures, loop={"device": "cuda"}), tmp_path / "run", makers())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_train_like_one(pictures: Path, tmp_path: Path) -> None:
    """The command starts the second one itself; torch's rounding is all that differs."""
    for devices in (1, 2):
        recipe = make_recipe(pictures, loop={"devices": devices})
        path = tmp_path / f"{devices}.yaml"
        path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
        assert command(path, tmp_path / str(devices), "--no-dropout").wait(280) == 0
    one, two = (tmp_path / str(n) / "seed-0" for n in (1, 2))
    a, _ = read_weights(one / "last.safetensors")
    b, _ = read_weights(two / "last.safetensors")
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-5, atol=1e-6)
    for (kind, epoch, mine), (kind_2, epoch_2, theirs) in zip(
        figures(one), figures(two), strict=True
    ):
        assert (kind, epoch) == (kind_2, epoch_2)
        assert mine == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("images", ["image", "shielded", "clothes"])
def test_extracted_features_are_those_of_pictures_one_by_one(
    images: str, pictures: Path, tmp_path: Path
) -> None:
    import cv2
    import numpy as np
    from loop_parts import Tower

    from crosscam_trainer.data.dataset import PictureSet
    from crosscam_trainer.data.masks import CLOTHES
    from crosscam_trainer.data.transforms import for_test
    from crosscam_trainer.loop.devices import World
    from crosscam_trainer.loop.extract import extract
    from crosscam_trainer.loop.prepare import read_data
    from crosscam_trainer.loop.run import preparation
    from crosscam_trainer.models.reid import ReIDModel

    recipe = make_recipe(pictures)
    plain = read_data(recipe)
    rng = np.random.default_rng(1)
    for sample in plain.train:
        path = tmp_path / sample.path.relative_to(pictures)
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 2, (32, 16), dtype=np.uint8))
    data = read_data(make_recipe(pictures, data={"masks": tmp_path}))
    model = ReIDModel(Tower())
    model.tower.drop.eval()  # as a stage may have set it
    prep, world = preparation(recipe), World(torch.device("cpu"))
    found = extract(
        model, data.train, prep, world, images=images, mask_labels=CLOTHES, batch_size=5
    )
    assert model.training
    assert not model.tower.drop.training
    model.eval()
    expected = []
    for item in range(len(data.train)):
        fields = PictureSet(data.train, for_test(prep), CLOTHES)[item]
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (prep.mean, prep.std))
        seen = {
            "image": torch.ones(32, 16),
            "shielded": (~fields["clothes_mask"]).float(),
            "clothes": fields["clothes_mask"].float(),
        }[images]
        covered = ((fields["image"] * std + mean) * seen - mean) / std
        expected.append(model(covered[None]).final_bn[0])
    torch.testing.assert_close(found.final_bn, torch.stack(expected), rtol=1e-4, atol=1e-5)
    if images != "image":
        with pytest.raises(InputError, match=r"data\.masks=FOLDER"):
            extract(model, plain.train, prep, world, images=images)
