"""Training steps of train_speed.py as plain torch writes them: no operator of crosscam's kernels.

Models, heads, texts and memories are those of crosscam's stages, which must be at the same point.
Losses are full matrices and `cross_entropy`, as the methods' public codes have them; the memory is
updated by a loop over identities; gradients come from `backward`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from kernels_train_cpu import eager_triplet
from torch import Tensor
from torch.nn import functional

from crosscam_kernels.reference.camera_adversarial import camera_adversarial_loss
from crosscam_trainer.methods.ccafl_ccaf import outfit_groups
from crosscam_trainer.methods.labels import cameras_of_pictures

if TYPE_CHECKING:
    from crosscam_trainer.loop.run import TrainingRun
    from crosscam_trainer.methods.base import Stage


def adam(named: Iterable[tuple[str, Any]], recipe: Any) -> torch.optim.Adam:
    """Adam with the two rates that the official codes give weights and biases."""
    weights, biases = [], []
    for name, parameter in named:
        (biases if name.endswith("bias") else weights).append(parameter)
    groups = [{"params": weights, "lr": recipe.lr}]
    if biases:
        groups.append({"params": biases, "lr": recipe.lr * recipe.bias_lr})
    return torch.optim.Adam(groups, weight_decay=recipe.weight_decay)


def go(optimiser: torch.optim.Adam, loss: Tensor) -> None:
    """Take a step."""
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def adversarial(
    x: Tensor, w: Tensor, labels: Tensor, group: Tensor, *rest: Tensor, epsilon: float
) -> Tensor:
    """CCAFL's Eq. 18-19 or CAL's loss with full matrices; the mean over pictures with a group."""
    losses = camera_adversarial_loss(x, w.detach(), labels, group, *rest, epsilon=epsilon)
    return losses.sum() / (group[labels] >= 0).sum()


class Eager:
    """Takes the steps of a stage of `clip_reid`, `ccafl` or `ccafl+ccaf`, the last two in stage 3.

    Args:
        run: Of the stage; its optimisers are not used.
        stage: Has begun, and its epoch has.
    """

    def __init__(self, run: TrainingRun, stage: Stage) -> None:
        self.model, self.stage = run.model, stage
        self.optimisers = {
            name: adam(part.parameters, part.recipe) for name, part in stage.parts().items()
        }

    def step(self, batch: Any) -> dict[str, Tensor]:
        """Take a step; returns its losses, unweighted, by crosscam's names."""
        features = self.model(batch["image"], cameras_of_pictures(batch))
        losses: dict[str, Tensor]
        if hasattr(self.stage, "heads"):
            losses = self._supervised(features, batch["person"])
            go(self.optimisers["encoder"], sum(losses.values(), torch.zeros(())))
        else:
            losses = self._camera_agnostic(features, batch)
        return {name: loss.detach() for name, loss in losses.items()}

    def _supervised(self, features: Any, person: Tensor) -> dict[str, Tensor]:
        stage: Any = self.stage
        smoothing, heads = 0.1, stage.heads
        return {
            "id": functional.cross_entropy(
                heads.final(features.final_bn), person, label_smoothing=smoothing
            )
            + functional.cross_entropy(
                heads.joint(features.joint_bn), person, label_smoothing=smoothing
            ),
            "triplet": eager_triplet(features.previous, person)
            + eager_triplet(features.final, person)
            + eager_triplet(features.joint, person),
            "i2tce": functional.cross_entropy(
                features.joint @ stage.texts.T, person, label_smoothing=smoothing
            ),
        }

    def _camera_agnostic(self, features: Any, batch: Any) -> dict[str, Tensor]:
        stage: Any = self.stage
        person, weight, memory = batch["person"], stage.classifier.weight, stage._identities
        f = functional.normalize(features.final_bn)
        gid = functional.cross_entropy(16 * f.detach() @ functional.normalize(weight).T, person)
        go(self.optimisers["classifier"], gid)
        target = stage.pseudo[person]
        losses = {
            "ipcl": functional.cross_entropy(f @ memory.rows.T / 0.05, target, ignore_index=-1),
            "i2tce_inter": functional.cross_entropy(
                features.joint @ memory.texts.T, target, ignore_index=-1, label_smoothing=0.1
            ),
            "ical": adversarial(f, weight, person, stage.pseudo, stage.camera_of, epsilon=0.8),
        }
        examined = {}
        if hasattr(stage, "examiner"):
            joint, worn = features.joint, stage._outfits.of_picture[batch["index"]]
            texts, examiner = stage._clothes_texts, stage.examiner
            read = functional.normalize(joint.detach() @ examiner.weight.T)
            examined["examine"] = functional.cross_entropy(
                16 * read @ functional.normalize(texts).T, worn
            )
            go(self.optimisers["examiner"], examined["examine"])
            shielded = stage._shielded.rows["joint"][batch["index"]]
            losses["i2i"] = 1 - functional.cosine_similarity(joint, shielded).mean()
            group = outfit_groups(stage.pseudo, stage._outfits)
            losses["cfm"] = adversarial(
                joint @ examiner.weight.detach().T, texts, worn, group, epsilon=0.1
            )
        go(self.optimisers["encoder"], sum(losses.values(), torch.zeros((), device=f.device)))
        with torch.no_grad():
            for identity in target[target >= 0].unique().tolist():
                row = 0.1 * memory.rows[identity] + 0.9 * f[target == identity].mean(0)
                memory.rows[identity] = row / row.norm()
        return {"gid": gid} | losses | examined
