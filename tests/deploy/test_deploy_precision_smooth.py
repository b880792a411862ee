"""Outliers moved to weights: which normalisations, the same answers, and less lost in int8."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper
from precision_parts import cosines, pictures, transformer

from crosscam_deploy.precision.observe import channel_extremes, observe, outputs
from crosscam_deploy.precision.rewriting import named
from crosscam_deploy.precision.search import search
from crosscam_deploy.precision.smooth import pairs, smoothed
from crosscam_deploy.verify.answers import Inputs

NORMS = ("0.first", "0.second", "1.first", "1.second")


@pytest.fixture
def bundle_of(tmp_path, make):
    def pack(model: onnx.ModelProto, name: str = "net"):
        file = tmp_path / f"{name}.onnx"
        onnx.save(model, file)
        return make.pack_embedder(tmp_path / name, file, name=name)

    return pack


def inputs(count: int) -> Inputs:
    batch = pictures(count)
    return Inputs(batch, (), np.tile(batch.shape[:1:-1], (count, 1)))


def test_norms_are_found_with_all_that_reads_them():
    found = {each.output: set(each.products) for each in pairs(named(transformer()))}
    assert tuple(found) == NORMS
    assert found["0.first"] == {"n-0.q.all", "n-0.k.all", "n-0.v.all"}  # behind a transposition
    assert found["1.second"] == {"n-1.wide"}


def test_norms_that_anything_else_reads_stay_as_they_are():
    model = transformer()
    nodes = {node.name: node for node in model.graph.node}
    nodes["n-0.middle"].input[0] = "0.first"  # the residual goes round the attention
    nodes["n-1.tokens"].attribute[0].ints[:] = [0, 2, 1]  # channels are the last no more
    model.graph.output.append(helper.make_empty_tensor_value_info("1.second"))
    assert [each.output for each in pairs(named(model))] == ["0.second"]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_the_answers_are_the_same_and_the_outliers_gone(alpha):
    model, batch = named(transformer(outlier=100.0)), pictures(8)
    found = pairs(model)
    before = channel_extremes(model, [each.output for each in found], batch)
    made = smoothed(model, found, before, alpha)
    onnx.checker.check_model(made, full_check=True)
    was, becomes = (outputs(each, ["embedding"], batch)[0] for each in (model, made))
    assert np.abs(was - becomes).max() < 1e-4 * np.abs(was).max()
    after = channel_extremes(made, ["0.first"], batch)["0.first"]
    spread = [np.abs(each).max() / np.median(np.abs(each)) for each in (before["0.first"], after)]
    assert spread[0] > 50
    # alpha 0 makes all weights alike, which move what is met by small ones; 1 all channels
    assert spread[1] < (1.01 if alpha == 1 else 10)


def test_every_token_of_every_picture_is_seen():
    model, batch = named(transformer()), pictures(3)
    (seen,) = observe(model, ["0.tokens"], batch).values()  # (tokens, batch, channels)
    assert seen.lowest.shape == (3,)
    assert seen.counts.sum() == 3 * 8 * 32
    extremes = channel_extremes(model, ["0.tokens"], batch)["0.tokens"]
    assert max(-seen.range[0], seen.range[1]) == pytest.approx(extremes.max())


@pytest.mark.parametrize("engine", ["cpu", "tensorrt"])
def test_it_beats_plain_int8_and_is_chosen_by_itself(bundle_of, engine):
    found = search(bundle_of(transformer(outlier=100.0)), inputs(32), engine=engine)[0]
    plain = min(loss for how, loss in found.tried.items() if "outliers" not in how)
    moved = min(loss for how, loss in found.tried.items() if "outliers" in how)
    assert moved < 0.5 * plain
    assert "outliers moved to weights" in found.words()
    assert found.loss <= 1
    was, becomes = (
        outputs(each, ["embedding"], pictures(8))[0] for each in (transformer(), found.model)
    )
    assert cosines(was, becomes).min() > 0.99


@pytest.mark.slow
def test_the_trainers_own_transformer(bundle_of, tmp_path):
    torch = pytest.importorskip("torch")
    from crosscam_deploy.export.to_onnx import export_embedder
    from crosscam_trainer.models.build import bare_model
    from crosscam_trainer.recipe import ModelRecipe

    torch.manual_seed(0)
    recipe = ModelRecipe(tower="test-tiny-vit", size=(32, 16), pooling="own", embedding="final_bn")
    model = bare_model(recipe).model.eval().requires_grad_(requires_grad=False)
    for block in model.tower.visual.transformer.resblocks:
        for norm, weights in (
            (block.ln_1, block.attn.in_proj_weight),
            (block.ln_2, block.mlp.c_fc.weight),
        ):
            norm.weight[[3, 17]] *= 100
            norm.bias[[3, 17]] += 10
            weights[:, [3, 17]] /= 100

    class Embedding(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images):
            return self.model.embed(images)

    file = tmp_path / "vit.onnx"
    export_embedder(torch, Embedding().eval(), (32, 16), file, name="vit")
    graph = onnx.load(file)
    assert [len(each.products) for each in pairs(named(graph))] == [1] * 4  # two of each block
    found = search(bundle_of(graph), inputs(32))[0]
    plain = min(loss for how, loss in found.tried.items() if "outliers" not in how)
    moved = min(loss for how, loss in found.tried.items() if "outliers" in how)
    assert moved < 0.5 * plain
    assert "outliers moved to weights" in found.words()
