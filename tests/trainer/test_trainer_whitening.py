"""Whitening inside labels: what it computes, and that a run writes the model with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

torch = pytest.importorskip("torch")

from loop_parts import Tower, make_recipe, makers  # noqa: E402

from crosscam_trainer.evaluation.embed_torch import embed  # noqa: E402
from crosscam_trainer.loop.checkpoint import read_weights  # noqa: E402
from crosscam_trainer.loop.prepare import read_data  # noqa: E402
from crosscam_trainer.loop.run import preparation  # noqa: E402
from crosscam_trainer.loop.train import train  # noqa: E402
from crosscam_trainer.methods.labels import train_labels  # noqa: E402
from crosscam_trainer.methods.whitening import FOLDS, Trial, try_whitening, whitening  # noqa: E402
from crosscam_trainer.models.build import bare_model  # noqa: E402
from crosscam_trainer.models.reid import ReIDModel  # noqa: E402
from crosscam_trainer.recipe import ModelRecipe  # noqa: E402

if TYPE_CHECKING:
    from torch import Tensor

    from crosscam_trainer.data.types import ReIDData
    from crosscam_trainer.recipe import Recipe


def posing() -> tuple[Tensor, Tensor]:
    """12 people whom pose moves more, in three directions, than they are apart."""
    drawn = torch.Generator().manual_seed(0)
    labels = torch.arange(12).repeat_interleave(10)
    people = torch.randn(12, 8, generator=drawn) * 0.3
    pose = torch.randn(120, 8, generator=drawn) * torch.tensor([1, 1, 1, 0, 0, 0, 0, 0])
    features = people[labels] + pose + torch.randn(120, 8, generator=drawn) * 0.05
    features[:, 7] += 1
    return features, labels


def test_what_varies_inside_labels_counts_for_less() -> None:
    """Against the definition in numpy, and by what it is for: the nearest is the same person."""
    features, labels = posing()
    matrix = whitening(features, labels, 0.5)
    rows = torch.nn.functional.normalize(features, dim=1).double().numpy()
    within = np.zeros((8, 8))
    for label in range(12):
        own = rows[labels.numpy() == label]
        within += (own - own.mean(0)).T @ (own - own.mean(0)) / len(rows)
    shrunk = (within + 0.5 * np.trace(within) / 8 * np.eye(8)) / (1.5 * np.trace(within) / 8)
    np.testing.assert_allclose(matrix @ matrix @ torch.tensor(shrunk).float(), np.eye(8), atol=1e-4)
    torch.testing.assert_close(matrix, matrix.T)
    assert _found(features @ matrix, labels) > _found(features, labels) + 0.2


def _found(rows: Tensor, labels: Tensor) -> float:
    unit = torch.nn.functional.normalize(rows, dim=1)
    alike = (unit @ unit.T).fill_diagonal_(-2)
    return float((labels[alike.argmax(1)] == labels).float().mean())


def test_ridges_labels_and_scales() -> None:
    drawn = torch.Generator().manual_seed(1)
    features, labels = torch.randn(40, 6, generator=drawn), torch.arange(40) // 4
    eye = torch.eye(6)
    torch.testing.assert_close(whitening(features, labels, 1e6), eye, atol=1e-5, rtol=0)
    torch.testing.assert_close(whitening(features * 7, labels, 1), whitening(features, labels, 1))
    # without a label, or alone with it, a picture says nothing
    more = torch.cat([features, torch.randn(3, 6, generator=drawn)])
    alone = whitening(more, torch.cat([labels, torch.tensor([-1, -1, 10])]), 1)
    torch.testing.assert_close(alone, whitening(features, labels, 1))
    assert torch.equal(whitening(features, torch.arange(40), 1), eye)
    assert torch.equal(whitening(features, torch.full((40,), -1), 1), eye)
    same = whitening(features[labels * 4], labels, 1)
    assert torch.equal(same, eye)


def test_only_what_is_extracted_can_be_whitened() -> None:
    with pytest.raises(ValidationError, match="final_bn, not concat"):
        ModelRecipe(whiten=1.0, embedding="concat")


def average_precision(rows: np.ndarray, labels: np.ndarray, cameras: np.ndarray) -> np.ndarray:
    """Of each picture among the others of its camera, by sorting; NaN where nothing is right."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found = np.full(len(rows), np.nan)
    for asked in range(len(rows)):
        others = np.flatnonzero((cameras == cameras[asked]) & (np.arange(len(rows)) != asked))
        order = others[np.argsort(-(unit[others] @ unit[asked]), kind="stable")]
        at = np.flatnonzero(labels[order] == labels[asked])
        if len(at):
            found[asked] = np.mean(np.arange(1, len(at) + 1) / (at + 1))
    return found


