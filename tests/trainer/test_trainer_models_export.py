"""Models into bundles: the same numbers in ONNX Runtime, and from pictures on in the edge."""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from crosscam_deploy.bundle import load_bundle  # noqa: E402
from crosscam_deploy.runtime.open import open_runtime  # noqa: E402
from crosscam_edge.embed.model import ModelEmbedder  # noqa: E402
from crosscam_kernels.errors import InputError, RunError  # noqa: E402
from crosscam_trainer.data.transforms import Preparation, for_test  # noqa: E402
from crosscam_trainer.models import export as export_module  # noqa: E402
from crosscam_trainer.models.build import build_model  # noqa: E402
from crosscam_trainer.models.export import export_bundle  # noqa: E402
from crosscam_trainer.recipe import ModelRecipe  # noqa: E402

FIELDS = {
    "name": "tiny",
    "licence": "Apache-2.0",
    "source": "crosscam",
    "training": "random weights",
}


def trained(**values):
    """A model whose BN statistics and weights are not those of the start."""
    torch.manual_seed(0)
    built = build_model(ModelRecipe(**{"tower": "test-tiny", "size": (64, 32), **values}))
    model = built.model
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.01)
    for _ in range(3):
        features = model(torch.randn(8, 3, *values.get("size", (64, 32))))
        optimiser.zero_grad()
        features.final_bn.sin().mean().backward()
        optimiser.step()
    if model.whitening is not None:
        model.whitening.normal_()
    return model, built.preparation


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"pooling": "max_avg"},
        {"whiten": 1.0},
        pytest.param(
            {"tower": "test-tiny-vit", "pooling": "own", "embedding": "concat", "stride": 6},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"tower": "crosscam-s", "size": (128, 64), "embedding": "joint_bn"},
            marks=pytest.mark.slow,
        ),
        pytest.param({"tower": "MobileCLIP2-S0", "size": (128, 64)}, marks=pytest.mark.slow),
        pytest.param({"tower": "PE-Core-T-16-384", "pooling": "own"}, marks=pytest.mark.slow),
        pytest.param({"tower": "RN50", "size": (128, 64)}, marks=pytest.mark.slow),
    ],
)
def test_the_edge_computes_the_model(tmp_path, values):
    model, preparation = trained(**values)
    before = copy.deepcopy(model.state_dict())
    accuracy = {"mAP": 0.5}
    found = export_bundle(model, preparation, tmp_path / "b", accuracy=accuracy, **FIELDS)
    assert found.graph_error < 1e-5
    assert found.picture_cosine > 0.999
    assert found.picture_share < 0.2
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())

    bundle = load_bundle(tmp_path / "b")
    said = bundle.manifest
    assert (said.licence, said.source, said.training) == (
        "Apache-2.0",
        "crosscam",
        FIELDS["training"],
    )
    assert said.accuracy == accuracy
    assert said.embedding_dim == model.embedding_dim
    assert said.dynamic_batch
    prep = said.preprocessing
    assert (prep.height, prep.width) == preparation.size
    assert (prep.mean, prep.std) == (preparation.mean, preparation.std)
    assert (prep.filter, prep.fit, prep.color) == ("bilinear_antialias", "stretch", "rgb")

    rng = np.random.default_rng(5)
    image = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    boxes = np.array([[0, 0, 120, 200], [100, 20, 220, 230], [200, 0, 320, 240]], np.float32)
    runtime = open_runtime(bundle, runtime="onnxruntime", precision="f32")
    rows = ModelEmbedder(runtime).embed(image, boxes)
    runtime.close()
    crops = [
        for_test(preparation)(np.ascontiguousarray(image[y1:y2, x1:x2, ::-1]))[0]
        for x1, y1, x2, y2 in boxes.astype(int)
    ]
    with torch.no_grad():
        expected = model.eval().embed(torch.stack(crops)).numpy()
    assert (rows * expected).sum(1).min() > 0.999


@pytest.mark.slow
def test_bicubic_training_is_said(tmp_path):
    model, preparation = trained(interpolation="bicubic")
    found = export_bundle(model, preparation, tmp_path / "b", **FIELDS)
    assert "bicubic" in found.bundle.manifest.training
    assert found.picture_error > found.graph_error


@pytest.mark.slow
def test_camera_embeddings_leave_as_their_mean(tmp_path):
    torch.manual_seed(0)
    options = {"tower": "test-tiny-vit", "size": (32, 16), "camera_embedding": 2.0}
    model, _, preparation = build_model(ModelRecipe(pooling="own", **options), cameras=3)
    assert export_bundle(model, preparation, tmp_path / "b", **FIELDS).graph_error < 1e-5


def test_a_graph_or_a_preparation_that_differs_is_refused(tmp_path, monkeypatch):
    model, preparation = trained()
    monkeypatch.setattr(export_module, "_graph_error", lambda *_: float("nan"))
    with pytest.raises(RunError, match="differs from the model"):
        export_bundle(model, preparation, tmp_path / "b", **FIELDS)
    monkeypatch.undo()
    real = export_module.for_test
    wrong = Preparation(preparation.size, "bilinear", (0.9, 0.1, 0.5), (0.05, 0.5, 0.9))
    monkeypatch.setattr(export_module, "for_test", lambda _preparation: real(wrong))
    with pytest.raises(RunError, match="pre-processing"):
        export_bundle(model, preparation, tmp_path / "b", **FIELDS)
    assert not (tmp_path / "b").exists()
    monkeypatch.undo()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").write_text("else")
    with pytest.raises(InputError):
        export_bundle(model, preparation, tmp_path / "full", **FIELDS)
