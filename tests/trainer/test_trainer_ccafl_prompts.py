"""CCAFL's prompts: equations 1 to 3 against the paper's sums in float64."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from ccafl_parts import (  # noqa: E402
    CAMERA,
    PERSON,
    check_gradient,
    log_softmax_at,
    unit_rows,
)

from crosscam_trainer.methods.labels import unit  # noqa: E402
from crosscam_trainer.methods.prompts_stage import supcon  # noqa: E402

torch.set_num_threads(1)


@pytest.mark.parametrize("by_camera", [False, True])
@pytest.mark.parametrize("cosine", [False, True])
def test_eq_1_to_3_prompts(by_camera: bool, cosine: bool) -> None:
    images, texts = 2 * unit_rows(10, 5), 3 * unit_rows(10, 5, seed=1)
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
                log_p = torch.stack([log_softmax_at(logits, p) for p in positive])
                total = total - log_p.mean() / len(inside)
        return total

    i2t, t2i = supcon(
        images, texts, PERSON, CAMERA if by_camera else None, temperature=0.7, cosine=cosine
    )
    check_gradient(i2t, plain(v, t), texts)
    check_gradient(t2i, plain(t, v), texts)


def test_prompt_candidates_never_cross_cameras() -> None:
    images, texts = unit_rows(10, 5), unit_rows(10, 5, seed=1)
    before = supcon(images, texts, PERSON, CAMERA)
    only = CAMERA == 0
    others = supcon(images[~only], texts[~only], PERSON[~only], CAMERA[~only])
    moved = torch.where(only[:, None], -texts, texts)
    after = supcon(images, moved, PERSON, CAMERA)
    own = supcon(images[only], moved[only], PERSON[only], CAMERA[only])
    for b, a, rest, mine in zip(before, after, others, own, strict=True):
        assert not torch.allclose(b, a)
        torch.testing.assert_close(a, rest + mine)
