"""`similarity_topk` from few to many queries, against torch, FlashLib and FAISS."""

from __future__ import annotations

from functools import partial

import torch

from crosscam_kernels import similarity_topk
from gpu_cases.protocol import Case, Side, Sides, WrongAnswerError

CHUNK = 65_536  # gallery rows of one product of the chunked peer


def eager(queries: torch.Tensor, gallery: torch.Tensor, k: int) -> torch.Tensor:
    return torch.topk(queries @ gallery.T, k).indices


def chunked(queries: torch.Tensor, gallery: torch.Tensor, k: int) -> torch.Tensor:
    """Eager torch that never holds the whole (Q, G) matrix."""
    values: list[torch.Tensor] = []
    rows: list[torch.Tensor] = []
    for start in range(0, len(gallery), CHUNK):
        part = gallery[start : start + CHUNK]
        best = torch.topk(queries @ part.T, min(k, len(part)))
        values.append(best.values)
        rows.append(best.indices + start)
    best = torch.topk(torch.cat(values, 1), k)
    return torch.cat(rows, 1).gather(1, best.indices)


def check(
    queries: torch.Tensor,
    gallery: torch.Tensor,
    k: int,
    tolerance: float,
    name: str,
    found: torch.Tensor,
) -> None:
    """The rows found must have the float64 similarities of the best k, for the first queries."""
    del name
    few = queries[:8].double()
    best = torch.full((len(few), k), -torch.inf, dtype=torch.float64, device=queries.device)
    for start in range(0, len(gallery), CHUNK):
        part = few @ gallery[start : start + CHUNK].double().T
        best = torch.topk(torch.cat([best, part], 1), k).values
    rows = found[: len(few)].long()
    of_found = torch.einsum("qd,qkd->qk", few, gallery[rows].double())
    error = (of_found.sort(descending=True).values - best).abs().max().item()
    if not error <= tolerance:
        raise WrongAnswerError(f"similarities differ by {error:.2e}")


def torch_sides(queries: torch.Tensor, gallery: torch.Tensor, k: int) -> dict[str, Side]:
    sides: dict[str, Side] = {"torch chunked": partial(chunked, queries, gallery, k)}
    if queries.shape[0] * gallery.shape[0] <= 1 << 31:  # what eager torch can hold
        sides["torch eager"] = partial(eager, queries, gallery, k)
        if queries.is_cuda:  # on the CPU it would compile for seconds to test nothing of ours
            compiled = torch.compile(eager, dynamic=False)
            sides["torch.compile"] = partial(compiled, queries, gallery, k)
    return sides


def search_case(
    device: torch.device, q: int, g: int, d: int, k: int, dtype: torch.dtype, *, graph: bool
) -> Case:
    def prepare() -> Sides:
        generator = torch.Generator(device).manual_seed(0)
        rows = torch.randn(q + g, d, device=device, generator=generator)
        rows = torch.nn.functional.normalize(rows).to(dtype)
        queries, gallery = rows[:q].clone(), rows[q:]
        run: dict[str, Side] = {
            "crosscam": lambda: torch.as_tensor(similarity_topk(queries, gallery, k).index),
            **torch_sides(queries, gallery, k),
        }
        # Eager torch rounds the sums to the 16 bits of the features.
        tolerance = 2e-6 if dtype == torch.float32 else 4e-3
        return Sides(run, partial(check, queries, gallery, k, tolerance))

    size = dtype.itemsize
    return Case(
        "similarity_topk",
        {"Q": q, "G": g, "D": d, "k": k},
        str(dtype).removeprefix("torch."),
        prepare,
        bytes_moved=(q + g) * d * size + q * k * 12,
        flops=2 * q * g * d,
        graph=graph,
    )


def cases(device: torch.device, tiny: bool) -> list[Case]:
    half, full = torch.bfloat16, torch.float32
    if tiny:
        return [search_case(device, q, 300, 32, 5, full, graph=q == 2) for q in (2, 130)]
    shapes = [
        (64, 1_000_000, 512, 10, half),
        (8, 100_000, 512, 10, half),
        (4096, 1_000_000, 768, 32, half),
        (4096, 100_000, 512, 10, half),
        (1, 1_000_000, 512, 10, half),
        (512, 1_000_000, 512, 50, half),
        (64, 1_000_000, 512, 10, full),
        (4096, 100_000, 512, 10, full),
    ]
    return [search_case(device, *shape, graph=shape[0] <= 64) for shape in shapes]
