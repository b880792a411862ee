"""The contract between towers, heads and training methods: which features there are.

Names follow CLIP-ReID (Li et al., AAAI 2023) and CCAFL (Tan et al., TCSVT 2025): the *final*
feature is that of the image encoder's last block, the *joint* feature its projection into the space
that images and texts share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class TowerFeatures(NamedTuple):
    """What an image tower makes of `B` pictures, before any head.

    Attributes:
        previous: `(B, P)`, pooled output of the block before the last (layer3 of a ResNet, the
            class token after layer 11 of ViT-B); CLIP-ReID puts a triplet loss on it.
        map: `(B, C, h, w)`, output of the last block over the picture's grid. Heads that pool by
            themselves (GeM) start from it.
        final: `(B, C)`, the tower's own summary of `map`: the mean for convolutional towers, the
            class token after its normalisation for transformers.
        joint: `(B, J)`, in the space shared with texts; not normalised.
    """

    previous: Tensor
    map: Tensor
    final: Tensor
    joint: Tensor


class Features(NamedTuple):
    """What a model makes of `B` pictures; in training, of the pictures of all ranks.

    Attributes:
        previous: `(B, P)`, as in `TowerFeatures`.
        final: `(B, D)`, pooled by the model's head, before its BN neck. Triplet losses use it.
        final_bn: `(B, D)`, after the BN neck (bias frozen at 0). Classifiers and, L2-normalised,
            memories use it.
        joint: `(B, J)`, in the space shared with texts, not normalised. Image-to-text losses
            use it.
        joint_bn: `(B, J)`, after a BN neck of its own.
    """

    previous: Tensor
    final: Tensor
    final_bn: Tensor
    joint: Tensor
    joint_bn: Tensor


class ImageTower(Protocol):
    """The image encoder of a CLIP model, for pictures of one fixed size.

    Attributes:
        previous_dim: `P` of `TowerFeatures`.
        final_dim: `C`.
        joint_dim: `J`.
    """

    previous_dim: int
    final_dim: int
    joint_dim: int

    def __call__(self, images: Tensor, cameras: Tensor | None = None) -> TowerFeatures:
        """Encode pictures.

        Args:
            images: `(B, 3, H, W)` float, normalised as the model's `Preparation` says.
            cameras: `(B,)` int64, only used by towers with camera embeddings (SIE).
        """
        ...


class TextTower(Protocol):
    """The text encoder of the same CLIP model. Frozen by every method.

    Attributes:
        width: Dimension `W` of its token embeddings.
        context: Most tokens in a text, `L`.
        joint_dim: `J`, as of the image tower.
    """

    width: int
    context: int
    joint_dim: int

    def tokens(self, texts: list[str]) -> Tensor:
        """Return token numbers, `(N, L)` int64: start, words, end of text, zeros.

        Raises:
            InputError: A text is longer than the context.
        """
        ...

    def embed(self, tokens: Tensor) -> Tensor:
        """Return embeddings of token numbers, `(N, L, W)`."""
        ...

    def __call__(self, embedded: Tensor, tokens: Tensor) -> Tensor:
        """Encode texts whose embeddings may have been exchanged by learned ones.

        Args:
            embedded: `(N, L, W)`, with gradients if they are learned.
            tokens: `(N, L)` int64, to find the ends of texts.

        Returns:
            `(N, J)`, not normalised.
        """
        ...
