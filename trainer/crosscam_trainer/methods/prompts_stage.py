"""Learning prompts while both encoders are frozen: CLIP-ReID's first stage, CCAFL's Eq. 1-3.

    L_prompt = L_i2t + L_t2i                                                               (Eq. 1)
    L_i2t = - sum_i mean_{p in P_i} log(exp(s(v_i, t_p) / tau) / sum_k exp(s(v_i, t_k) / tau))
                                                                                           (Eq. 2)
    L_t2i = the same with texts as anchors and pictures as candidates                      (Eq. 3)

where `P_i` are the members of the batch with the label of `i`. Candidates `k` are the members of
the batch; in CCAFL those of the same camera, and both losses are summed over cameras.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from crosscam_kernels import memory_infonce
from crosscam_kernels.errors import InputError
from crosscam_trainer.data.samplers import Shuffled
from crosscam_trainer.methods.base import Part, Stage
from crosscam_trainer.methods.labels import camera_means, unit
from crosscam_trainer.models.prompts import PERSON, PromptLearner
from crosscam_trainer.recipe import OptimiserRecipe, Strict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor, nn

    from crosscam_trainer.data.dataset import Batch
    from crosscam_trainer.data.samplers import EpochSampler
    from crosscam_trainer.methods.base import Run
    from crosscam_trainer.models.types import TextTower

PROMPT_OPTIMISER = OptimiserRecipe(
    lr=3.5e-4,
    weight_decay=1e-4,
    schedule="cosine",
    final_lr=1e-6,
    warmup_epochs=5,
    warmup_from=1e-5 / 3.5e-4,
)
"""CLIP-ReID and CCAFL: Adam, cosine from 3.5e-4 to 1e-6, 5 epochs of warm-up from 1e-5."""


class PromptOptions(Strict):
    """Learning of prompts."""

    epochs: NonNegativeInt = Field(
        default=60, description="CCAFL and CLIP-ReID's ResNet; CLIP-ReID's ViT: 120"
    )
    batch: PositiveInt = Field(default=64, description="pictures, of any people")
    tokens: PositiveInt = Field(default=4, description="learned tokens in each prompt, the M of X")
    temperature: PositiveFloat = Field(
        default=1.0, description="tau; 1 in both codes, on features that are not normalised"
    )
    cosine: bool = Field(
        default=False, description="s is the cosine, as the papers write; their codes do not"
    )
    text_batch: Annotated[int, Field(ge=1)] = Field(
        default=256, description="prompts encoded at a time when all are; memory only"
    )
    optimiser: OptimiserRecipe = PROMPT_OPTIMISER


def supcon(
    images: Tensor,
    texts: Tensor,
    labels: Tensor,
    cameras: Tensor | None = None,
    *,
    temperature: float = 1.0,
    cosine: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return `L_i2t` (Eq. 2) and `L_t2i` (Eq. 3) of a batch.

    Args:
        images: `(B, J)`, fixed.
        texts: `(B, J)`, the text of each picture's label, with gradients.
        labels: `(B,)` int64.
        cameras: `(B,)` int64: candidates are those of the same camera, and the losses of cameras
            are summed; None: candidates are the batch.
        temperature: tau.
        cosine: Similarity is the cosine, else the inner product.
    """
    images, texts = images.detach(), texts.to(images.dtype)
    if cosine:
        images, texts = unit(images), unit(texts)
    group = torch.zeros_like(labels) if cameras is None else cameras
    # Texts are what learns; the operator fixes its bank, so as candidates they are written out.
    with torch.autocast(images.device.type, enabled=False):
        logits = images @ texts.T / temperature
    outside = group[:, None] != group[None, :]
    positive = (labels[:, None] == labels[None, :]) & ~outside
    log_p = logits - logits.masked_fill(outside, float("-inf")).logsumexp(1, keepdim=True)
    i2t = -(log_p * positive).sum(1) / positive.sum(1)
    t2i = memory_infonce(
        texts,
        images,
        labels,
        labels=labels,
        cameras=group,
        bank_cameras=group,
        candidates="only_same",
        temperature=temperature,
        reduction="none",
    )
    return camera_means(i2t, group), camera_means(t2i, group)


class PromptStage(Stage):
    """Learns one prompt for each label from cached features of the frozen image encoder.

    The features are no part of checkpoints: the encoder that is saved gives the same ones again.

    Args:
        run: What it is trained for.
        options: How.
        number: Of labels.
        labels: `(N,)` int64, label of each picture of the training split; negative: left out.
        cameras: `(N,)` int64, to contrast inside cameras only (CCAFL); None for CLIP-ReID.
        template: Text with ``{}`` where the tokens go.
        images: Which pictures to look at, as `Run.extract`.
        name: Of the stage.

    Attributes:
        prompts: What is learned.

    Raises:
        InputError: The model has no text tower, or no picture has a label.
    """

    needs_pictures = False

    def __init__(
        self,
        run: Run,
        options: PromptOptions,
        number: int,
        labels: Tensor,
        cameras: Tensor | None = None,
        *,
        template: str = PERSON,
        images: str = "image",
        name: str = "prompts",
    ) -> None:
        self.name, self.epochs = name, options.epochs
        self._options, self._images, self._labels, self._cameras = options, images, labels, cameras
        self._seed = run.seed
        self.prompts = PromptLearner(text_tower(run), number, template, count=options.tokens).to(
            run.device
        )
        self._features: Tensor | None = None

    def begin(self, run: Run) -> None:
        """Cache `v_i`, the joint features of the training split."""
        self._features = run.extract(self._images).joint

    def resume(self, run: Run) -> None:
        """Cache them again: nothing that they follow from learns here."""
        self.begin(run)

    def end(self) -> None:
        """Forget them; later stages read the prompts."""
        self._features = None

    def parts(self) -> Mapping[str, Part]:
        """Return the learned tokens: nothing else learns."""
        parameters = tuple(self.prompts.named_parameters())
        return {"prompts": Part(parameters, self._options.optimiser)}

    def sampler(self, *, rank: int, world_size: int) -> EpochSampler:
        """Return shuffled pictures."""
        batch = min(self._options.batch, len(self._labels) // world_size * world_size)
        return Shuffled(len(self._labels), batch, seed=self._seed, rank=rank, world_size=world_size)

    def step(self, run: Run, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """Take a step on `L_prompt` (Eq. 1)."""
        assert self._features is not None
        index = batch["index"]
        index = index[self._labels[index] >= 0]
        labels = self._labels[index]
        each, inverse = labels.unique(return_inverse=True)
        i2t, t2i = supcon(
            self._features[index],
            self.prompts(each)[inverse],
            labels,
            None if self._cameras is None else self._cameras[index],
            temperature=self._options.temperature,
            cosine=self._options.cosine,
        )
        run.minimise("prompts", i2t + t2i)
        return {"i2t": i2t.detach(), "t2i": t2i.detach()}

    def texts(self) -> Tensor:
        """Return the texts of all labels as they are now, `(number, J)`, fixed."""
        with torch.no_grad():
            return self.prompts.encode_all(chunk=self._options.text_batch).float()

    def modules(self) -> Iterable[tuple[str, nn.Module]]:
        """Return the prompts."""
        return (("prompts", self.prompts),)


def text_tower(run: Run) -> TextTower:
    """Return the text tower of a run.

    Raises:
        InputError: The model has none.
    """
    if run.text is None:
        raise InputError(
            "the model has no text tower",
            expected="one to learn prompts with",
            fix="take a CLIP model as model.tower, or a method without texts such as cal",
        )
    return run.text
