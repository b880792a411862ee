"""`ReIDModel`: an image tower with pooling and BN necks, and the embedding that finds people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import nn
from torch.nn import functional

from crosscam_trainer.models.types import Features, ImageTower

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class GeM(nn.Module):
    """Generalised-mean pooling, `(B, C, h, w)` to `(B, C)`, with a learned exponent.

    Radenović et al., "Fine-tuning CNN image retrieval with no human annotation", TPAMI 2018, Eq. 3;
    CCAFL starts at `p` = 3.
    """

    def __init__(self, p: float = 3.0, floor: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))
        self.floor = floor

    def forward(self, x: Tensor) -> Tensor:
        """Pool; inputs are raised to at least `floor`, as powers need positive numbers."""
        power = x.float().clamp(min=self.floor).pow(self.p)
        return power.mean((2, 3)).pow(1 / self.p)


class MaxAvg(nn.Module):
    """Maximum beside mean, `(B, C, h, w)` to `(B, 2C)`: the pooling of CAL's official code.

    Simple-CCReID, ``models/utils/pooling.py``, ``MaxAvgPooling``. The gradient of equal maxima is
    shared among them; torch's max pooling gives it to one, in an order that CUDA does not promise.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        x = x.float()
        return torch.cat([x.amax((2, 3)), x.mean((2, 3))], 1)


def bn_neck(dim: int) -> nn.BatchNorm1d:
    """Return the BN neck of Luo et al., "Bag of Tricks", CVPRW 2019: no shift is learned."""
    neck = nn.BatchNorm1d(dim)
    neck.bias.requires_grad_(False)
    return neck


_POOLS: dict[str, Callable[[], nn.Module | None]] = {
    "gem": GeM,
    "max_avg": MaxAvg,
    "own": lambda: None,
}


class ReIDModel(nn.Module):
    """Features for training, and the embedding for retrieval.

    The tower runs on the pictures of this rank; what follows it on those of all ranks, so that BN
    statistics, mined pairs and memories are those of the whole batch on any number of devices. On
    one device nothing is gathered.

    Args:
        tower: Image encoder.
        pooling: Where `Features.final` comes from: "gem" over the map (CCAFL), "max_avg" over it
            (CAL; twice as long), or the tower's "own" summary (CLIP-ReID).
        embedding: What people are found by: "final_bn" (CCAFL, CAL), "joint_bn", or "concat" of
            `final` and `joint` before their necks (CLIP-ReID).
        whiten: Whether `embed` multiplies by `whitening`.

    Attributes:
        final_dim: `D` of `Features`: the tower's `C`, or twice that with "max_avg".
        joint_dim: `J`.
        embedding_dim: Dimension of `embed`.
        whitening: `(E, E)`, see `methods.whitening`; the identity until it is set. None without.
    """

    whitening: Tensor | None

    def __init__(
        self,
        tower: nn.Module,
        pooling: Literal["gem", "max_avg", "own"] = "gem",
        embedding: Literal["final_bn", "joint_bn", "concat"] = "final_bn",
        *,
        whiten: bool = False,
    ) -> None:
        super().__init__()
        sizes = cast("ImageTower", tower)
        self.tower = tower
        self.pool: nn.Module | None = _POOLS[pooling]()
        self.final_dim = sizes.final_dim * (2 if pooling == "max_avg" else 1)
        self.joint_dim = sizes.joint_dim
        self.final_neck = bn_neck(self.final_dim)
        self.joint_neck = bn_neck(self.joint_dim)
        self.embedding = embedding
        self.embedding_dim = {
            "final_bn": self.final_dim,
            "joint_bn": self.joint_dim,
            "concat": self.final_dim + self.joint_dim,
        }[embedding]
        self.register_buffer("whitening", torch.eye(self.embedding_dim) if whiten else None)

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> Features:
        """Compute features, of the pictures of all ranks in training mode.

        Args:
            images: `(b, 3, H, W)` of this rank.
            cameras: `(b,)` int64, for towers with camera embeddings; or `(B,)`, as batches hold the
                labels of all ranks.

        Returns:
            In float32, whatever precision the tower ran in; `B` is `b` times the number of ranks,
            in the order of ranks.
        """
        if cameras is not None and len(cameras) > len(images):
            start = torch.distributed.get_rank() * len(images)
            cameras = cameras[start : start + len(images)]
        found = self.tower(images, cameras)
        final = found.final if self.pool is None else self.pool(found.map)
        rows = [found.previous.float(), final.float(), found.joint.float()]
        if self.training:
            rows = gather_rows(rows)
        with torch.autocast(images.device.type, enabled=False):
            previous, final, joint = rows
            return Features(previous, final, self.final_neck(final), joint, self.joint_neck(joint))

    def embed(self, images: Tensor, cameras: Tensor | None = None) -> Tensor:
        """Return L2-normalised embeddings `(B, embedding_dim)`; what is exported."""
        features = self(images, cameras)
        if self.embedding == "concat":
            chosen = torch.cat([features.final, features.joint], 1)
        elif self.embedding == "joint_bn":
            chosen = features.joint_bn
        else:
            chosen = features.final_bn
        if self.whitening is not None:
            with torch.autocast(images.device.type, enabled=False):
                chosen = chosen @ self.whitening
        return functional.normalize(chosen, dim=1)


def gather_rows(rows: list[Tensor]) -> list[Tensor]:
    """Gather `(b, …)` tensors of all ranks into `(B, …)`, gradients included.

    The gradient of a loss that every rank computes alike over all rows reaches each rank's own rows
    as often as there are ranks; averaging over ranks, as DDP does, then gives that of one process.
    """
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return rows
    if torch.distributed.get_world_size() == 1:
        return rows
    gathered: list[Tensor] = [_Gather.apply(r) for r in rows]
    return gathered


class _Gather(torch.autograd.Function):
    """Rows of all ranks, in the order of ranks; every rank has equally many."""

    @staticmethod
    def forward(_ctx: Any, rows: Tensor) -> Tensor:
        parts = [
            torch.empty_like(rows, memory_format=torch.contiguous_format)
            for _ in range(torch.distributed.get_world_size())
        ]
        torch.distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        own = len(total) // torch.distributed.get_world_size()
        start = torch.distributed.get_rank() * own
        return total[start : start + own]
