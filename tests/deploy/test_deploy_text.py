"""Text towers: the words of CLIP, and bundles that have one."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from crosscam_deploy.building import find_target, make_plan
from crosscam_deploy.building.graphs import make_graphs
from crosscam_deploy.text_tower import GRAPH, MERGES, TextTower, has_text
from crosscam_deploy.words import Words
from crosscam_kernels.errors import InputError

open_clip = pytest.importorskip("open_clip", reason="needs the extra 'train'")

TEXTS = [
    "a red coat and a black bag", "", "  Two\tspaces\n and A LINE ", "it's theirs; they'll stay",
    "naïve façade, 3 Straßenbahnen № 42!", "日本語 と кириллица", "a_b <b>&amp;amp;</b> x",
    "antidisestablishmentarianism 12345", "👩‍🦰 🙂", "aaaa abab ababab mississippi",
    "it's don't I'D we're",
]  # fmt: skip


@pytest.fixture(scope="module")
def words():
    return Words(open_clip.tokenizer.default_bpe(), 77)


def test_texts_are_read_as_clip_reads_them(words):
    expected = open_clip.SimpleTokenizer(context_length=77)(TEXTS).tolist()
    assert [words.numbers(text) for text in TEXTS] == expected


def test_long_texts_are_refused(words):
    assert words.numbers("person " * 75)[-1] == words.numbers("")[1]
    with pytest.raises(InputError, match="76 tokens"):
        words.numbers("person " * 76)


def test_other_files_are_no_merges(tmp_path):
    path = tmp_path / "m.gz"
    for content in (b"", b"no gzip", gzip.compress(b"a b\n" * 10), gzip.compress(b"\xff" * 10)):
        path.write_bytes(content)
        with pytest.raises(InputError, match="no merges"):
            Words(path, 77)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_clip_bundle_finds_pictures_by_words(tmp_path):
    """Random weights: the text tower of the bundle answers as the model that it was made of."""
    import torch

    from crosscam_deploy.export import open_clip as export

    torch.manual_seed(0)
    made, create = [], open_clip.create_model

    def kept(*names, **settings):
        made.append(create(*names, **settings))
        return made[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            open_clip, "create_model", lambda *a, **k: made.append(create(*a, **k)) or made[0]
        )
        bundle = export.export_open_clip("ViT-S-32-alt/random", tmp_path / "b")
    assert has_text(bundle)
    tower = TextTower(bundle)
    text = "a woman in a green dress"
    with torch.inference_mode():
        tokens = open_clip.get_tokenizer("ViT-S-32-alt")([text])
        expected = made[0].eval().encode_text(tokens, normalize=True)[0].numpy()
    np.testing.assert_allclose(tower.embed(text), expected, atol=1e-3)
    assert abs(float(tower.embed(text) @ tower.embed("x"))) < 0.999
    plan = make_plan(bundle, find_target("cpu"), ("f16",))
    (half,) = make_graphs(plan, [], tmp_path, lambda *_: None)
    np.testing.assert_array_equal(TextTower(half.bundle).embed(text), tower.embed(text))
    (bundle.path / GRAPH).unlink()  # it is the same file, linked
    (bundle.path / GRAPH).write_bytes(b"damaged")
    with pytest.raises(InputError):
        TextTower(bundle)
    assert {GRAPH, MERGES} <= set(bundle.manifest.files)
