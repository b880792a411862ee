"""Inter-camera learning with pseudo identities: stage 3 of CCAFL, Eq. 13-16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from crosscam_kernels import memory_infonce, triplet_loss, update_memory
from crosscam_trainer.methods.labels import centroids, mean_by_label
from crosscam_trainer.recipe import Share, Strict

if TYPE_CHECKING:
    from torch import Tensor


class InterOptions(Strict):
    """Inter-camera learning; paper equations by default."""

    temperature: PositiveFloat = Field(default=0.05, description="tau of Eq. 14")
    momentum: Share = Field(default=0.1, description="alpha of Eq. 13, the share that is kept")
    hard_update: bool = Field(
        default=False,
        description="official code only: the memory moves towards the least similar picture of an "
        "identity instead of their mean",
    )
    text_weight: NonNegativeFloat = Field(default=1.0, description="of Eq. 15; the paper has 1")
    text_start_epoch: NonNegativeInt = Field(
        default=0,
        description="of the schedule; official code: 10 for Market-1501, 40 for the others",
    )
    label_smoothing: Share = Field(default=0.1, description="of Eq. 15")
    triplet: bool = Field(
        default=False, description="official code only: batch-hard triplet with pseudo identities"
    )
    margin: NonNegativeFloat = Field(default=0.3, description="of the triplet loss")


@dataclass(slots=True)
class IdentityMemory:
    """What is known of the `Z` pseudo identities of an epoch.

    Attributes:
        pseudo: `(G,)` int64, pseudo identity of each label, -1 for none.
        rows: `(Z, D)`, M of Eq. 13, unit length.
        texts: `(Z, J)`, prototypes of Eq. 15: the mean text over an identity's pictures.
    """

    pseudo: Tensor
    rows: Tensor
    texts: Tensor

    @classmethod
    def of(
        cls, features: Tensor, texts: Tensor, person: Tensor, pseudo: Tensor, identities: int
    ) -> IdentityMemory:
        """Build the memory anew from the features of the training split.

        Args:
            features: `(N, D)`.
            texts: `(G, J)` of stage 1.
            person: `(N,)` int64 accumulated labels.
            pseudo: `(G,)` int64.
            identities: `Z`.
        """
        of_picture = pseudo[person]
        return cls(
            pseudo,
            centroids(features, of_picture, identities),
            mean_by_label(texts[person], of_picture, identities),
        )

    def update(self, f: Tensor, person: Tensor, momentum: float, *, hardest: bool) -> None:
        """Take in a batch after its backward pass (Eq. 13).

        Args:
            f: `(B, D)`, unit length.
            person: `(B,)` int64 accumulated labels.
            momentum: alpha.
            hardest: Move towards the least similar picture of each identity, else their mean.
        """
        mode: Literal["hardest", "mean"] = "hardest" if hardest else "mean"
        update_memory(self.rows, f.detach(), self.pseudo[person], momentum, mode)

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything by name."""
        return {"pseudo": self.pseudo, "identity_rows": self.rows, "identity_texts": self.texts}

    @classmethod
    def load(cls, state: dict[str, Tensor], device: object) -> IdentityMemory:
        """Take over `state_dict`."""
        names = ("pseudo", "identity_rows", "identity_texts")
        return cls(*(state[name].to(device) for name in names))


def inter_losses(
    f: Tensor,
    joint: Tensor,
    person: Tensor,
    memory: IdentityMemory,
    options: InterOptions,
    epoch: int,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return `L_inter` (Eq. 16) and its parts; labels without partner take no part.

    Args:
        f: `(B, D)`, unit length.
        joint: `(B, J)`.
        person: `(B,)` int64 accumulated labels.
        memory: Of the epoch.
        options: Weights and switches.
        epoch: Of the schedule, from 0.
    """
    target = memory.pseudo[person]
    parts = {
        "ipcl": memory_infonce(f, memory.rows, target, temperature=options.temperature)  # Eq. 14
    }
    total = parts["ipcl"]
    if options.text_weight > 0 and epoch >= options.text_start_epoch:
        parts["i2tce_inter"] = memory_infonce(  # Eq. 15
            joint,
            memory.texts,
            target,
            temperature=1.0,
            label_smoothing=options.label_smoothing,
        )
        total = total + options.text_weight * parts["i2tce_inter"]  # Eq. 16
    if options.triplet:
        paired = target >= 0
        parts["triplet"] = triplet_loss(f[paired], target[paired], margin=options.margin)
        total = total + parts["triplet"]
    return total, parts
