"""The text encoder of a CLIP model as a frozen `TextTower`, with learned tokens let in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import open_clip
import torch
from open_clip.transformer import TextTransformer, text_global_pool
from torch import nn

from crosscam_kernels.errors import InputError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from crosscam_trainer.models.types import TextTower


class ClipText(nn.Module):
    """A `TextTower` over open_clip's text transformer. No parameter of it is ever trained.

    Where every word sees only those before it (CLIP's causal mask), what follows the end of a text
    changes nothing; such towers compute no further than the longest text of the call, which makes
    prompts of 10 words out of 77 several times as fast.

    Args:
        clip: `open_clip.CLIP` or `open_clip.CustomTextCLIP`; its text encoder is taken over.

    Attributes:
        width: `W` of `TextTower`.
        context: `L`.
        joint_dim: `J`.

    Raises:
        InputError: A text encoder that is not a plain transformer of open_clip.
    """

    def __init__(self, clip: Any) -> None:
        super().__init__()
        text = clip if isinstance(clip, open_clip.CLIP) else getattr(clip, "text", None)
        custom = isinstance(text, TextTransformer)
        if not custom and not isinstance(clip, open_clip.CLIP):
            raise InputError(
                f"text encoder {type(text).__name__}", expected="a text transformer of open_clip"
            )
        assert text is not None
        if custom and (text.cls_emb is not None or text.use_pad_mask):
            raise InputError(
                "this text encoder appends a token of its own or masks padding",
                expected="one that reads texts as CLIP does",
                fix="use another model.tower",
            )
        self.token_embedding: nn.Embedding = text.token_embedding
        self.positional_embedding: nn.Parameter = text.positional_embedding
        self.transformer: nn.Module = text.transformer
        self.ln_final: nn.Module = text.ln_final
        self.text_projection: nn.Module | nn.Parameter | None = text.text_projection
        self.register_buffer("mask", text.attn_mask, persistent=False)
        self._pooling: str = text.pool_type if custom else text.text_pool_type
        self._end: int = text.eos_id if custom else text.text_eos_id
        self.width: int = self.token_embedding.embedding_dim
        self.context: int = len(self.positional_embedding)
        self.joint_dim = self._joint_dim()
        self._tokenizer = open_clip.SimpleTokenizer(context_length=self.context)
        if self._tokenizer.vocab_size != self.token_embedding.num_embeddings:
            raise InputError(
                f"a vocabulary of {self.token_embedding.num_embeddings} tokens",
                expected=f"CLIP's, of {self._tokenizer.vocab_size}",
                fix="use another model.tower",
            )
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> ClipText:
        """Stay in evaluation mode: the tower is frozen."""
        super().train(False)
        return self

    def tokens(self, texts: list[str]) -> Tensor:
        """See `TextTower`; works offline, on the device of the tower."""
        for text in texts:
            length = len(self._tokenizer.encode(text)) + 2
            if length > self.context:
                raise InputError(
                    f"the text {text[:60]!r}… has {length} tokens",
                    expected=f"at most {self.context}, start and end included",
                    fix="shorten it",
                )
        return self._tokenizer(texts).to(self.positional_embedding.device)

    def embed(self, tokens: Tensor) -> Tensor:
        """See `TextTower`."""
        embedded: Tensor = self.token_embedding(tokens)
        return embedded

    def forward(self, embedded: Tensor, tokens: Tensor) -> Tensor:
        """See `TextTower`."""
        if embedded.shape != (*tokens.shape, self.width) or tokens.shape[1] > self.context:
            raise ShapeError(
                f"embedded {tuple(embedded.shape)} and tokens {tuple(tokens.shape)}",
                expected=f"(N, L, {self.width}) and (N, L) with L up to {self.context}",
            )
        length = tokens.shape[1]
        mask: Tensor | None = self.mask
        if mask is not None:
            length = int(tokens.argmax(1).max()) + 1 if len(tokens) else length
            mask = mask[:length, :length]
        tokens = tokens[:, :length]
        x = embedded[:, :length]
        x = x + self.positional_embedding[:length].to(x.dtype)
        x = self.ln_final(self.transformer(x, attn_mask=mask))
        pooled = text_global_pool(x, tokens, self._pooling, eos_token_id=self._end)
        if isinstance(self.text_projection, nn.Module):
            found: Tensor = self.text_projection(pooled)
        elif self.text_projection is not None:
            found = pooled @ self.text_projection
        else:
            found = pooled
        return found

    def _joint_dim(self) -> int:
        projection = self.text_projection
        if isinstance(projection, nn.Linear):
            return int(projection.out_features)
        return self.width if projection is None else int(projection.shape[1])


def encode_texts(text: TextTower, texts: list[str], *, chunk: int = 256) -> Tensor:
    """Encode plain texts, such as captions.

    Args:
        text: The encoder.
        texts: `N` of them.
        chunk: How many at a time; bounds the memory, not the result.

    Returns:
        `(N, J)`, not normalised, in the order of `texts`.

    Raises:
        InputError: There is no text, or one is too long.
    """
    if not texts:
        raise InputError("no texts to encode", expected="at least one")
    with torch.no_grad():
        return torch.cat(list(_encoded(text, texts, chunk)))


def _encoded(text: TextTower, texts: list[str], chunk: int) -> Iterator[Tensor]:
    for start in range(0, len(texts), chunk):
        tokens = text.tokens(texts[start : start + chunk])
        yield text(text.embed(tokens), tokens)
