"""`captions`: its loss by a plain formula, what it asks for, and that both towers learn."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

import data_trees as trees  # noqa: E402
import method_runs as runs  # noqa: E402

from crosscam_kernels.errors import InputError  # noqa: E402
from crosscam_trainer.loop.checkpoint import read_weights  # noqa: E402
from crosscam_trainer.loop.makers import default_makers  # noqa: E402
from crosscam_trainer.loop.train import train  # noqa: E402
from crosscam_trainer.methods.captions import caption_loss  # noqa: E402
from crosscam_trainer.methods.registry import make_method  # noqa: E402
from crosscam_trainer.models.build import build_model  # noqa: E402
from crosscam_trainer.recipe import BatchRecipe, DataRecipe, Recipe  # noqa: E402

torch.set_num_threads(1)
COLOURS = ("red", "green", "blue", "white", "black", "yellow")


def _method(**options):
    return make_method(
        Recipe(
            name="captions",
            data=DataRecipe(path="nowhere"),
            method={"name": "captions", **options},
            batch=BatchRecipe(people=4, pictures=4),
        )
    )


def _captioned(pictures):
    """Give everybody a caption of their own."""

    def said(_split, sample):
        return replace(sample, caption=f"a person in {COLOURS[sample.person]}")

    pictures.data = pictures.data.mapped(said)
    return pictures


def test_caption_loss_is_the_mean_of_both_directions():
    rows = torch.randn(5, 4, dtype=torch.float64, generator=torch.manual_seed(0))
    rows.requires_grad_()
    texts = torch.randn(3, 4, dtype=torch.float64, generator=torch.manual_seed(1))
    which, factor = torch.tensor([0, 0, 1, 2, 1]), torch.tensor(5.0, dtype=torch.float64)
    unit = [r / r.norm() for r in rows], [t / t.norm() for t in texts]
    cosines = torch.stack([torch.stack([5 * (v @ t) for t in unit[1]]) for v in unit[0]])
    to_caption = sum(-cosines[i].log_softmax(0)[which[i]] for i in range(5)) / 5
    to_picture = 0.0
    for u in range(3):
        own = [i for i in range(5) if which[i] == u]
        to_picture -= sum(cosines[:, u].log_softmax(0)[i] for i in own) / len(own) / 3
    expected = (to_caption + to_picture) / 2
    found = caption_loss(rows, texts, which, factor)
    torch.testing.assert_close(found, expected)
    ours, theirs = (torch.autograd.grad(x, rows, retain_graph=True)[0] for x in (found, expected))
    torch.testing.assert_close(ours, theirs)


def test_both_towers_learn():
    run = runs.PlainRun(_captioned(runs.Pictures(people=6)))
    before, words = run.figures(), run.text.words.weight.clone()
    history = run.train(_method(epochs=8))["captions"]
    assert run.figures()[0] > before[0] + 0.1
    assert not torch.equal(run.text.words.weight, words)
    assert history[-1]["caption"] < 0.7 * history[0]["caption"]
    sentences = [f"a person in {c}" for c in COLOURS]
    tokens = run.text.tokens(sentences)
    with torch.no_grad():
        texts = run.text(run.text.embed(tokens), tokens)
        joint = run.model(run.pictures.images).joint
    said = (torch.nn.functional.normalize(joint) @ torch.nn.functional.normalize(texts).T).argmax(1)
    person = torch.tensor([p for p, _, _ in run.pictures.truth])
    assert (said == person).float().mean() > 0.8


def test_captions_are_asked_for_only_when_they_count():
    pictures = runs.Pictures()
    pictures.data = pictures.data.mapped(lambda _, sample: replace(sample, caption=None))
    run = runs.PlainRun(pictures)
    with pytest.raises(InputError, match="have no caption"):
        run.train(_method(epochs=1))
    words = run.text.words.weight.clone()
    assert "caption" not in run.train(_method(epochs=1, caption_weight=0))["captions"][0]
    assert torch.equal(run.text.words.weight, words)


def test_text_tower_is_written_and_read_again_as_first_weights(tmp_path):
    root = trees.simulated(tmp_path / "set")
    people = json.loads((root / "people.json").read_text())
    days = [{"day": 1, "caption": "somebody in a cap", "clothes": {"top": "cap"}}]
    people["people"].append({"id": 3, "days": days})
    (root / "people.json").write_text(json.dumps(people))
    names = (f"bounding_box_train/0003_c{c}s1_00045{c}_00.jpg" for c in (1, 2))
    trees.pictures(root / "crops", *names)
    recipe = {
        "name": "words",
        "data": {"path": str(root), "kind": "simulated"},
        "model": {"tower": "test-tiny", "size": [32, 16]},
        "augmentation": {"pad": 1},
        "batch": {"people": 2, "pictures": 2, "iterations": 3},
        "loop": {"device": "cpu", "workers": 0, "keep": True, "channels_last": True},
        "method": {"name": "captions", "epochs": 1, "identities": "outfits"},
    }
    recipe = Recipe.model_validate(recipe)
    makers = replace(default_makers(), evaluate=lambda *_: None)
    train(recipe, tmp_path / "run", makers)
    file = tmp_path / "run" / "seed-0" / "last.clip.safetensors"
    torch.manual_seed(1)
    first = build_model(recipe.model)
    again = build_model(recipe.model.model_copy(update={"weights": str(file)}))
    trained, _ = read_weights(tmp_path / "run" / "seed-0" / "last.safetensors")
    for name, value in again.model.state_dict().items():
        assert torch.equal(value, trained[name]), name
    words = first.text.state_dict(), again.text.state_dict()
    assert any(not torch.equal(words[0][name], words[1][name]) for name in words[0])
    assert (tmp_path / "run" / "seed-0" / "last.bundle").is_dir()
