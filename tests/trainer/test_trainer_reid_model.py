"""`ReIDModel`: which features there are, and that BN necks learn no shift."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from crosscam_trainer.models.reid import GeM, MaxAvg, ReIDModel  # noqa: E402
from crosscam_trainer.models.types import TowerFeatures  # noqa: E402


class Tower(torch.nn.Module):  # type: ignore[misc, name-defined]
    """As small as a tower can be."""

    previous_dim, final_dim, joint_dim = 4, 6, 5

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 6, 4, stride=4)
        self.out = torch.nn.Linear(6, 5)

    def forward(self, images: torch.Tensor, cameras: torch.Tensor | None = None) -> TowerFeatures:
        x = self.conv(images)
        pooled = x.mean((2, 3))
        return TowerFeatures(pooled[:, :4], x, pooled, self.out(pooled))


@pytest.mark.parametrize(
    ("pooling", "embedding", "dim"),
    [
        ("gem", "final_bn", 6),
        ("own", "joint_bn", 5),
        ("gem", "concat", 11),
        ("max_avg", "final_bn", 12),
        ("max_avg", "joint_bn", 5),
        ("max_avg", "concat", 17),
    ],
)
def test_embeddings_have_unit_length(pooling: Any, embedding: Any, dim: int) -> None:
    model = ReIDModel(Tower(), pooling, embedding).eval()
    found = model.embed(torch.rand(3, 3, 16, 8))
    assert found.shape == (3, model.embedding_dim) == (3, dim)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))


def test_features_and_their_gradients() -> None:
    model = ReIDModel(Tower(), pooling="gem")
    found = model(torch.rand(4, 3, 16, 8))
    assert [tuple(f.shape) for f in found] == [(4, 4), (4, 6), (4, 6), (4, 5), (4, 5)]
    sum(f.square().sum() for f in found).backward()
    assert model.pool is not None
    assert model.pool.p.grad is not None
    assert model.final_neck.bias.grad is None
    assert torch.equal(model.final_neck.bias, torch.zeros(6))


def test_gem_lies_between_mean_and_maximum() -> None:
    x = torch.rand(2, 3, 5, 4) + 0.1
    torch.testing.assert_close(GeM(p=1.0)(x), x.mean((2, 3)))
    found = GeM(p=3.0)(x)
    assert (found > x.mean((2, 3))).all()
    assert (found < x.amax((2, 3))).all()


def test_maximum_beside_mean_is_the_official_code_s() -> None:
    # Simple-CCReID: AdaptiveMaxPool2d(1) and AdaptiveAvgPool2d(1), concatenated in that order
    x = torch.randn(3, 5, 6, 4, requires_grad=True)
    weights = torch.randn(3, 10)
    pools = torch.nn.AdaptiveMaxPool2d(1), torch.nn.AdaptiveAvgPool2d(1)
    expected = torch.cat([pool(x) for pool in pools], 1).flatten(1)
    found = MaxAvg()(x)
    assert torch.equal(found[:, :5], expected[:, :5])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad((found * weights).sum(), x),
        torch.autograd.grad((expected * weights).sum(), x),
    )


def test_maximum_beside_mean_makes_longer_features_in_float32() -> None:
    model = ReIDModel(Tower(), pooling="max_avg")
    with torch.autocast("cpu", torch.bfloat16):
        found = model(torch.rand(4, 3, 16, 8))
    assert [tuple(f.shape) for f in found] == [(4, 4), (4, 12), (4, 12), (4, 5), (4, 5)]
    assert {f.dtype for f in found} == {torch.float32}
    assert (found.final[:, :6] >= found.final[:, 6:]).all()
    assert model.final_dim == len(model.final_neck.weight) == 12
    assert not list(model.pool.parameters())
