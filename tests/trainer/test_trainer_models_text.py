"""Texts and prompts: equal to open_clip's, frozen, tokens in their place, chunks change nothing."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from crosscam_kernels.errors import InputError, ShapeError  # noqa: E402
from crosscam_trainer.models.architectures import OWN, Architecture, make_clip  # noqa: E402
from crosscam_trainer.models.prompts import CLOTHES, PERSON, PromptLearner  # noqa: E402
from crosscam_trainer.models.text import ClipText, encode_texts  # noqa: E402

TEXTS = ["A man in a red coat!", "a woman with a blue bag", "!", "somebody"]


def clip_of(name="test-tiny"):
    torch.manual_seed(0)
    return make_clip(name).eval()


@pytest.fixture
def bidirectional(monkeypatch):
    """A text tower where words see those after them, as MobileCLIP's, but small."""
    config = {**OWN["test-tiny"].config, "custom_text": True}
    config["text_cfg"] = {**config["text_cfg"], "no_causal_mask": True}
    monkeypatch.setitem(OWN, "test-both-ways", Architecture(config))
    return "test-both-ways"


def check_against_open_clip(name):
    clip = clip_of(name)
    text = ClipText(clip)
    with torch.no_grad():
        expected = clip.encode_text(text.tokens(TEXTS))
    found = encode_texts(text, TEXTS, chunk=3)
    assert found.shape == (4, text.joint_dim)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["test-tiny", "test-tiny-vit", "crosscam-s"])
def test_texts_are_encoded_as_open_clip_does(name):
    check_against_open_clip(name)


def test_texts_of_towers_without_causal_mask(bidirectional):
    check_against_open_clip(bidirectional)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["RN50", "MobileCLIP2-S0", "PE-Core-T-16-384"])
def test_texts_of_published_towers(name):
    check_against_open_clip(name)


def test_the_tower_is_frozen_and_stays_in_evaluation_mode():
    text = ClipText(clip_of()).train()
    assert not text.training
    assert not any(m.training for m in text.modules())
    assert not any(p.requires_grad for p in text.parameters())


def test_long_texts_are_refused_and_not_cut():
    text = ClipText(clip_of())
    fits = " ".join(["red"] * (text.context - 2))
    assert text.tokens([fits]).ne(0).all()
    with pytest.raises(InputError, match="at most 24"):
        text.tokens([fits + " red"])


@pytest.mark.parametrize("template", [PERSON, CLOTHES, "{} seen here", "Here is {}"])
@pytest.mark.parametrize("count", [1, 4])
def test_learned_tokens_sit_on_the_placeholders(template, count):
    text = ClipText(clip_of())
    prompts = PromptLearner(text, 3, template, count=count)
    words = text.tokens([template.format(" ".join(["X"] * count))])
    placeholder = text.tokens(["X"])[0, 1]
    where = prompts.prefix.shape[1] + torch.arange(count)
    assert torch.equal((words[0] == placeholder).nonzero()[:, 0], where)
    with torch.no_grad():
        prompts.learned.copy_(text.embed(placeholder).expand_as(prompts.learned))
    expected = text(text.embed(words), words).expand(3, -1)
    torch.testing.assert_close(prompts(), expected)


def test_only_learned_tokens_are_parameters_and_start_small():
    text = ClipText(clip_of())
    prompts = PromptLearner(text, 500, generator=torch.Generator().manual_seed(1))
    assert [name for name, _ in prompts.named_parameters()] == ["learned"]
    assert list(prompts.state_dict()) == ["learned"]
    assert prompts.learned.shape == (500, 4, text.width)
    assert prompts.learned.std().item() == pytest.approx(0.02, rel=0.02)
    again = PromptLearner(text, 500, generator=torch.Generator().manual_seed(1))
    assert torch.equal(prompts.learned, again.learned)


def test_chunks_change_neither_prompts_nor_gradients():
    prompts = PromptLearner(ClipText(clip_of()), 7)
    gradients = []
    for encode in (prompts, lambda: prompts.encode_all(chunk=3)):
        prompts.learned.grad = None
        found = encode()
        found.sin().sum().backward()
        gradients.append((found.detach(), prompts.learned.grad.clone()))
    (whole, g1), (parts, g2) = gradients
    torch.testing.assert_close(whole, parts)
    torch.testing.assert_close(g1, g2, rtol=1e-4, atol=1e-4 * g1.abs().max().item())
    assert g1.flatten(1).norm(dim=1).min() > 0


def test_only_prompts_of_the_labels_learn():
    prompts = PromptLearner(ClipText(clip_of()), 5)
    found = prompts(torch.tensor([3, 1, 3]))
    assert torch.equal(found[0], found[2])
    found.sin().sum().backward()
    assert prompts.learned.grad.flatten(1).any(1).tolist() == [False, True, False, True, False]


def test_wrong_prompts_are_refused():
    text = ClipText(clip_of())
    for template in ("A photo.", "{} {}", "A photo of{} clothes"):
        with pytest.raises(InputError, match="template"):
            PromptLearner(text, 2, template)
    with pytest.raises(InputError, match="at least one"):
        PromptLearner(text, 0)
    with pytest.raises(ShapeError):
        PromptLearner(text, 2)(torch.tensor([0.5]))
    with pytest.raises(ShapeError):
        text(torch.zeros(1, 4, 3), torch.zeros(1, 4, dtype=torch.int64))
    with pytest.raises(InputError, match="no texts"):
        encode_texts(text, [])


def test_prompts_learn():
    torch.manual_seed(0)
    prompts = PromptLearner(ClipText(clip_of()), 4)
    target = torch.randn(4, 32)
    optimiser = torch.optim.Adam(prompts.parameters(), 0.05)
    losses = []
    for _ in range(30):
        loss = (1 - torch.cosine_similarity(prompts(), target)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3
