"""The camera-adversarial losses on tensors: gradients, opcheck, compilation, dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from crosscam_kernels import camera_adversarial_loss, camera_classifier_loss  # noqa: E402
from crosscam_kernels.errors import ShapeError  # noqa: E402
from crosscam_kernels.reference import camera_adversarial as reference  # noqa: E402

SWITCHES: list[dict[str, Any]] = [
    {},
    {"margin": 0.7, "same_camera_boost": 0.2, "epsilon": 1.0},
    {"linked": "ignore", "temperature": 0.5, "reduction": "sum"},
]


def problem(n: int = 7, g: int = 11, d: int = 5, dtype: Any = None) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(n + g)
    labels = torch.randint(0, g, (n,), generator=generator)
    labels[0] = -1
    dtype = dtype or torch.float64
    return {
        "features": torch.randn(n, d, generator=generator, dtype=torch.float64).to(dtype),
        "classifier": torch.randn(g, d, generator=generator, dtype=torch.float64).to(dtype),
        "labels": labels,
        "class_group": torch.randint(-1, 4, (g,), generator=generator),
        "class_camera": torch.randint(0, 3, (g,), generator=generator),
    }


@pytest.mark.parametrize("how", SWITCHES)
@pytest.mark.parametrize("cameras", [True, False])
def test_gradcheck_of_the_adversary(how: dict[str, Any], cameras: bool) -> None:
    arrays = problem()
    if not cameras:
        arrays["class_camera"] = None
    features = arrays.pop("features").requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: camera_adversarial_loss(x, **arrays, **how), (features,)
    )


@pytest.mark.parametrize("how", [{}, {"margin": 0.5, "reduction": "sum"}, {"reduction": "none"}])
def test_gradcheck_of_the_classifier(how: dict[str, Any]) -> None:
    arrays = problem()
    classifier = arrays["classifier"].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda w: camera_classifier_loss(arrays["features"], w, arrays["labels"], **how),
        (classifier,),
    )


@pytest.mark.parametrize("how", SWITCHES)
def test_float64_is_the_specification(how: dict[str, Any]) -> None:
    arrays = problem(40, 60, 9)
    features = arrays["features"].requires_grad_()
    wanted = reference.camera_adversarial_loss(
        **arrays, **{k: v for k, v in how.items() if k != "reduction"}
    )
    (expected,) = torch.autograd.grad(wanted.sum(), features)
    found = camera_adversarial_loss(**arrays, **(how | {"reduction": "none"}))
    assert torch.allclose(found, wanted)
    (gradient,) = torch.autograd.grad(found.sum(), features)
    assert torch.allclose(gradient, expected)


def test_each_step_trains_its_own_side() -> None:
    arrays = problem(20, 30, 6, torch.float32)
    for name in ("features", "classifier"):
        arrays[name].requires_grad_()
    camera_adversarial_loss(**arrays).backward()
    assert arrays["classifier"].grad is None
    assert arrays["features"].grad.abs().sum() > 0
    arrays["features"].grad = None
    camera_classifier_loss(arrays["features"], arrays["classifier"], arrays["labels"]).backward()
    assert arrays["features"].grad is None
    assert arrays["classifier"].grad.abs().sum() > 0


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_tensors_give_what_arrays_give(reduction: Any) -> None:
    arrays = problem(70, 90, 12, torch.float32)
    plain = {name: value.numpy() for name, value in arrays.items()}
    expected = camera_adversarial_loss(**plain, reduction=reduction)
    features = arrays["features"].clone().requires_grad_()
    found = camera_adversarial_loss(**(arrays | {"features": features}), reduction=reduction)
    found.sum().backward()
    np.testing.assert_allclose(found.detach().numpy(), expected.loss, rtol=1e-6)
    np.testing.assert_allclose(features.grad.numpy(), expected.gradient, rtol=1e-6)
    three = [plain[name] for name in ("features", "classifier", "labels")]
    wanted = camera_classifier_loss(*three, reduction=reduction)
    classifier = arrays["classifier"].clone().requires_grad_()
    gid = camera_classifier_loss(
        arrays["features"], classifier, arrays["labels"], reduction=reduction
    )
    gid.sum().backward()
    np.testing.assert_allclose(gid.detach().numpy(), wanted.loss, rtol=1e-6)
    np.testing.assert_allclose(classifier.grad.numpy(), wanted.gradient, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype: Any) -> None:
    arrays = problem(30, 50, 300, dtype)
    features = arrays["features"].requires_grad_()
    found = camera_adversarial_loss(**arrays)
    assert found.dtype == torch.float32
    found.backward()
    assert features.grad.dtype == dtype
    arrays["features"] = features.detach().double().requires_grad_()
    arrays["classifier"] = arrays["classifier"].double()
    exact = camera_adversarial_loss(**arrays)
    exact.backward()
    assert found.item() == pytest.approx(exact.item(), rel=1e-5)
    error = (features.grad.double() - arrays["features"].grad).abs().max()
    assert error < 8e-3 * arrays["features"].grad.abs().max()


def test_without_a_gradient_none_is_made() -> None:
    arrays = problem(8, 9, 4, torch.float32)
    assert not camera_adversarial_loss(**arrays).requires_grad
    arrays["features"].requires_grad_()
    with torch.no_grad():
        assert not camera_adversarial_loss(**arrays).requires_grad


def test_opcheck() -> None:
    arrays = problem(6, 9, 4, torch.float32)
    for group, camera, want in ((True, True, True), (True, False, False), (False, False, True)):
        torch.library.opcheck(
            torch.ops.crosscam.camera_adversarial.default,
            (
                arrays["features"].clone().requires_grad_(want),
                arrays["classifier"],
                arrays["labels"],
                arrays["class_group"] if group else None,
                arrays["class_camera"] if camera else None,
                0.8,
                16.0,
                0.2,
                0.1,
                False,
                want,
                0,
            ),
        )
    classifier = arrays["classifier"].clone().requires_grad_()
    torch.library.opcheck(
        torch.ops.crosscam.camera_classifier.default,
        (arrays["features"], classifier, arrays["labels"], 16.0, 0.0, 0),
    )


def test_compiles_without_a_graph_break() -> None:
    arrays = problem(12, 20, 6, torch.float32)

    def step(features: Any, classifier: Any) -> Any:
        others = [arrays[name] for name in ("labels", "class_group", "class_camera")]
        gid = camera_classifier_loss(features, classifier, arrays["labels"])
        return gid + camera_adversarial_loss(features * 2, classifier, *others, margin=0.3)

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    gradients = []
    for function in (step, compiled):
        features, classifier = (arrays[n].clone() for n in ("features", "classifier"))
        loss = function(features.requires_grad_(), classifier.requires_grad_())
        loss.backward()
        gradients.append((loss.detach(), features.grad, classifier.grad))
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": torch.zeros(7, 5, dtype=torch.int32)}, "features are torch.int32"),
        ({"classifier": torch.zeros(11, 4)}, "the classifier is"),
        ({"classifier": np.zeros((11, 5))}, "the classifier is"),
        ({"labels": torch.zeros(7)}, "labels is"),
        ({"class_group": torch.zeros(3, dtype=torch.int64)}, "class_group is"),
        ({"class_camera": np.zeros(11, int)}, "class_camera is"),
    ],
)
def test_wrong_calls(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        camera_adversarial_loss(**(problem() | arguments))
