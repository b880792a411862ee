"""Which tactic and which tile `similarity_topk` uses for a problem: a table, not a search.

Nothing is tuned at the first call. The rows were chosen from bytes, operations and the registers
and shared memory that the compiler reports for each architecture; none spills with the masks it is
used for. `benchmarks/kernels_gpu.py` measures them on a device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

MAX_K = 64  # longest list that the tactics "stream" and "groups" keep in registers
STREAM_QUERIES = 96  # up to here the gallery's bytes cost more than the product
BLACKWELL = (10, 11)  # major versions whose products end in tensor memory

Tactic = Literal["stream", "groups", "chunks"]


@dataclass(frozen=True)
class Tile:
    """How a kernel walks a problem: queries x gallery rows x features, warps, load stages."""

    bm: int
    bn: int
    bd: int
    num_warps: int
    num_stages: int


@dataclass(frozen=True)
class Device:
    """What the choice needs to know of a GPU.

    Attributes:
        capability: Compute capability, (9, 0) for an H200.
        multiprocessors: How many there are.
    """

    capability: tuple[int, int]
    multiprocessors: int

    @property
    def large_shared(self) -> bool:
        """Whether a multiprocessor has more than 160 KiB of shared memory, not about 100."""
        return self.capability in ((8, 0), (8, 7)) or self.capability[0] in (9, *BLACKWELL)


@dataclass(frozen=True)
class Plan:
    """A tactic and its parameters; those of other tactics are ignored.

    Attributes:
        tactic: ``"stream"``, ``"groups"`` or ``"chunks"``.
        tile: Tile of the product.
        splits: Parts of the gallery ("stream").
        share: Whether programs share the k-th key ("stream").
        group: Rows of a group ("groups").
    """

    tactic: Tactic
    tile: Tile
    splits: int = 1
    share: bool = False
    group: int = 32


# Bytes of an element -> (most queries, tile). The tile of 16 queries needs at most 48 KiB of shared
# memory on every architecture, which is what a TensorRT plugin may use.
STREAM: dict[int, tuple[tuple[int, Tile], ...]] = {
    1: (
        (16, Tile(16, 128, 128, 4, 3)),
        (32, Tile(32, 128, 128, 4, 3)),
        (64, Tile(64, 128, 128, 8, 3)),
    ),
    2: (
        (16, Tile(16, 128, 64, 4, 3)),
        (32, Tile(32, 128, 64, 4, 3)),
        (64, Tile(64, 128, 64, 8, 3)),
    ),
    4: (
        (16, Tile(16, 128, 32, 4, 3)),
        (32, Tile(32, 64, 32, 4, 3)),
        (64, Tile(64, 64, 16, 8, 3)),
    ),
}
# Bytes of an element -> tile on GPUs with little shared memory, with much, and with much but masks
# that take registers.
GROUPS: dict[int, tuple[Tile, Tile, Tile]] = {
    1: (Tile(128, 128, 64, 8, 3), Tile(128, 128, 128, 8, 3), Tile(128, 128, 128, 8, 3)),
    2: (Tile(128, 128, 32, 8, 3), Tile(128, 256, 64, 8, 3), Tile(128, 128, 64, 8, 3)),
    4: (Tile(64, 128, 32, 8, 3), Tile(64, 128, 32, 8, 3), Tile(64, 128, 32, 8, 3)),
}
GROUPS_BLACKWELL_HEAVY = {1: Tile(128, 64, 128, 8, 3), 2: Tile(128, 64, 64, 8, 3)}


def choose(
    q: int, g: int, d: int, k: int, dtype: torch.dtype, device: Device, *, heavy: bool = False
) -> Plan:
    """The plan for a search.

    Args:
        q: Queries.
        g: Gallery rows.
        d: Features.
        k: Results per query.
        dtype: Of the gallery.
        device: Where.
        heavy: Whether there are masks that take registers (adjacency, times).
    """
    size = dtype.itemsize
    dense = groups_tile(size, device, heavy=heavy)
    if k > MAX_K:
        return Plan("chunks", dense)
    group = group_rows(g, d, k, size)
    few_groups = g < 4 * k * group  # nearly every row would be computed twice
    if q > STREAM_QUERIES and not few_groups:
        return Plan("groups", dense, group=group)
    tile = stream_tile(q, k, size, device)
    tiles = -(-g // tile.bn)
    programs = device.multiprocessors * (4 if device.large_shared and tile.num_warps == 4 else 2)
    splits = max(min(programs // -(-q // tile.bm), tiles), 1)
    # Sharing costs one more launch; it pays once a split is long enough to skip tiles.
    return Plan("stream", tile, splits=splits, share=tiles >= 8 * splits)


def stream_tile(q: int, k: int, size: int, device: Device) -> Tile:
    """The tile of "stream" for q queries."""
    if q > 32 and k > 16 and device.capability[0] in BLACKWELL:
        q = 32  # lists of 64 queries would spill there
    return next((tile for most, tile in STREAM[size] if q <= most), STREAM[size][-1][1])


def groups_tile(size: int, device: Device, *, heavy: bool) -> Tile:
    """The tile of "groups", and of our own product in "chunks"."""
    little, much, much_heavy = GROUPS[size]
    if not device.large_shared:
        return little
    if heavy and device.capability[0] in BLACKWELL:
        return GROUPS_BLACKWELL_HEAVY.get(size, much_heavy)
    return much_heavy if heavy else much


def group_rows(g: int, d: int, k: int, size: int) -> int:
    """Rows of a group, 16 or 32: fewer make more maxima to write and read, more to compute again.

    A query's maxima take ``8 g / L`` bytes of traffic, its second phase ``k L d size``; the sum is
    least at ``L = sqrt(8 g / (k d size))``.
    """
    return 32 if 8 * g > 512 * k * d * size else 16
