"""Learned prompts: ``A photo of a [X]1 [X]2 [X]3 [X]4 person.``, one for every label.

CLIP-ReID (Li et al., AAAI 2023, Section 3.2) learns one prompt per identity, CCAFL (Tan et al.,
TCSVT 2025, Section III-B) one per camera and identity, which is one per accumulated label;
clothes prompts (SCI, arXiv 2412.01345) follow the same pattern. The tokens [X] are free vectors in
the space of word embeddings; everything else of the text and the text encoder stay as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from crosscam_kernels.errors import InputError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor

    from crosscam_trainer.models.types import TextTower

PERSON = "A photo of a {} person."
CLOTHES = "A photo of the {} clothes."
_PLACEHOLDER = "X"


class PromptLearner(nn.Module):
    """Prompts of `N` labels with learned tokens exactly where the template has its placeholder.

    CCAFL's released code exchanges 5 or 6 tokens after the start for Market-1501 and DukeMTMC, one
    or two off the placeholders; here, as in CLIP-ReID, they sit on them.

    Args:
        text: The frozen encoder. It is used and not owned: `parameters()` of this module are the
            learned tokens only.
        number: Of labels, `N`.
        template: A text with ``{}`` where the tokens go: `PERSON` or `CLOTHES`.
        count: Learned tokens in each prompt, `M`.
        std: Of the normal distribution that they start from.
        generator: Where they are drawn from; torch's own by default.

    Attributes:
        learned: `(N, M, W)` float32, the parameters.

    Raises:
        InputError: No labels, a template without one placeholder, or a prompt that is too long.
    """

    learned: nn.Parameter

    def __init__(
        self,
        text: TextTower,
        number: int,
        template: str = PERSON,
        *,
        count: int = 4,
        std: float = 0.02,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if number < 1 or count < 1:
            raise InputError(f"{number} prompts of {count} learned tokens", expected="at least one")
        if template.count("{}") != 1:
            raise InputError(
                f"prompt template {template!r}", expected="exactly one {}, as in " + PERSON
            )
        before, after = template.split("{}")
        if (before and not before.endswith(" ")) or (after and not after.startswith(" ")):
            raise InputError(
                f"prompt template {template!r}", expected="spaces around {}, as in " + PERSON
            )
        tokens = text.tokens([template.format(" ".join([_PLACEHOLDER] * count))])
        # the end of a text has the highest number of all tokens
        prefix = int(text.tokens([before.strip()]).argmax())
        embedded = text.embed(tokens).detach()
        self._text = (text,)  # in a tuple, so that torch does not take it for a part of this module
        self.register_buffer("tokens", tokens, persistent=False)
        self.register_buffer("prefix", embedded[:, :prefix].clone(), persistent=False)
        self.register_buffer("suffix", embedded[:, prefix + count :].clone(), persistent=False)
        drawn = torch.empty(number, count, text.width).normal_(0, std, generator=generator)
        self.learned = nn.Parameter(drawn.to(embedded.device))

    def __len__(self) -> int:
        """How many labels there are."""
        return len(self.learned)

    def forward(self, labels: Tensor | None = None) -> Tensor:
        """Encode the prompts of labels, with gradients to their learned tokens.

        Args:
            labels: `(B,)` int64 in 0 … N - 1, repeated ones allowed; None for all, in order.

        Returns:
            `(B, J)` float, not normalised.

        Raises:
            ShapeError: Labels are not one row of integers.
        """
        if labels is None:
            chosen = self.learned
        elif labels.ndim != 1 or labels.is_floating_point():
            raise ShapeError(
                f"labels of shape {tuple(labels.shape)} and type {labels.dtype}",
                expected="(B,) of integers",
            )
        else:
            chosen = self.learned[labels]
        return self._encode(chosen)

    def encode_all(self, *, chunk: int = 256) -> Tensor:
        """Encode all prompts, some at a time.

        With gradients enabled, the activations of a chunk are computed again when going back, so
        that the memory is that of one chunk: the prompts of 4,821 accumulated labels of MSMT17 can
        be trained at once.

        Args:
            chunk: Prompts at a time; changes memory, not the result.

        Returns:
            `(N, J)`, not normalised.
        """
        parts = self.learned.split(chunk)
        if torch.is_grad_enabled() and self.learned.requires_grad:
            return torch.cat([checkpoint(self._encode, p, use_reentrant=False) for p in parts])
        return torch.cat([self._encode(p) for p in parts])

    def _encode(self, learned: Tensor) -> Tensor:
        n = len(learned)
        prefix, suffix = self.prefix.expand(n, -1, -1), self.suffix.expand(n, -1, -1)
        embedded = torch.cat([prefix, learned.to(prefix.dtype), suffix], 1)
        found: Tensor = self._text[0](embedded, self.tokens.expand(n, -1))
        return found
