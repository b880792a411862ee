"""`build_model` and its weights: found, checked, fitted, refused."""

from __future__ import annotations

import hashlib
import pickle

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from crosscam_kernels.errors import InputError, RunError  # noqa: E402
from crosscam_trainer.models import build as build_module  # noqa: E402
from crosscam_trainer.models import weights as weights_module  # noqa: E402
from crosscam_trainer.models.architectures import make_clip  # noqa: E402
from crosscam_trainer.models.build import build_model, count_parameters  # noqa: E402
from crosscam_trainer.models.checkpoint import save_model  # noqa: E402
from crosscam_trainer.models.text import encode_texts  # noqa: E402
from crosscam_trainer.recipe import ModelRecipe  # noqa: E402

SIZE = (64, 32)


def recipe(**values):
    return ModelRecipe(**{"tower": "test-tiny", "size": SIZE, **values})


def published(path, name="test-tiny", seed=3, **options):
    """Write a checkpoint as open_clip's authors publish them: square, with temperature."""
    torch.manual_seed(seed)
    clip = make_clip(name, **options).eval()
    save_file({k: v.contiguous() for k, v in clip.state_dict().items()}, path)
    return clip


def test_random_model_follows_the_seed():
    built = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        built.append(build_model(recipe()))
    first, same, other = (next(iter(b.model.parameters())) for b in built)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    model, text, preparation = built[0]
    assert text.joint_dim == model.joint_dim
    assert preparation.size == SIZE
    assert model.training
    assert count_parameters(text, trained=True) == 0
    assert count_parameters(model) > count_parameters(model, trained=True) > 0


@pytest.mark.parametrize("kept", [False, True])
def test_statistics_of_the_tower_can_be_kept(tmp_path, kept):
    """Learning goes on by the batch's own statistics, and the necks count theirs."""
    published(tmp_path / "w.safetensors")
    weights = str(tmp_path / "w.safetensors")
    model = build_model(recipe(weights=weights, keep_statistics=kept)).model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.randn(4, 3, *SIZE, generator=torch.Generator().manual_seed(0)) * 3 + 1
    model(images).final_bn.square().sum().backward()
    moved = {
        name
        for name, value in model.state_dict().items()
        if "running" in name and not torch.equal(value, before[name])
    }
    assert any(name.startswith("tower.") for name in moved) is not kept
    assert any(name.startswith("final_neck.") for name in moved)
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.tower.parameters())


def test_random_weights_have_no_statistics_to_keep():
    model = build_model(recipe(keep_statistics=True)).model.train()
    before = {name: value.clone() for name, value in model.tower.state_dict().items()}
    model(torch.randn(4, 3, *SIZE) + 1)
    assert any(not torch.equal(v, before[k]) for k, v in model.tower.state_dict().items())


@pytest.mark.parametrize("name", ["test-tiny", "test-tiny-vit", "crosscam-s"])
def test_published_weights_compute_the_same_at_their_size(tmp_path, name):
    clip = published(tmp_path / "w.safetensors", name)
    side = {"test-tiny": 64, "test-tiny-vit": 32, "crosscam-s": 128}[name]
    built = build_model(
        recipe(
            tower=name,
            size=(side, side),
            weights=str(tmp_path / "w.safetensors"),
            stride=8 if "vit" in name else 32,
        )
    )
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        found = built.model.eval().tower(images).joint
        torch.testing.assert_close(found, clip.encode_image(images))
        tokens = built.text.tokens(["red"])
        torch.testing.assert_close(encode_texts(built.text, ["red"]), clip.encode_text(tokens))


def test_positions_are_resized_to_the_grid_of_pictures(tmp_path):
    clip = published(tmp_path / "w.safetensors", "test-tiny-vit")
    with torch.no_grad():  # a slope from top to bottom stays one
        slope = torch.linspace(-1, 1, 4).repeat_interleave(4)
        clip.visual.positional_embedding[1:] = slope[:, None]
    save_file({k: v.contiguous() for k, v in clip.state_dict().items()}, tmp_path / "s.safetensors")
    built = build_model(
        recipe(tower="test-tiny-vit", weights=str(tmp_path / "s.safetensors"), size=(64, 32))
    )
    positions = built.model.tower.visual.positional_embedding
    assert torch.equal(positions[0], clip.visual.positional_embedding[0])
    rows = positions[1:].reshape(8, 4, -1)
    assert (rows[1:] - rows[:-1]).min() > 0
    torch.testing.assert_close(rows, rows[:, :1, :1].expand_as(rows))