def test_a_trial_looks_for_labels_left_out_inside_their_cameras() -> None:
    features, labels = posing()
    cameras = torch.arange(120) % 2
    tried = try_whitening(features, labels, cameras, 0.5)
    told, of, seen = features.numpy(), labels.numpy(), cameras.numpy()
    before, after = average_precision(told, of, seen), np.full(120, np.nan)
    for label in range(12):
        # 12 labels in 10 parts: two parts have two
        left = torch.where(labels % FOLDS == label % FOLDS, -1, labels)
        matrix = whitening(features, left, 0.5).numpy()
        own = of == label
        after[own] = average_precision(told @ matrix, of, seen)[own]
    old, new = (np.array([v[of == n].mean() for n in range(12)]) for v in (before, after))
    expected = 12, old.mean(), new.mean(), (new - old).std(ddof=1) / 12**0.5
    assert tried == pytest.approx(expected, abs=1e-5)
    assert tried.helps
    assert str(tried).startswith("used: ")
    # without a label, alone with it, or in a camera of one label, a picture is not looked for
    more = torch.cat([features, torch.randn(6, 8)])
    names, places = torch.tensor([-1, -1, 12, 13, 13, 13]), torch.tensor([0, 0, 0, 2, 2, 2])
    again = try_whitening(more, torch.cat([labels, names]), torch.cat([cameras, places]), 0.5)
    assert again.labels == 12


def test_labels_of_two_people_each_do_not_pass() -> None:
    """What tells these people apart is what varies inside labels, so noise would be what counts."""
    drawn = torch.Generator().manual_seed(0)
    people = torch.randn(24, 16, generator=drawn) * (torch.arange(16) < 6)
    features = people.repeat_interleave(8, 0) + 0.3 * torch.randn(192, 16, generator=drawn)
    right, camera = torch.arange(24).repeat_interleave(8), torch.zeros(192, dtype=torch.int64)
    tried = try_whitening(features, right // 2, camera, 0.5)
    assert tried.after < tried.before
    assert not tried.helps
    assert str(tried).startswith("not used: mAP")


def test_a_gain_that_may_be_chance_does_not_pass() -> None:
    assert Trial(9, 0.5, 0.6, 0.05).helps
    assert not Trial(9, 0.5, 0.6, 0.07).helps
    assert not Trial(9, 1.0, 1.0, 0.0).helps
    one = try_whitening(torch.eye(6), torch.tensor([0, 0, 1, 2, 3, 4]), torch.zeros(6), 1)
    assert one.labels == 1
    assert not one.helps
    none = try_whitening(torch.eye(6), torch.arange(6), torch.zeros(6), 1)
    assert (none.labels, none.helps) == (0, False)
    assert str(none) == "not used: no label could be looked for"


def test_whitening_is_as_exact_as_what_it_is_given() -> None:
    recipe = ModelRecipe(tower="test-tiny", size=(32, 16), whiten=1.0)
    model, images = bare_model(recipe).model.eval(), torch.rand(2, 3, 32, 16)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        rows = torch.nn.functional.normalize(model(images).final_bn, dim=1)
        torch.testing.assert_close(model.embed(images), rows, atol=1e-6, rtol=0)


@pytest.mark.parametrize("right", [True, False])
def test_a_run_writes_the_whitening_of_its_last_weights(tmp_path: Path, right: bool) -> None:
    """Of people in light that varies; labels that mean somebody else in each view gain nothing."""
    rng, people = np.random.default_rng(0), 60
    colours = rng.normal(0, 20, (people, 2, 1, 3))
    colours -= colours.mean(3, keepdims=True)
    for camera, view, person in np.ndindex(2, 4, people):
        light = 128 + rng.normal(0, 40) + rng.normal(0, 10, (32, 16, 3))
        image = np.repeat(colours[person], 16, 0) + light
        name = person if right else (person + 17 * view) % people
        file = tmp_path / f"pics/{name}/{camera}_{view}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(file), np.clip(image, 0, 255).astype(np.uint8))
    recipe = make_recipe(tmp_path / "pics", model={"whiten": 0.3})
    made: list[ReIDModel] = []

    def models(_recipe: Recipe, _data: ReIDData) -> tuple[ReIDModel, None]:
        made.append(ReIDModel(Tower(), pooling="own", whiten=True))
        return made[0], None

    train(recipe, tmp_path / "run", replace(makers(), models=models))
    folder, (model,) = tmp_path / "run/seed-0", made
    found, model.whitening = model.whitening, None
    data, how = read_data(recipe), preparation(recipe)
    plain = torch.as_tensor(embed(model, data.train, how))
    labels = train_labels(data, "cpu")
    tried = try_whitening(plain, labels.person, labels.camera, 0.3)
    assert tried.helps == right
    expected = whitening(plain, labels.person, 0.3) if right else torch.eye(plain.shape[1])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    model.whitening = found
    whitened = torch.as_tensor(embed(model, data.train, how))
    rows = torch.nn.functional.normalize(plain @ expected, dim=1)
    torch.testing.assert_close(whitened, rows, atol=1e-4, rtol=1e-4)
    # it is written, and who runs it is told
    tensors, about = read_weights(folder / "last.safetensors")
    assert torch.equal(tensors["whitening"], found)
    said = about["whitening"]
    assert said.startswith("used: " if right else "not used: ")
    assert json.loads((folder / "result.json").read_text())["whitening"] == said
    assert f"whitening {said}" in (folder / "log.txt").read_text()
