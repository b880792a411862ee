"""CCAFL inside cameras (ICDL): equations 4 to 11 against the paper's sums in float64."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ccafl_parts import (  # noqa: E402
    CAMERA,
    CAMERA_OF,
    PERSON,
    check_gradient,
    log_softmax_at,
    small_memory,
    sum_of_camera_means,
    unit_rows,
)

from crosscam_trainer.methods.icdl import (  # noqa: E402
    HybridMemory,
    ICDLOptions,
    centroid_loss,
    icdl_losses,
    instance_loss,
    text_loss,
)
from crosscam_trainer.methods.labels import unit  # noqa: E402

torch.set_num_threads(1)


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
    memory = HybridMemory(*(x.float() for x in (unit_rows(8, 6), unit_rows(8, 3, 6, seed=1))),
                          torch.ones(8, 3, dtype=torch.bool), CAMERA_OF)  # fmt: skip
    before = memory.centroids.clone(), memory.instances.clone()
    f = unit_rows(10, 6, seed=3).float()
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
    memory, f = small_memory(), unit_rows(10, 6).requires_grad_()
    losses = []
    for i in range(10):
        inside = [g for g in range(8) if CAMERA_OF[g] == CAMERA[i]]
        logits = torch.stack([f[i] @ memory.centroids[g] / 0.05 for g in inside])
        losses.append(-log_softmax_at(logits, inside.index(int(PERSON[i]))))
    found = centroid_loss(f, PERSON, CAMERA, memory, 0.05)
    check_gradient(found, sum_of_camera_means(losses), f)


def test_eq_8_hardest_instances_of_the_own_camera() -> None:
    memory, f = small_memory(), unit_rows(10, 6).requires_grad_()
    losses = []
    for i in range(10):
        inside = [g for g in range(8) if CAMERA_OF[g] == CAMERA[i]]
        logits = []
        for g in inside:
            cosines = memory.instances[g] @ f[i]
            logits.append((cosines.min() if g == PERSON[i] else cosines.max()) / 0.05)
        losses.append(-log_softmax_at(torch.stack(logits), inside.index(int(PERSON[i]))))
    found = instance_loss(f, PERSON, CAMERA, memory, 0.05)
    check_gradient(found, sum_of_camera_means(losses), f)


def test_eq_9_texts_of_the_own_camera() -> None:
    joint, texts = (2 * unit_rows(10, 5)).requires_grad_(), 3 * unit_rows(8, 5, seed=1)
    losses = []
    for i in range(10):
        inside = [g for g in range(8) if CAMERA_OF[g] == CAMERA[i]]
        logits = torch.stack([joint[i] @ texts[g] for g in inside])
        target = torch.full((len(inside),), 0.1 / len(inside), dtype=torch.float64)
        target[inside.index(int(PERSON[i]))] += 0.9
        losses.append(-(target * torch.log_softmax(logits, 0)).sum())
    found = text_loss(joint, PERSON, CAMERA, texts, CAMERA_OF, 0.1)
    check_gradient(found, sum_of_camera_means(losses), joint)


def test_eq_10_and_11_weights() -> None:
    memory, f, joint, texts = (
        small_memory(),
        unit_rows(10, 6),
        unit_rows(10, 5),
        unit_rows(8, 5, seed=1),
    )
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
    memory, f, joint, texts = (
        small_memory(),
        unit_rows(10, 6),
        unit_rows(10, 5),
        unit_rows(8, 5, seed=1),
    )
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
    torch.testing.assert_close(parts["triplet"], sum_of_camera_means(batch))
    torch.testing.assert_close(parts["memory_triplet"], sum_of_camera_means(bank))
