"""CCAFL across cameras: equations 13 to 16 against the paper's sums in float64."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from ccafl_parts import (  # noqa: E402
    PERSON,
    PSEUDO,
    check_gradient,
    log_softmax_at,
    unit_rows,
)

from crosscam_trainer.methods.inter_camera import (  # noqa: E402
    IdentityMemory,
    InterOptions,
    inter_losses,
)
from crosscam_trainer.methods.labels import unit  # noqa: E402

torch.set_num_threads(1)


def _identities() -> IdentityMemory:
    return IdentityMemory(PSEUDO, unit_rows(3, 6, seed=4), 2 * unit_rows(3, 5, seed=5))


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
        before, f = memory.rows.clone(), unit_rows(10, 6, seed=3).float()
        memory.update(f, PERSON, 0.1, hardest=hardest)
        for z in range(3):
            mine = f[PSEUDO[PERSON] == z]
            towards = mine[(mine @ before[z]).argmin()] if hardest else mine.mean(0)
            row = 0.1 * before[z] + 0.9 * towards
            torch.testing.assert_close(memory.rows[z], row / row.norm())
        torch.testing.assert_close(memory.rows.norm(dim=1), torch.ones(3))


def test_eq_14_to_16_inter_camera_losses() -> None:
    memory = _identities()
    f, joint = unit_rows(10, 6).requires_grad_(), unit_rows(10, 5).requires_grad_()
    paired = [i for i in range(10) if PSEUDO[PERSON[i]] >= 0]
    ipcl, text = [], []
    for i in paired:
        z = int(PSEUDO[PERSON[i]])
        ipcl.append(-log_softmax_at(memory.rows @ f[i] / 0.05, z))
        target = torch.full((3,), 0.1 / 3, dtype=torch.float64)
        target[z] += 0.9
        text.append(-(target * torch.log_softmax(memory.texts @ joint[i], 0)).sum())
    total, parts = inter_losses(f, joint, PERSON, memory, InterOptions(), 0)
    assert len(paired) < 10
    check_gradient(parts["ipcl"], torch.stack(ipcl).mean(), f)
    check_gradient(parts["i2tce_inter"], torch.stack(text).mean(), joint)
    torch.testing.assert_close(total, parts["ipcl"] + parts["i2tce_inter"])


def test_official_inter_camera_switches() -> None:
    memory, f, joint = _identities(), unit_rows(10, 6), unit_rows(10, 5)
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
