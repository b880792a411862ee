"""`retrieval_metrics` at the sizes of Market-1501 and MSMT17, against a matrix and its sort."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from crosscam_kernels import retrieval_metrics
from gpu_cases.protocol import Case, Side, Sides, assert_close, compiled

CHUNK = 512  # queries whose matrix rows eager torch sorts at a time


def precisions(
    query: torch.Tensor,
    gallery: torch.Tensor,
    query_id: torch.Tensor,
    gallery_id: torch.Tensor,
    query_camera: torch.Tensor,
    gallery_camera: torch.Tensor,
) -> torch.Tensor:
    """Sum of the average precisions of one block of queries, and how many have one."""
    order = torch.argsort(query @ gallery.T, dim=1, descending=True, stable=True)
    own = gallery_id[order] == query_id[:, None]
    junk = own & (gallery_camera[order] == query_camera[:, None])
    right = own & ~junk
    rank = torch.cumsum((~junk).int(), 1)
    precision = torch.where(right, torch.cumsum(right.int(), 1) / rank.double(), 0.0)
    count = right.sum(1)
    average = precision.sum(1) / count.clamp(min=1)
    return torch.stack([average.sum(), (count > 0).sum().double()])


def sorted_blocks(
    block: Any, query: torch.Tensor, gallery: torch.Tensor, labels: list[torch.Tensor]
) -> torch.Tensor:
    """Mean average precision by a stable sort of blocks of the matrix."""
    query_id, gallery_id, query_camera, gallery_camera = labels
    total = query.new_zeros((2,), dtype=torch.float64)
    for start in range(0, len(query), CHUNK):
        at = slice(start, start + CHUNK)
        total += block(
            query[at], gallery, query_id[at], gallery_id, query_camera[at], gallery_camera
        )
    return total[0] / total[1].clamp(min=1)


def retrieval_case(device: torch.device, q: int, g: int, d: int, identities: int) -> Case:
    def prepare() -> Sides:
        generator = torch.Generator(device).manual_seed(0)

        def integers(high: int, count: int) -> torch.Tensor:
            return torch.randint(high, (count,), device=device, generator=generator)

        labels = [integers(identities, q), integers(identities, g), integers(6, q), integers(6, g)]
        centre = torch.randn(identities, d, device=device, generator=generator)
        rows = [
            torch.nn.functional.normalize(
                centre[ids] + 6 * torch.randn(len(ids), d, device=device, generator=generator)
            )
            for ids in labels[:2]
        ]
        wanted = sorted_blocks(precisions, *(r.double() for r in rows), labels)

        def ours() -> torch.Tensor:
            found = retrieval_metrics(*rows, *labels, metric="inner_product")
            return torch.tensor(found.mean_ap)

        run: dict[str, Side] = {
            "crosscam": ours,
            "torch sort": partial(sorted_blocks, precisions, *rows, labels),
        }
        for name, block in compiled(device, precisions).items():
            run[name] = partial(sorted_blocks, block, *rows, labels)
        return Sides(run, lambda _, found: assert_close(found, wanted, rtol=1e-4, atol=1e-6))

    return Case(
        "retrieval_metrics",
        {"Q": q, "G": g, "D": d},
        "float32",
        prepare,
        bytes_moved=(q + g) * d * 4,
        flops=2 * q * g * d,
    )


def cases(device: torch.device, tiny: bool) -> list[Case]:
    if tiny:
        return [retrieval_case(device, 40, 300, 32, 12)]
    return [
        retrieval_case(device, 3368, 15913, 2048, 751),
        retrieval_case(device, 11659, 82161, 768, 3060),
    ]
