"""Cost of a training step: counted on paper, and as torch keeps it for a whole batch."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from crosscam_trainer.models.build import build_model  # noqa: E402
from crosscam_trainer.models.cost import step_cost  # noqa: E402
from crosscam_trainer.models.reid import ReIDModel  # noqa: E402
from crosscam_trainer.models.types import TowerFeatures  # noqa: E402
from crosscam_trainer.recipe import ModelRecipe  # noqa: E402


class Linear(torch.nn.Module):
    """A tower that can be counted by hand: one product of `3 * 8 * 4` by 5."""

    previous_dim, final_dim, joint_dim = 5, 5, 5

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(96, 5))

    def forward(self, images, cameras=None):
        x = images.flatten(1) @ self.weight
        return TowerFeatures(x, x[:, :, None, None], x, x)


def test_products_and_parameters_are_those_on_paper():
    found = step_cost(ReIDModel(Linear(), "own"), (8, 4), 10)
    necks = 2 * 2 * 5
    assert found.parameters == 96 * 5 + necks
    assert found.trained == 96 * 5 + necks - 2 * 5
    assert found.forward_flops == 2 * 96 * 5
    assert found.flops == 2 * (10 * 2 * 96 * 5)  # backward: the gradient of the weights only
    assert found.weight_bytes == 4 * (found.parameters + 3 * found.trained)
    assert found.memory_bytes == found.weight_bytes + found.activation_bytes


@pytest.mark.parametrize(
    ("name", "pooling"),
    [("test-tiny", "gem"), ("test-tiny", "max_avg"), ("test-tiny-vit", "gem")],
)
def test_a_batch_keeps_what_was_extended_from_small_ones(name, pooling):
    model = build_model(ModelRecipe(tower=name, size=(64, 32), pooling=pooling)).model
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = step_cost(model, (64, 32), 12)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features = model(torch.randn(12, 3, 64, 32))
    expected = sum(s.nbytes() for address, s in kept.items() if address not in own)
    assert features.final.shape[0] == 12
    assert found.activation_bytes == pytest.approx(expected, rel=0.02)


def test_mixed_precision_and_plain_sgd_need_less():
    model = build_model(ModelRecipe(tower="test-tiny", size=(64, 32))).model
    exact = step_cost(model, (64, 32), 64)
    mixed = step_cost(model, (64, 32), 64, amp=True)
    assert mixed.activation_bytes < exact.activation_bytes
    assert mixed.flops == exact.flops
    plain = step_cost(model, (64, 32), 64, optimiser="sgd")
    assert exact.weight_bytes - plain.weight_bytes == 4 * exact.trained
