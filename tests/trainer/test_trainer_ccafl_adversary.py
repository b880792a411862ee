"""CCAFL's adversary (ICAL): equations 17 to 19 as the paper has them, who learns from whom."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

import method_runs as runs  # noqa: E402
from ccafl_parts import (  # noqa: E402
    CAMERA_OF,
    PERSON,
    PSEUDO,
    check_gradient,
    log_softmax_at,
    stage_of,
    unit_rows,
)

from crosscam_trainer.methods.ical import (  # noqa: E402
    CosineClassifier,
    ICALOptions,
    classifier_loss,
    ical_loss,
)
from crosscam_trainer.methods.icdl import ICDLOptions  # noqa: E402
from crosscam_trainer.methods.labels import unit  # noqa: E402

torch.set_num_threads(1)


def _classifier(seed: int = 6) -> CosineClassifier:
    classifier = CosineClassifier(8, 6).double()
    with torch.no_grad():
        classifier.weight.copy_(2 * unit_rows(8, 6, seed=seed))
    return classifier


def test_eq_17_classifier_of_accumulated_labels() -> None:
    classifier, f = _classifier(), 3 * unit_rows(10, 6)
    logits = 16 * unit(f) @ unit(classifier.weight).T
    expected = -torch.stack([log_softmax_at(logits[i], int(PERSON[i])) for i in range(10)]).mean()
    found = classifier_loss(f, classifier, PERSON, 1 / 16)
    check_gradient(found, expected, classifier.weight)


def _eq_18(f: Any, classifier: Any, epsilon: float, targets: list[Any] | None = None) -> Any:
    logits = 16 * unit(f) @ unit(classifier.weight).T
    losses = []
    for i, y in enumerate(PERSON.tolist()):
        if PSEUDO[y] < 0:
            continue
        positive = [y] + [
            g for g in range(8)
            if g != y and PSEUDO[g] == PSEUDO[y] and CAMERA_OF[g] != CAMERA_OF[y]
        ]  # fmt: skip
        negative = [g for g in range(8) if g not in positive]
        q = {g: epsilon / len(positive) for g in positive}
        q[y] += 1 - epsilon
        if targets is not None:
            targets.append(sum(q.values()))
        against = torch.exp(logits[i, negative]).sum()
        losses.append(
            -sum(
                q[g] * torch.log(torch.exp(logits[i, g]) / (torch.exp(logits[i, g]) + against))
                for g in positive
            )
        )
    return torch.stack(losses).mean()


@pytest.mark.parametrize("epsilon", [0.0, 0.8, 1.0])
def test_eq_18_and_19_and_q_sums_to_1(epsilon: float) -> None:
    classifier, f = _classifier(), (3 * unit_rows(10, 6)).requires_grad_()
    found = ical_loss(f, classifier, PERSON, PSEUDO, CAMERA_OF, ICALOptions(epsilon=epsilon))
    sums: list[float] = []
    check_gradient(found, _eq_18(f, classifier, epsilon, sums), f)
    assert sums == pytest.approx([1.0] * len(sums))


def test_ical_with_epsilon_0_and_a_single_positive_is_cross_entropy() -> None:
    classifier, f = _classifier(), 3 * unit_rows(10, 6)
    alone = torch.arange(8)
    found = ical_loss(f, classifier, PERSON, alone, CAMERA_OF, ICALOptions(epsilon=0.0))
    torch.testing.assert_close(found, classifier_loss(f, classifier, PERSON, 1 / 16).detach())


def test_classes_of_one_camera_in_one_identity_are_never_positives() -> None:
    """Labels 0 and 1 are of camera 0, and both joined with label 3: 0 never asks for 1."""
    classifier, f = _classifier(), (3 * unit_rows(1, 6)).requires_grad_()
    pseudo = torch.tensor([0, 0, -1, 0, -1, -1, -1, -1])
    person = torch.tensor([0])
    options = ICALOptions(epsilon=1.0)
    loss = ical_loss(f, classifier, person, pseudo, CAMERA_OF, options)
    logits = 16 * unit(f[0][None])[0] @ unit(classifier.weight).T
    against = torch.exp(logits[[1, 2, 4, 5, 6, 7]]).sum()  # 1 is a negative
    expected = -sum(
        0.5 * torch.log(torch.exp(logits[g]) / (torch.exp(logits[g]) + against)) for g in (0, 3)
    )
    check_gradient(loss, expected, f)
    ignored = ical_loss(
        f, classifier, person, pseudo, CAMERA_OF, ICALOptions(epsilon=1.0, linked="ignore")
    )
    assert ignored < loss


def test_detached_features_give_no_gradient_in_the_discriminator_step() -> None:
    run = runs.PlainRun(runs.Pictures(intra=True))
    features = run.model(run.pictures.images[:4])
    stage = stage_of(run)
    loss = classifier_loss(unit(features.final_bn), stage.classifier, torch.arange(4), 1 / 16)
    parameters = [p for p in run.model.parameters() if p.requires_grad]
    assert all(
        g is None for g in torch.autograd.grad(loss, parameters, allow_unused=True,
                                               retain_graph=True)
    )  # fmt: skip
    assert torch.autograd.grad(loss, stage.classifier.weight)[0].abs().sum() > 0


def test_discriminator_weights_are_unchanged_by_the_feature_step() -> None:
    """The classifier after a step with `L_ICAL` is that of a step without it."""
    weights = []
    for window in ((0, None), None):
        run = runs.PlainRun(runs.Pictures(intra=True))
        stage = stage_of(run, ical=ICALOptions(adv_window=window), intra=ICDLOptions(epochs=0))
        stage.begin(run)
        run.prepare(stage)
        stage.begin_epoch(run, 0)
        index = next(iter(stage.sampler(rank=0, world_size=1)))
        parts = stage.step(run, run.batch(stage, index), 0)
        assert ("ical" in parts) == (window is not None)
        weights.append(stage.classifier.weight.detach().clone())
    assert torch.equal(*weights)


def test_windows() -> None:
    assert [ICALOptions(adv_window=(2, 4)).active(e) for e in range(5)] == [0, 0, 1, 1, 0]
    assert ICALOptions(adv_window=(2, None)).active(99)
    assert not ICALOptions(adv_window=None).active(40)
    with pytest.raises(ValueError, match="empty"):
        ICALOptions(adv_window=(4, 4))
