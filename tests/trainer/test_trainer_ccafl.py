"""CCAFL: every equation against the paper's formula in float64, its invariants, and training."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import method_runs as runs  # noqa: E402

from crosscam_kernels.errors import InputError  # noqa: E402
from crosscam_trainer.methods import ccafl  # noqa: E402
from crosscam_trainer.methods.base import Extracted  # noqa: E402
from crosscam_trainer.methods.ical import (  # noqa: E402
    CosineClassifier,
    ICALOptions,
    classifier_loss,
    ical_loss,
)
from crosscam_trainer.methods.icdl import (  # noqa: E402
    HybridMemory,
    ICDLOptions,
    centroid_loss,
    icdl_losses,
    instance_loss,
    text_loss,
)
from crosscam_trainer.methods.inter_camera import (  # noqa: E402
    IdentityMemory,
    InterOptions,
    inter_losses,
)
from crosscam_trainer.methods.labels import (  # noqa: E402
    train_labels,
    unit,
    without_camera_means,
)
from crosscam_trainer.methods.prompts_stage import PromptOptions, supcon  # noqa: E402

torch.set_num_threads(1)
CAMERA_OF = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2])
"""Cameras of the accumulated labels of the small problem."""

PERSON = torch.tensor([0, 0, 1, 2, 3, 3, 4, 5, 5, 6])
CAMERA = CAMERA_OF[PERSON]
PSEUDO = torch.tensor([0, 1, -1, 0, 1, 2, 2, 0])


def _rows(*shape: int, seed: int = 0) -> Any:
    drawn = torch.randn(*shape, dtype=torch.float64, generator=torch.manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=-1)


def _log_softmax_at(logits: Any, at: int) -> Any:
    return logits[at] - torch.log(torch.exp(logits).sum())


def _memory(slots: int = 3) -> HybridMemory:
    filled = torch.ones(8, slots, dtype=torch.bool)
    return HybridMemory(_rows(8, 6, seed=1), _rows(8, slots, 6, seed=2), filled, CAMERA_OF)


def _sum_of_camera_means(losses: list[Any]) -> Any:
    stacked = torch.stack(losses)
    return sum(stacked[c == CAMERA].mean() for c in CAMERA.unique())


def _check_gradient(found: Any, expected: Any, of: Any) -> None:
    torch.testing.assert_close(found, expected)
    (ours,) = torch.autograd.grad(found, of, retain_graph=True)
    (theirs,) = torch.autograd.grad(expected, of, retain_graph=True)
    torch.testing.assert_close(ours, theirs)
    assert ours.abs().sum() > 0


@pytest.mark.parametrize("by_camera", [False, True])
@pytest.mark.parametrize("cosine", [False, True])
def test_eq_1_to_3_prompts(by_camera: bool, cosine: bool) -> None:
    images, texts = 2 * _rows(10, 5), 3 * _rows(10, 5, seed=1)
    texts.requires_grad_()
    group = CAMERA if by_camera else torch.zeros_like(CAMERA)
    v, t = (unit(images), unit(texts)) if cosine else (images, texts)

    def plain(anchors: Any, candidates: Any) -> Any:
        total = 0
        for c in group.unique():
            inside = [i for i in range(10) if group[i] == c]
            for i in inside:
                logits = torch.stack([anchors[i] @ candidates[k] / 0.7 for k in inside])
                positive = [n for n, k in enumerate(inside) if PERSON[k] == PERSON[i]]
                log_p = torch.stack([_log_softmax_at(logits, p) for p in positive])
                total = total - log_p.mean() / len(inside)
        return total

    i2t, t2i = supcon(
        images, texts, PERSON, CAMERA if by_camera else None, temperature=0.7, cosine=cosine
    )
    _check_gradient(i2t, plain(v, t), texts)
    _check_gradient(t2i, plain(t, v), texts)


def test_prompt_candidates_never_cross_cameras() -> None:
    images, texts = _rows(10, 5), _rows(10, 5, seed=1)
    before = supcon(images, texts, PERSON, CAMERA)
    only = CAMERA == 0
    others = supcon(images[~only], texts[~only], PERSON[~only], CAMERA[~only])
    moved = torch.where(only[:, None], -texts, texts)
    after = supcon(images, moved, PERSON, CAMERA)
    own = supcon(images[only], moved[only], PERSON[only], CAMERA[only])
    for b, a, rest, mine in zip(before, after, others, own, strict=True):
        assert not torch.allclose(b, a)
        torch.testing.assert_close(a, rest + mine)


def test_eq_4_memory_is_made_of_extracted_features() -> None:
    features = torch.randn(40, 6, generator=torch.manual_seed(0))
    person = torch.arange(40) % 7  # label 7 has no picture
    memory = HybridMemory.of(features, person, CAMERA_OF, 5, np.random.default_rng(0))
    for g in range(7):
        mean = unit(features[person == g]).mean(0)
        torch.testing.assert_close(memory.centroids[g], mean / mean.norm())
        stored = memory.instances[g][:, None] - unit(features[person == g])[None]
        assert (stored.abs().amax(-1) < 1e-6).any(1).all()
    assert memory.filled[:7].all()
    assert not memory.filled[7].any()
    assert (memory.centroids[7] == 0).all()


def test_eq_5_and_6_update_and_memory_rows_have_unit_norm() -> None:
    memory = HybridMemory(*(x.float() for x in (_rows(8, 6), _rows(8, 3, 6, seed=1))),
                          torch.ones(8, 3, dtype=torch.bool), CAMERA_OF)  # fmt: skip
    before = memory.centroids.clone(), memory.instances.clone()
    f = _rows(10, 6, seed=3).float()
    memory.update(f, PERSON, 0.1)
    for g in range(8):
        mine = f[g == PERSON]
        if not len(mine):
            assert torch.equal(memory.centroids[g], before[0][g])
            assert torch.equal(memory.instances[g], before[1][g])
            continue
        row = 0.1 * before[0][g] + 0.9 * mine.mean(0)
        torch.testing.assert_close(memory.centroids[g], row / row.norm())
        torch.testing.assert_close(memory.instances[g][: len(mine)], mine)
        assert torch.equal(memory.instances[g][len(mine) :], before[1][g][len(mine) :])
    torch.testing.assert_close(memory.centroids.norm(dim=1), torch.ones(8))


def test_eq_7_centroids_of_the_own_camera() -> None:
    memory, f = _memory(), _rows(10, 6).requires_grad_()
    losses = []
    for i in range(10):
        inside = [g for g in range(8) if CAMERA_OF[g] == CAMERA[i]]
        logits = torch.stack([f[i] @ memory.centroids[g] / 0.05 for g in inside])
        losses.append(-_log_softmax_at(logits, inside.index(int(PERSON[i]))))
    found = centroid_loss(f, PERSON, CAMERA, memory, 0.05)
    _check_gradient(found, _sum_of_camera_means(losses), f)


def test_eq_8_hardest_instances_of_the_own_camera() -> None:
    memory, f = _memory(), _rows(10, 6).requires_grad_()
    losses = []
    for i in range(10):
        inside = [g for g in range(8) if CAMERA_OF[g] == CAMERA[i]]
        logits = []
        for g in inside:
            cosines = memory.instances[g] @ f[i]
            logits.append((cosines.min() if g == PERSON[i] else cosines.max()) / 0.05)
        losses.append(-_log_softmax_at(torch.stack(logits), inside.index(int(PERSON[i]))))
    found = instance_loss(f, PERSON, CAMERA, memory, 0.05)
    _check_gradient(found, _sum_of_camera_means(losses), f)


def test_eq_9_texts_of_the_own_camera() -> None:
    joint, texts = (2 * _rows(10, 5)).requires_grad_(), 3 * _rows(8, 5, seed=1)
    losses = []
    for i in range(10):
        inside = [g for g in range(8) if CAMERA_OF[g] == CAMERA[i]]
        logits = torch.stack([joint[i] @ texts[g] for g in inside])
        target = torch.full((len(inside),), 0.1 / len(inside), dtype=torch.float64)
        target[inside.index(int(PERSON[i]))] += 0.9
        losses.append(-(target * torch.log_softmax(logits, 0)).sum())
    found = text_loss(joint, PERSON, CAMERA, texts, CAMERA_OF, 0.1)
    _check_gradient(found, _sum_of_camera_means(losses), joint)


def test_eq_10_and_11_weights() -> None:
    memory, f, joint, texts = _memory(), _rows(10, 6), _rows(10, 5), _rows(8, 5, seed=1)
    one = centroid_loss(f, PERSON, CAMERA, memory, 0.05)
    two = instance_loss(f, PERSON, CAMERA, memory, 0.05)
    text = text_loss(joint, PERSON, CAMERA, texts, CAMERA_OF, 0.1)
    for lambda_ in (0.0, 0.6, 1.0):
        total, parts = icdl_losses(
            f, joint, PERSON, CAMERA, memory, texts, ICDLOptions(lambda_=lambda_)
        )
        torch.testing.assert_close(total, lambda_ * one + (1 - lambda_) * two + text)
        assert ("intra1" in parts, "intra2" in parts) == (lambda_ > 0, lambda_ < 1)


def test_official_triplets_inside_the_camera() -> None:
    memory, f, joint, texts = _memory(), _rows(10, 6), _rows(10, 5), _rows(8, 5, seed=1)
    options = ICDLOptions(triplet=True, memory_triplet=True)
    total, parts = icdl_losses(f, joint, PERSON, CAMERA, memory, texts, options)
    plain, _ = icdl_losses(f, joint, PERSON, CAMERA, memory, texts, ICDLOptions())
    torch.testing.assert_close(total, plain + parts["triplet"] + parts["memory_triplet"])
    batch, bank = [], []
    for i in range(10):
        inside = [k for k in range(10) if CAMERA[k] == CAMERA[i] and k != i]
        far = [(f[i] - f[k]).norm() for k in inside if PERSON[k] == PERSON[i]]
        near = [(f[i] - f[k]).norm() for k in inside if PERSON[k] != PERSON[i]]
        hinge = torch.zeros((), dtype=torch.float64)
        if far and near:
            hinge = (max(far) - min(near) + 0.3).clamp(min=0)
        batch.append(hinge)
        away = [
            (f[i] - memory.centroids[g]).norm()
            for g in range(8)
            if CAMERA_OF[g] == CAMERA[i] and g != PERSON[i]
        ]
        own = (f[i] - memory.centroids[PERSON[i]]).norm()
        bank.append((own - min(away) + 0.3).clamp(min=0))
    torch.testing.assert_close(parts["triplet"], _sum_of_camera_means(batch))
    torch.testing.assert_close(parts["memory_triplet"], _sum_of_camera_means(bank))


def _identities() -> IdentityMemory:
    return IdentityMemory(PSEUDO, _rows(3, 6, seed=4), 2 * _rows(3, 5, seed=5))


def test_eq_13_memory_of_pseudo_identities() -> None:
    features = torch.randn(40, 6, generator=torch.manual_seed(0))
    texts = torch.randn(8, 5, generator=torch.manual_seed(1))
    person = torch.arange(40) % 8
    memory = IdentityMemory.of(features, texts, person, PSEUDO, 3)
    for z in range(3):
        inside = PSEUDO[person] == z
        mean = unit(features[inside]).mean(0)
        torch.testing.assert_close(memory.rows[z], mean / mean.norm())
        torch.testing.assert_close(memory.texts[z], texts[person[inside]].mean(0))
    for hardest in (False, True):
        before, f = memory.rows.clone(), _rows(10, 6, seed=3).float()
        memory.update(f, PERSON, 0.1, hardest=hardest)
        for z in range(3):
            mine = f[PSEUDO[PERSON] == z]
            towards = mine[(mine @ before[z]).argmin()] if hardest else mine.mean(0)
            row = 0.1 * before[z] + 0.9 * towards
            torch.testing.assert_close(memory.rows[z], row / row.norm())
        torch.testing.assert_close(memory.rows.norm(dim=1), torch.ones(3))


def test_eq_14_to_16_inter_camera_losses() -> None:
    memory = _identities()
    f, joint = _rows(10, 6).requires_grad_(), _rows(10, 5).requires_grad_()
    paired = [i for i in range(10) if PSEUDO[PERSON[i]] >= 0]
    ipcl, text = [], []
    for i in paired:
        z = int(PSEUDO[PERSON[i]])
        ipcl.append(-_log_softmax_at(memory.rows @ f[i] / 0.05, z))
        target = torch.full((3,), 0.1 / 3, dtype=torch.float64)
        target[z] += 0.9
        text.append(-(target * torch.log_softmax(memory.texts @ joint[i], 0)).sum())
    total, parts = inter_losses(f, joint, PERSON, memory, InterOptions(), 0)
    assert len(paired) < 10
    _check_gradient(parts["ipcl"], torch.stack(ipcl).mean(), f)
    _check_gradient(parts["i2tce_inter"], torch.stack(text).mean(), joint)
    torch.testing.assert_close(total, parts["ipcl"] + parts["i2tce_inter"])


def test_official_inter_camera_switches() -> None:
    memory, f, joint = _identities(), _rows(10, 6), _rows(10, 5)
    late = InterOptions(text_start_epoch=10, triplet=True)
    _, before = inter_losses(f, joint, PERSON, memory, late, 9)
    total, after = inter_losses(f, joint, PERSON, memory, late, 10)
    assert "i2tce_inter" not in before
    torch.testing.assert_close(total, sum(after.values()))
    target, hinges = PSEUDO[PERSON], []
    for i in range(10):
        others = [k for k in range(10) if k != i and target[k] >= 0]
        far = [(f[i] - f[k]).norm() for k in others if target[k] == target[i]]
        near = [(f[i] - f[k]).norm() for k in others if target[k] != target[i]]
        if target[i] >= 0 and far and near:
            hinges.append((max(far) - min(near) + 0.3).clamp(min=0))
    torch.testing.assert_close(after["triplet"], torch.stack(hinges).mean())


def _classifier(seed: int = 6) -> CosineClassifier:
    classifier = CosineClassifier(8, 6).double()
    with torch.no_grad():
        classifier.weight.copy_(2 * _rows(8, 6, seed=seed))
    return classifier


def test_eq_17_classifier_of_accumulated_labels() -> None:
    classifier, f = _classifier(), 3 * _rows(10, 6)
    logits = 16 * unit(f) @ unit(classifier.weight).T
    expected = -torch.stack([_log_softmax_at(logits[i], int(PERSON[i])) for i in range(10)]).mean()
    found = classifier_loss(f, classifier, PERSON, 1 / 16)
    _check_gradient(found, expected, classifier.weight)


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
    classifier, f = _classifier(), (3 * _rows(10, 6)).requires_grad_()
    found = ical_loss(f, classifier, PERSON, PSEUDO, CAMERA_OF, ICALOptions(epsilon=epsilon))
    sums: list[float] = []
    _check_gradient(found, _eq_18(f, classifier, epsilon, sums), f)
    assert sums == pytest.approx([1.0] * len(sums))


def test_ical_with_epsilon_0_and_a_single_positive_is_cross_entropy() -> None:
    classifier, f = _classifier(), 3 * _rows(10, 6)
    alone = torch.arange(8)
    found = ical_loss(f, classifier, PERSON, alone, CAMERA_OF, ICALOptions(epsilon=0.0))
    torch.testing.assert_close(found, classifier_loss(f, classifier, PERSON, 1 / 16).detach())


def test_classes_of_one_camera_in_one_identity_are_never_positives() -> None:
    """Labels 0 and 1 are of camera 0, and both joined with label 3: 0 never asks for 1."""
    classifier, f = _classifier(), (3 * _rows(1, 6)).requires_grad_()
    pseudo = torch.tensor([0, 0, -1, 0, -1, -1, -1, -1])
    person = torch.tensor([0])
    options = ICALOptions(epsilon=1.0)
    loss = ical_loss(f, classifier, person, pseudo, CAMERA_OF, options)
    logits = 16 * unit(f[0][None])[0] @ unit(classifier.weight).T
    against = torch.exp(logits[[1, 2, 4, 5, 6, 7]]).sum()  # 1 is a negative
    expected = -sum(
        0.5 * torch.log(torch.exp(logits[g]) / (torch.exp(logits[g]) + against)) for g in (0, 3)
    )
    _check_gradient(loss, expected, f)
    ignored = ical_loss(
        f, classifier, person, pseudo, CAMERA_OF, ICALOptions(epsilon=1.0, linked="ignore")
    )
    assert ignored < loss


def test_detached_features_give_no_gradient_in_the_discriminator_step() -> None:
    run = runs.PlainRun(runs.Pictures(intra=True))
    features = run.model(run.pictures.images[:4])
    stage = _stage(run)
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
        stage = _stage(run, ical=ICALOptions(adv_window=window), intra=ICDLOptions(epochs=0))
        stage.begin(run)
        run.prepare(stage)
        stage.begin_epoch(run, 0)
        index = next(iter(stage.sampler(rank=0, world_size=1)))
        parts = stage.step(run, run.batch(stage, index), 0)
        assert ("ical" in parts) == (window is not None)
        weights.append(stage.classifier.weight.detach().clone())
    assert torch.equal(*weights)


def test_global_labels_are_contiguous_and_summed_over_cameras() -> None:
    run = runs.PlainRun(runs.Pictures(people=5, cameras=3, intra=True))
    labels = train_labels(run.data, "cpu")
    assert labels.people == 15
    assert labels.person.unique().tolist() == list(range(15))
    assert labels.camera_of.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert torch.equal(labels.camera_of[labels.person], labels.camera)


def test_features_without_camera_means_forget_what_a_camera_adds() -> None:
    rows, cameras = unit(_rows(8, 4)), torch.tensor([0, 0, 3, 3, 3, 0, 7, 7])
    found = without_camera_means(5 * rows, cameras)
    for camera in (0, 3, 7):
        inside = cameras == camera
        torch.testing.assert_close(found[inside].mean(0), torch.zeros(4).to(found))
        torch.testing.assert_close(
            found[inside] - found[inside][0], (rows - rows[inside][0])[inside]
        )


def test_centred_association_bridges_cameras_that_look_different() -> None:
    """Two cameras add one vector to everybody's, the third another: their closest pairs are all."""
    run = runs.PlainRun(runs.Pictures(people=8, cameras=3, intra=True))
    person, camera = (torch.tensor(run.pictures.truth)[:, k] for k in (0, 1))
    features = torch.eye(24)[person] + 2 * torch.eye(24)[20 + camera // 2]
    recall = []
    for centre in (False, True):
        options = ccafl.AssociationOptions(rate=1.0, centre=centre)
        stage = _stage(run, association=options)
        stage.texts = torch.zeros(stage.labels.people, 12)
        stage.remember(
            run, 9, Extracted(features + 0.05 * _rows(*features.shape).float(), features)
        )
        recall.append(run.notes[-1]["pair_recall"])
    assert recall[0] < 0.5
    assert recall[1] > 0.9


def test_inference_never_touches_the_text_encoder() -> None:
    run = runs.PlainRun(runs.Pictures(intra=True))
    run.text = None
    assert run.model.eval().embed(run.pictures.images[:2]).shape == (2, 24)


class _Recipe:
    def __init__(self, people: int, pictures: int) -> None:
        from crosscam_trainer.recipe import BatchRecipe

        self.batch = BatchRecipe(people=people, pictures=pictures)


def _method(**options: Any) -> ccafl.CCAFL:
    prompts = options.pop("prompts", PromptOptions(epochs=3, batch=32))
    recipe: Any = _Recipe(6, 4)
    return ccafl.build(recipe, ccafl.Options(prompts=prompts, **options))


def _stage(run: runs.PlainRun, **options: Any) -> ccafl.CameraAgnosticStage:
    _, stage = _method(**options).stages(run)
    assert isinstance(stage, ccafl.CameraAgnosticStage)
    return stage


SHORT = {
    "epochs": 14,
    "intra": ICDLOptions(epochs=5, slots=4),
    "ical": ICALOptions(adv_window=(8, 12)),
}


def test_training_lowers_losses_and_finds_people_across_cameras() -> None:
    pictures = runs.Pictures(people=8, cameras=3, cast=0.35, intra=True)
    run = runs.PlainRun(pictures)
    start, _ = run.figures()
    history = run.train(_method(prompts=PromptOptions(epochs=20, batch=96), **SHORT))
    end, _ = run.figures()
    assert end > start + 0.05
    prompts, epochs = history["prompts"], history["camera-agnostic"]
    assert prompts[-1]["i2t"] + prompts[-1]["t2i"] < prompts[0]["i2t"] + prompts[0]["t2i"]
    assert epochs[4]["intra1"] < epochs[0]["intra1"]
    assert epochs[4]["intra2"] < epochs[0]["intra2"]
    assert epochs[-1]["ipcl"] < epochs[5]["ipcl"]
    assert epochs[-1]["gid"] < epochs[0]["gid"]
    assert [e for e, losses in enumerate(epochs) if "ical" in losses] == [8, 9, 10, 11]
    assert [e for e, losses in enumerate(epochs) if "intra1" in losses] == [0, 1, 2, 3, 4]
    assert run.notes[-1]["pair_precision"] > 0.3
    assert set(run.notes[-1]) >= {"identities", "labels_paired", "pair_recall"}


@pytest.mark.parametrize("epoch", [0, 9])
def test_a_stage_continues_from_its_state(epoch: int) -> None:
    """Mid-epoch: a second stage with the first one's state takes the same next step."""

    def begun() -> tuple[runs.PlainRun, ccafl.CameraAgnosticStage, list[list[int]]]:
        run = runs.PlainRun(runs.Pictures(intra=True))
        stage = _stage(run, **SHORT)
        return run, stage, list(stage.sampler(rank=0, world_size=1))

    run, stage, batches = begun()
    stage.begin(run)
    run.prepare(stage)
    stage.begin_epoch(run, epoch)
    run.model.train()
    stage.step(run, run.batch(stage, batches[0]), epoch)
    saved = {k: v.clone() for k, v in stage.state_dict().items()}
    model = {k: v.clone() for k, v in run.model.state_dict().items()}
    classifier = {k: v.clone() for k, v in stage.classifier.state_dict().items()}
    optimisers = [o.state_dict() for o in run.optimisers.values()]

    other_run, other, _ = begun()
    other_run.model.load_state_dict(model)
    other.classifier.load_state_dict(classifier)
    other.load_state_dict(saved)
    other_run.prepare(other)
    other_run.model.train()
    for optimiser, state in zip(other_run.optimisers.values(), optimisers, strict=True):
        optimiser.load_state_dict(deepcopy(state))
    expected = stage.step(run, run.batch(stage, batches[1]), epoch)
    found = other.step(other_run, other_run.batch(other, batches[1]), epoch)
    assert found.keys() == expected.keys()
    for name in expected:
        assert torch.equal(found[name], expected[name])
    for name, value in stage.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    for ours, theirs in zip(
        other_run.model.state_dict().values(), run.model.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_an_epoch_without_pairs_learns_inside_cameras() -> None:
    run = runs.PlainRun(runs.Pictures(intra=True))
    stage = _stage(run, association=ccafl.AssociationOptions(rate=0.0))
    stage.begin(run)
    run.prepare(stage)
    stage.begin_epoch(run, 50)
    index = next(iter(stage.sampler(rank=0, world_size=1)))
    assert "intra1" in stage.step(run, run.batch(stage, index), 50)


def test_check_names_what_is_missing() -> None:
    with pytest.raises(InputError, match=r"data\.labels=intra"):
        _method().check(runs.Pictures().data)
    with pytest.raises(InputError, match=r"1 camera\(s\)"):
        _method().check(runs.Pictures(cameras=1, intra=True).data)
    run = runs.PlainRun(runs.Pictures(intra=True))
    run.text = None
    with pytest.raises(InputError, match="no text tower"):
        _method().stages(run)


def test_windows() -> None:
    assert [ICALOptions(adv_window=(2, 4)).active(e) for e in range(5)] == [0, 0, 1, 1, 0]
    assert ICALOptions(adv_window=(2, None)).active(99)
    assert not ICALOptions(adv_window=None).active(40)
    with pytest.raises(ValueError, match="empty"):
        ICALOptions(adv_window=(4, 4))