def test_own_checkpoints_come_back_whole(tmp_path):
    torch.manual_seed(0)
    model, text, _ = build_model(recipe())
    with torch.no_grad():
        model.pool.p.fill_(4.5)
    for _ in range(2):
        model(torch.randn(4, 3, *SIZE))
    save_model(tmp_path / "m.safetensors", model, text, "test-tiny")
    again = build_model(recipe(weights=str(tmp_path / "m.safetensors")))
    for (name, a), (other, b) in zip(
        model.state_dict().items(), again.model.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(a, b)
    torch.testing.assert_close(encode_texts(again.text, ["red"]), encode_texts(text, ["red"]))
    wider = build_model(recipe(weights=str(tmp_path / "m.safetensors"), size=(128, 64)))
    assert wider.model.tower.grid == (8, 4)


def test_necks_of_another_pooling_are_refused(tmp_path):
    model, text, _ = build_model(recipe())
    save_model(tmp_path / "m.safetensors", model, text, "test-tiny")
    with pytest.raises(
        InputError, match=r"final_neck\.weight is \(256,\) instead of \(512,\)"
    ) as told:
        build_model(recipe(weights=str(tmp_path / "m.safetensors"), pooling="max_avg"))
    assert "model.pooling" in str(told.value)


def test_sigmoid_gelu_is_remembered(tmp_path, monkeypatch):
    file = tmp_path / "RN50-openai.safetensors"
    published(file, "test-tiny-vit", quick_gelu=True)
    own = recipe(tower="test-tiny-vit", size=(32, 16))
    monkeypatch.setattr(
        build_module,
        "find_weights",
        lambda *_: weights_module.Weights(file, "0" * 64, "as from the hub", quick_gelu=True),
    )
    model, text, _ = build_model(own.model_copy(update={"weights": "hub"}))
    monkeypatch.undo()
    save_model(tmp_path / "own.safetensors", model, text, "test-tiny-vit")
    facts = weights_module.read_checkpoint(tmp_path / "own.safetensors").facts
    assert facts == {"tower": "test-tiny-vit", "grid": "4x2", "quick_gelu": "true"}
    again = build_model(own.model_copy(update={"weights": str(tmp_path / "own.safetensors")}))
    images = torch.randn(2, 3, 32, 16)
    torch.testing.assert_close(again.model.eval().embed(images), model.eval().embed(images))


def test_weights_in_the_folder_of_models(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSCAM_MODELS", str(tmp_path))
    published(tmp_path / "mine.safetensors")
    found = weights_module.find_weights("test-tiny", "mine.safetensors")
    assert found.sha256 == hashlib.sha256(found.path.read_bytes()).hexdigest()
    (tmp_path / "RN50-openai.safetensors").write_bytes(b"x")
    found = weights_module.find_weights("RN50", "hub")
    assert found.path == tmp_path / "RN50-openai.safetensors"
    assert found.quick_gelu
    assert not weights_module.find_weights("RN50", str(tmp_path / "mine.safetensors")).quick_gelu


def test_another_hash_is_refused(tmp_path):
    published(tmp_path / "w.safetensors")
    path = str(tmp_path / "w.safetensors")
    right = hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()
    build_model(recipe(weights=path, weights_sha256=right))
    with pytest.raises(InputError, match="has sha256"):
        build_model(recipe(weights=path, weights_sha256="0" * 64))


class Trap:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code of a checkpoint ran')",))


def test_checkpoints_that_would_run_code_are_refused(tmp_path):
    torch.save({"state_dict": {"visual.conv1.weight": Trap()}}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Trap(), protocol=2))
    (tmp_path / "c.safetensors").write_bytes(b"\x00" * 64)
    torch.save({"epoch": 3}, tmp_path / "d.pt")
    for name in ("a.pt", "b.pt", "c.safetensors", "d.pt"):
        with pytest.raises(InputError):
            build_model(recipe(weights=str(tmp_path / name)))


def test_state_dicts_of_torch_are_read(tmp_path):
    clip = published(tmp_path / "w.safetensors")
    state = {f"module.{k}": v for k, v in clip.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "w.pt")
    found = build_model(recipe(weights=str(tmp_path / "w.pt"))).model.tower.visual.conv1.weight
    assert torch.equal(found, clip.visual.conv1.weight)


def test_weights_of_another_tower_are_refused(tmp_path):
    published(tmp_path / "w.safetensors", "test-tiny-vit")
    with pytest.raises(InputError, match="does not fit"):
        build_model(recipe(weights=str(tmp_path / "w.safetensors")))
    save_file({"head.weight": torch.zeros(2)}, tmp_path / "n.safetensors")
    with pytest.raises(InputError, match="no image tower"):
        build_model(recipe(weights=str(tmp_path / "n.safetensors")))


def test_missing_weights_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSCAM_MODELS", str(tmp_path))
    monkeypatch.setenv("CROSSCAM_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="no weights at"):
        build_model(recipe(weights="nowhere.safetensors"))
    with pytest.raises(InputError, match="the hub has none for test-tiny"):
        build_model(recipe(weights="hub"))
    with pytest.raises(InputError, match="openai"):
        build_model(ModelRecipe(tower="RN50", weights="hub:nothing"))
    # nobody listens on port 9: as without a connection
    monkeypatch.setattr(weights_module, "HUB", "http://127.0.0.1:9/{}")
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    with pytest.raises(RunError, match=r"put it into a folder and set CROSSCAM_MODELS") as caught:
        build_model(ModelRecipe(tower="RN50", weights="hub"))
    assert "RN50-openai.safetensors" in str(caught.value)
