"""camera_adversarial_loss and camera_classifier_loss of arrays against their specification."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from crosscam_kernels import (  # noqa: E402
    camera_adversarial_loss,
    camera_classifier_loss,
    simd_levels,
)
from crosscam_kernels.errors import InputError, ShapeError, UsageError  # noqa: E402
from crosscam_kernels.reference import camera_adversarial as reference  # noqa: E402

SWITCHES: list[dict[str, Any]] = [
    {},
    {"epsilon": 0.0},
    {"epsilon": 1.0, "linked": "ignore"},
    {"margin": 0.7, "same_camera_boost": 0.2},
    {"margin": 3.0, "temperature": 0.01, "linked": "ignore", "same_camera_boost": -0.1},
    {"temperature": 3.0, "epsilon": 0.1},
]


@pytest.fixture(params=simd_levels())
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CROSSCAM_SIMD", request.param)
    return str(request.param)


def problem(n: int, g: int, d: int, seed: int = 0, people: int = 0) -> dict[str, Any]:
    """Classes of several cameras in groups, some alone, some of a camera twice in a group."""
    rng = np.random.default_rng(seed)
    return {
        "features": rng.standard_normal((n, d)).astype(np.float32) * 3,
        "classifier": rng.standard_normal((g, d)).astype(np.float32),
        "labels": rng.integers(0, g, n),
        "class_group": rng.integers(-1, people or max(g // 3, 1), g),
        "class_camera": rng.integers(0, 4, g),
    }


def exact(arrays: dict[str, Any], **how: Any) -> tuple[np.ndarray, np.ndarray]:
    """Losses per sample and the gradient of their sum, in float64."""
    tensors = {
        name: None if value is None else torch.from_numpy(np.asarray(value))
        for name, value in arrays.items()
    }
    features = tensors.pop("features").double().requires_grad_()
    losses = reference.camera_adversarial_loss(
        features, tensors.pop("classifier").double(), **tensors, **how
    )
    losses.sum().backward()
    return losses.detach().numpy(), features.grad.numpy()


def exact_classifier(arrays: dict[str, Any], **how: Any) -> tuple[np.ndarray, np.ndarray]:
    classifier = torch.from_numpy(arrays["classifier"]).double().requires_grad_()
    losses = reference.camera_classifier_loss(
        torch.from_numpy(arrays["features"]).double(),
        classifier,
        torch.from_numpy(arrays["labels"]),
        **how,
    )
    losses.sum().backward()
    return losses.detach().numpy(), classifier.grad.numpy()


def close(found: np.ndarray, wanted: np.ndarray, tolerance: float = 2e-5) -> None:
    scale = max(float(np.abs(wanted).max(initial=0)), 1e-3)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * scale)


SHAPES = [(1, 1, 1), (5, 7, 3), (16, 32, 16), (37, 65, 20), (70, 33, 17), (130, 200, 33)]


@pytest.mark.parametrize("how", SWITCHES)
@pytest.mark.parametrize("shape", SHAPES)
def test_adversary_is_its_specification(
    level: str, shape: tuple[int, int, int], how: dict[str, Any]
) -> None:
    arrays = problem(*shape, seed=sum(shape))
    for camera in (arrays["class_camera"], None):
        given_arrays = arrays | {"class_camera": camera}
        loss, gradient = camera_adversarial_loss(**given_arrays, **how, reduction="none")
        wanted, wanted_gradient = exact(given_arrays, **how)
        tolerance = 2e-5 / min(how.get("temperature", 1), 1)
        close(loss, wanted, tolerance)
        close(gradient, wanted_gradient, tolerance * 3)


@pytest.mark.parametrize("how", [{}, {"margin": 0.5}, {"temperature": 0.02}])
@pytest.mark.parametrize("shape", SHAPES)
def test_classifier_is_its_specification(
    level: str, shape: tuple[int, int, int], how: dict[str, Any]
) -> None:
    arrays = problem(*shape, seed=sum(shape))
    arrays["labels"][::5] = -1
    found = camera_classifier_loss(
        arrays["features"], arrays["classifier"], arrays["labels"], **how, reduction="none"
    )
    wanted, wanted_gradient = exact_classifier(arrays, **how)
    close(found.loss, wanted, 5e-4 if how.get("temperature") else 2e-5)
    close(found.gradient, wanted_gradient, 1e-3 if how.get("temperature") else 6e-5)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_any_labels(data: st.DataObject) -> None:
    n, g, d = (data.draw(st.integers(1, top)) for top in (20, 40, 9))
    arrays = problem(n, g, d, data.draw(st.integers(0, 99)), people=data.draw(st.integers(1, 3)))
    arrays["labels"] = np.array(data.draw(st.lists(st.integers(-2, g + 1), min_size=n, max_size=n)))
    cameras = st.lists(st.integers(0, 1), min_size=g, max_size=g)
    arrays["class_camera"] = np.array(data.draw(cameras))
    how = data.draw(st.sampled_from(SWITCHES[:4]))
    loss, gradient = camera_adversarial_loss(**arrays, **how, reduction="none")
    wanted, wanted_gradient = exact(arrays, **how)
    # Gradients of the unit vectors: through a short row rounding errors grow like the gradient.
    norm = np.linalg.norm(arrays["features"], axis=1, keepdims=True)
    np.testing.assert_allclose(loss, wanted, rtol=0, atol=1e-4)
    np.testing.assert_allclose(gradient * norm, wanted_gradient * norm, rtol=0, atol=3e-4)


def test_targets_sum_to_one() -> None:
    arrays = {
        k: torch.from_numpy(v)
        for k, v in problem(50, 60, 2).items()
        if k.startswith(("l", "class_"))
    }
    positive, negative, used = reference.masks(**arrays, linked="negative")
    own = reference.one_hot(arrays["labels"], 60)
    for epsilon in (0.0, 0.1, 0.8, 1.0):
        targets = reference.soft_targets(positive, own, epsilon)
        assert torch.allclose(targets.sum(1)[used], torch.ones(int(used.sum())))
        assert (targets[negative] == 0).all()
    assert not (positive & negative).any()
    assert (positive | negative)[used].all()


def test_masks_by_hand() -> None:
    # Person 0 is classes 0 (camera 0), 2 (camera 1) and 3 (camera 2); through a chain the group
    # also holds class 1 of camera 0. Class 4 is somebody else, class 5 is not associated.
    group, camera = torch.tensor([0, 0, 0, 0, 1, -1]), torch.tensor([0, 0, 1, 2, 0, 1])
    labels = torch.tensor([0, 2, 4, 5, -1, 6])
    positive, negative, used = reference.masks(labels, group, camera, "negative")
    assert used.tolist() == [True, True, True, False, False, False]
    assert positive.int().tolist()[:3] == [
        [1, 0, 1, 1, 0, 0],  # never class 1: it is of the own camera
        [1, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 1, 0],
    ]
    assert torch.equal(negative[:3], ~positive[:3])
    assert not positive[3:].any()
    assert not negative[3:].any()
    _, ignoring, _ = reference.masks(labels, group, camera, "ignore")
    assert ignoring.int().tolist()[:3] == [
        [0, 0, 0, 0, 1, 1],  # class 1 is neither
        [0, 0, 0, 0, 1, 1],
        [1, 1, 1, 1, 0, 1],
    ]


def test_one_positive_without_smoothing_is_cross_entropy() -> None:
    arrays = problem(33, 50, 12)
    arrays["class_group"] = np.arange(50)
    ours, gradient = camera_adversarial_loss(**arrays, epsilon=0.0)
    features = torch.from_numpy(arrays["features"]).double().requires_grad_()
    weights = torch.from_numpy(arrays["classifier"]).double()
    cosine = torch.nn.functional.normalize(features) @ torch.nn.functional.normalize(weights).T
    entropy = torch.nn.functional.cross_entropy(16 * cosine, torch.from_numpy(arrays["labels"]))
    entropy.backward()
    assert ours == pytest.approx(entropy.item(), rel=1e-5)
    close(gradient, features.grad.numpy(), 6e-5)
    gid = camera_classifier_loss(arrays["features"], arrays["classifier"], arrays["labels"])
    assert gid.loss == pytest.approx(entropy.item(), rel=1e-5)


def test_cal_spreads_over_all_outfits_of_a_person() -> None:
    """The published form of CAL: mean over samples, mask matrices, no cameras."""
    arrays = problem(20, 30, 8)
    arrays["class_group"] = np.arange(30) // 3
    cosine = (
        reference.unit(torch.from_numpy(arrays["features"]).double())
        @ reference.unit(torch.from_numpy(arrays["classifier"]).double()).T
    )
    identity = torch.from_numpy(arrays["class_group"])
    labels = torch.from_numpy(arrays["labels"])
    mates = (identity[labels][:, None] == identity[None]).double()
    exp = (16 * cosine).exp()
    log_p = 16 * cosine - ((exp * (1 - mates)).sum(1, keepdim=True) + exp).log()
    own = torch.nn.functional.one_hot(labels, 30)
    wanted = -(((1 - 0.1) * own + 0.1 / mates.sum(1, keepdim=True) * mates) * log_p).sum(1).mean()
    arrays["class_camera"] = None
    assert camera_adversarial_loss(**arrays, epsilon=0.1).loss == pytest.approx(wanted.item())


def test_reductions_count_only_samples_that_are_in() -> None:
    arrays = problem(40, 30, 6)
    arrays["labels"][:10] = [-1, 30, 99, -7, *range(6)]
    each = camera_adversarial_loss(**arrays, reduction="none")
    _, _, used = reference.masks(
        *(torch.from_numpy(arrays[k]) for k in ("labels", "class_group", "class_camera")),
        "negative",
    )
    used = used.numpy()
    assert 0 < used.sum() < 36
    assert (each.loss[~used] == 0).all()
    assert (each.gradient[~used] == 0).all()
    total = camera_adversarial_loss(**arrays, reduction="sum")
    mean = camera_adversarial_loss(**arrays)
    assert total.loss == pytest.approx(each.loss.sum(), rel=1e-6)
    assert mean.loss == pytest.approx(each.loss[used].mean(), rel=1e-6)
    np.testing.assert_array_equal(total.gradient, each.gradient)
    np.testing.assert_allclose(mean.gradient, each.gradient / used.sum(), rtol=1e-6)
    arrays["labels"][:] = -1
    nobody = camera_adversarial_loss(**arrays)
    assert nobody.loss == 0
    assert not nobody.gradient.any()
    gid = camera_classifier_loss(arrays["features"], arrays["classifier"], arrays["labels"])
    assert gid.loss == 0
    assert not gid.gradient.any()


def test_without_negatives_there_is_nothing_to_lose(level: str) -> None:
    arrays = problem(6, 4, 5)
    arrays |= {"class_group": np.zeros(4, int), "class_camera": None, "labels": np.arange(6) % 4}
    loss, gradient = camera_adversarial_loss(**arrays)
    assert loss == 0
    assert not gradient.any()


def test_zero_vectors_and_huge_ones(level: str) -> None:
    arrays = problem(20, 40, 7)
    plain = camera_adversarial_loss(**arrays, reduction="none")
    arrays["features"][3] = 0
    arrays["classifier"][5] = 0
    loss, gradient = camera_adversarial_loss(**arrays, reduction="none")
    wanted, wanted_gradient = exact(arrays)
    close(loss, wanted)
    close(gradient, wanted_gradient, 6e-5)
    assert not gradient[3].any()
    scaled = problem(20, 40, 7)
    scaled["features"] *= np.float32(2.0**60)
    found = camera_adversarial_loss(**scaled, reduction="none")
    np.testing.assert_allclose(found.loss, plain.loss, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_row(level: str, bad: float) -> None:
    arrays = problem(20, 40, 7)
    arrays["class_group"] = np.abs(arrays["class_group"])
    good = camera_adversarial_loss(**arrays, reduction="none")
    arrays["features"][3, 2] = bad
    loss, gradient = camera_adversarial_loss(**arrays, reduction="none")
    assert np.isnan(loss[3])
    others = np.arange(20) != 3
    np.testing.assert_array_equal(loss[others], good.loss[others])
    np.testing.assert_array_equal(gradient[others], good.gradient[others])


def test_same_bits_for_any_threads_level_and_run(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = problem(150, 170, 40)
    gid = [arrays[name] for name in ("features", "classifier", "labels")]
    first = camera_adversarial_loss(**arrays, reduction="none")
    first_gid = camera_classifier_loss(*gid)
    for name in simd_levels():
        monkeypatch.setenv("CROSSCAM_SIMD", name)
        for threads in (1, 2, 5):
            again = camera_adversarial_loss(**arrays, reduction="none", threads=threads)
            np.testing.assert_array_equal(again.loss, first.loss)
            np.testing.assert_array_equal(again.gradient, first.gradient)
            again_gid = camera_classifier_loss(*gid, threads=threads)
            np.testing.assert_array_equal(again_gid.loss, first_gid.loss)
            np.testing.assert_array_equal(again_gid.gradient, first_gid.gradient)


def test_layouts_and_integer_types(level: str) -> None:
    arrays = problem(20, 40, 8)
    wanted = camera_adversarial_loss(**arrays)
    wide = {name: np.concatenate([arrays[name]] * 2, 1) for name in ("features", "classifier")}
    views = {name: value[:, 8:] for name, value in wide.items()}
    turned = {name: np.asfortranarray(value) for name, value in views.items()}
    narrow = {name: arrays[name].astype(np.int32) for name in arrays if name not in views}
    for other in (views, turned, narrow):
        found = camera_adversarial_loss(**(arrays | other))
        assert found.loss == wanted.loss
        np.testing.assert_array_equal(found.gradient, wanted.gradient)


def test_no_samples() -> None:
    arrays = problem(0, 5, 3)
    loss, gradient = camera_adversarial_loss(**arrays)
    assert loss == 0
    assert gradient.shape == (0, 3)
    gid = camera_classifier_loss(arrays["features"], arrays["classifier"], arrays["labels"])
    assert gid.gradient.shape == (5, 3)
    assert not gid.gradient.any()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"features": np.zeros((3, 4))}, ShapeError, "features is float64"),
        ({"classifier": np.zeros((5, 3), "f4")}, ShapeError, "rows of the same length"),
        ({"classifier": np.zeros((0, 4), "f4")}, InputError, "no classes"),
        ({"labels": np.zeros(2, int)}, ShapeError, "labels is int64"),
        ({"class_group": np.zeros(3, int)}, ShapeError, "class_group is"),
        ({"class_camera": np.zeros(5)}, ShapeError, "class_camera is float64"),
        ({"epsilon": 1.5}, UsageError, "epsilon=1.5"),
        ({"temperature": 0.0}, UsageError, "temperature=0.0"),
        ({"margin": 3.2}, UsageError, "margin=3.2"),
        ({"same_camera_boost": np.nan}, UsageError, "boost=nan"),
        ({"linked": "positive"}, UsageError, "linked='positive'"),
        ({"reduction": "max"}, UsageError, "reduction='max'"),
        ({"threads": 0}, UsageError, "threads=0"),
    ],
)
def test_wrong_calls(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    call: dict[str, Any] = problem(3, 5, 4) | arguments
    with pytest.raises(error, match=message):
        camera_adversarial_loss(**call)
