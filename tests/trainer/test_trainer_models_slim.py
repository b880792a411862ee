"""Slim checkpoints: what is kept is kept, what was left out says nothing, damage is refused."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from crosscam_kernels.errors import InputError  # noqa: E402
from crosscam_trainer.models import weights as weights_module  # noqa: E402
from crosscam_trainer.models.build import bare_model, build_model  # noqa: E402
from crosscam_trainer.models.checkpoint import save_model  # noqa: E402
from crosscam_trainer.models.slim import ROWS, TABLE, expand, used_tokens, write_slim  # noqa: E402
from crosscam_trainer.models.text import encode_texts  # noqa: E402
from crosscam_trainer.recipe import ModelRecipe  # noqa: E402

TEXTS = ["A man in a red coat.", "a woman with a blue bag"]
RECIPE = ModelRecipe(tower="test-tiny", size=(64, 32))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A model with its checkpoint."""
    torch.manual_seed(0)
    built = bare_model(RECIPE)
    built.model.eval()
    file = tmp_path_factory.mktemp("whole") / "whole.safetensors"
    save_model(file, built.model, built.text, RECIPE.tower)
    return built, weights_module.read_checkpoint(file)


@pytest.fixture
def packaged(tmp_path, monkeypatch, whole):
    """Slim weights as they come with crosscam."""
    built, checkpoint = whole
    file = tmp_path / "own.clip.safetensors"
    write_slim(file, checkpoint, used_tokens(built.text, TEXTS))
    monkeypatch.setattr(weights_module, "packaged_dir", lambda: tmp_path)
    return file


def test_a_slim_checkpoint_answers_as_the_whole_one(packaged, whole):
    built, checkpoint = whole
    again = build_model(RECIPE.model_copy(update={"weights": "own"}))
    images = torch.randn(4, 3, 64, 32)
    with torch.no_grad():
        one, other = (m.eval().embed(images) for m in (built.model, again.model))
    assert torch.nn.functional.cosine_similarity(one, other).min() > 0.9999
    before, after = encode_texts(built.text, TEXTS), encode_texts(again.text, TEXTS)
    assert torch.nn.functional.cosine_similarity(before, after).min() > 0.9999
    whole_size = sum(t.nbytes for t in checkpoint.tensors.values())
    assert packaged.stat().st_size < whole_size / 5


def test_words_that_were_left_out_are_the_mean_of_the_others(packaged, whole):
    built, checkpoint = whole
    slim = weights_module.read_checkpoint(packaged)
    kept = used_tokens(built.text, TEXTS)
    assert torch.equal(slim.tensors[ROWS], kept)
    table = expand(slim, "slim").tensors[TABLE]
    assert table.shape == checkpoint.tensors[TABLE].shape
    rows = checkpoint.tensors[TABLE][kept.long()]
    torch.testing.assert_close(table[kept.long()], rows, rtol=1e-3, atol=1e-6)
    left_out = built.text.tokens(["zebra"])[0, 1]
    assert left_out not in kept
    torch.testing.assert_close(table[left_out], rows.mean(0), rtol=1e-2, atol=1e-4)


def test_any_other_checkpoint_stays_as_it_is(whole):
    assert expand(whole[1], "x") is whole[1]


@pytest.mark.parametrize("what", ["beyond", "negative", "fewer", "none", "size", "huge"])
def test_damaged_tables_are_refused(packaged, what):
    slim = weights_module.read_checkpoint(packaged)
    tensors, facts = dict(slim.tensors), dict(slim.facts)
    if what == "beyond":
        tensors[ROWS] = tensors[ROWS] + int(facts["vocabulary"])
    elif what == "negative":
        tensors[ROWS] = tensors[ROWS] - 1000
    elif what == "fewer":
        tensors[ROWS] = tensors[ROWS][1:]
    elif what == "none":
        tensors[ROWS], tensors[TABLE] = tensors[ROWS][:0], tensors[TABLE][:0]
    elif what == "size":
        facts["vocabulary"] = "many"
    else:
        facts["vocabulary"] = str(1 << 40)
    with pytest.raises(InputError, match="damaged table"):
        expand(slim._replace(tensors=tensors, facts=facts), "slim")


def test_weights_that_came_with_crosscam_are_checked(packaged):
    found = weights_module.find_weights("test-tiny", "own")
    assert found.path == packaged
    assert found.source == "own, with crosscam"
    with packaged.open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="install crosscam again"):
        weights_module.find_weights("test-tiny", "own")
    packaged.unlink()
    with pytest.raises(InputError, match="no file"):
        weights_module.find_weights("test-tiny", "own")


def test_an_unknown_name_tells_what_there_is(packaged):
    with pytest.raises(InputError, match="own"):
        weights_module.find_weights("test-tiny", "owl")


def test_a_checkpoint_without_words_cannot_be_slim(tmp_path, whole):
    tensors = {k: v for k, v in whole[1].tensors.items() if not k.startswith("text.")}
    with pytest.raises(InputError, match="no text tower"):
        write_slim(tmp_path / "w.clip.safetensors", whole[1]._replace(tensors=tensors), None)
