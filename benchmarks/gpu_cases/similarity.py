"""`similarity_topk` from few to many queries, against torch, FlashLib and FAISS."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from crosscam_kernels import quantise_rows, similarity_topk
from gpu_cases.protocol import Case, Side, Sides, WrongAnswerError, compiled

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
    if queries.shape[0] * gallery.shape[0] <= 1 << 32:  # what eager torch can hold
        sides["torch eager"] = partial(eager, queries, gallery, k)
        for name, function in compiled(queries.device, eager).items():
            sides[name] = partial(function, queries, gallery, k)
    return sides


def library_sides(
    queries: torch.Tensor, gallery: torch.Tensor, k: int
) -> tuple[dict[str, Side], dict[str, str]]:
    """FlashLib and FAISS, where they are installed and there is a GPU; else why not."""
    if not queries.is_cuda:
        return {}, {"flashlib": "needs a GPU", "faiss": "needs a GPU"}
    sides: dict[str, Side] = {}
    missing: dict[str, str] = {}
    try:
        from flashlib import flash_knn
    except ImportError as error:
        missing["flashlib"] = str(error)
    else:  # squared L2: the same order as the cosine for rows of unit length
        sides["flashlib"] = lambda: flash_knn(queries, gallery, k)[1]
    try:
        import faiss
        import faiss.contrib.torch_utils  # makes knn_gpu take tensors

        resources = faiss.StandardGpuResources()
    except (ImportError, AttributeError) as error:
        missing["faiss"] = str(error)
    else:
        sides["faiss"] = lambda: faiss.knn_gpu(
            resources, queries, gallery, k, metric=faiss.METRIC_INNER_PRODUCT
        )[1]
    return sides, missing


def unit_rows(
    device: torch.device, q: int, g: int, d: int, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator(device).manual_seed(0)
    gallery = torch.empty(g, d, device=device, dtype=dtype)
    for part in gallery.split(1 << 18):
        rows = torch.randn(part.shape, device=device, generator=generator)
        part.copy_(torch.nn.functional.normalize(rows))
    queries = torch.randn(q, d, device=device, generator=generator)
    return torch.nn.functional.normalize(queries).to(dtype), gallery


def ours(queries: torch.Tensor, gallery: torch.Tensor, k: int, **arguments: Any) -> torch.Tensor:
    return similarity_topk(queries, gallery, k, **arguments).index


def ours_by_chunks(queries: torch.Tensor, gallery: torch.Tensor, k: int) -> torch.Tensor:
    """Our baseline tactic, whatever the table says."""
    from crosscam_kernels.gpu import similarity as gpu
    from crosscam_kernels.gpu.similarity_table import Plan, groups_tile

    tile = groups_tile(gallery.dtype.itemsize, gpu.device_of(queries.device), heavy=False)
    return gpu.similarity_topk(queries, gallery, k, plan=Plan("chunks", tile))[1]


def search_case(device: torch.device, q: int, g: int, d: int, k: int, dtype: torch.dtype) -> Case:
    def prepare() -> Sides:
        queries, gallery = unit_rows(device, q, g, d, dtype)
        run: dict[str, Side] = {"crosscam": partial(ours, queries, gallery, k)}
        if queries.is_cuda:
            run["crosscam, chunks"] = partial(ours_by_chunks, queries, gallery, k)
        libraries, missing = library_sides(queries, gallery, k)
        # Eager torch rounds the sums to the 16 bits of the features.
        tolerance = 2e-6 if dtype == torch.float32 else 4e-3
        return Sides(
            {**run, **torch_sides(queries, gallery, k), **libraries},
            partial(check, queries, gallery, k, tolerance),
            missing,
        )

    size = dtype.itemsize
    return Case(
        "similarity_topk",
        {"Q": q, "G": g, "D": d, "k": k},
        name_of(dtype),
        prepare,
        bytes_moved=(q + g) * d * size + q * k * 12,
        flops=2 * q * g * d,
        graph=q <= 64,
    )


def int8_case(device: torch.device, q: int, g: int, d: int, k: int, dtype: torch.dtype) -> Case:
    """An int8 gallery whose candidates are compared once more with rows of `dtype`."""

    def prepare() -> Sides:
        queries, gallery = unit_rows(device, q, g, d, dtype)
        codes, scale = quantise_rows(gallery)
        run: dict[str, Side] = {
            "crosscam": partial(ours, queries, codes, k, scale=scale, rescore=gallery),
            "crosscam, the rows themselves": partial(ours, queries, gallery, k),
        }
        tolerance = 2e-3  # a row at the end of the list may be missed for one as good
        return Sides(
            {**run, **torch_sides(queries, gallery, k)},
            partial(check, queries, gallery, k, tolerance),
        )

    return Case(
        "similarity_topk",
        {"Q": q, "G": g, "D": d, "k": k, "rescored": name_of(dtype)},
        "int8",
        prepare,
        bytes_moved=(q + g) * (d + 4) + 2 * q * k * d * dtype.itemsize + q * k * 12,
        flops=2 * q * g * d,
        graph=q <= 64,
    )


def masks_case(device: torch.device, q: int, g: int, d: int, k: int, dtype: torch.dtype) -> Case:
    """Masks that forbid little, so that what they cost is seen: the other side has none."""

    def prepare() -> Sides:
        queries, gallery = unit_rows(device, q, g, d, dtype)
        day = 86_400 * 10**9
        masks = {
            "valid": torch.rand(g, device=device) < 0.999,
            "query_camera": torch.randint(0, 64, (q,), device=device, dtype=torch.int32),
            "gallery_camera": torch.randint(0, 64, (g,), device=device, dtype=torch.int32),
            "camera_rule": "exclude_same",
            "adjacency": torch.rand(64, 64, device=device) < 0.99,
            "query_time": torch.randint(0, day, (q,), device=device),
            "gallery_time": torch.randint(0, day, (g,), device=device),
            "window": (-day, day),
        }
        run: dict[str, Side] = {
            "crosscam": partial(ours, queries, gallery, k, **masks),
            "crosscam, no masks": partial(ours, queries, gallery, k),
        }

        def check_masked(name: str, found: torch.Tensor) -> None:
            if name != "crosscam":
                return check(queries, gallery, k, 4e-3, name, found)
            few, rows = found[:8].clamp(min=0), range(min(8, q))
            allowed = masks["valid"][few] & (
                masks["query_camera"][:8, None] != masks["gallery_camera"][few]
            )
            seen = masks["adjacency"][
                masks["query_camera"][:8, None].long(), masks["gallery_camera"][few].long()
            ]
            if not bool((allowed & seen)[rows].all()):
                raise WrongAnswerError("a row that the masks forbid was found")
            return None

        return Sides(run, check_masked)

    return Case(
        "similarity_topk",
        {"Q": q, "G": g, "D": d, "k": k, "masks": "all"},
        name_of(dtype),
        prepare,
        bytes_moved=(q + g) * d * dtype.itemsize + g * 13 + q * k * 12,
        flops=2 * q * g * d,
    )


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def cases(device: torch.device, tiny: bool) -> list[Case]:
    half, full = torch.bfloat16, torch.float32
    if tiny:
        return [
            search_case(device, 2, 300, 32, 5, full),
            search_case(device, 130, 300, 32, 5, full),
            int8_case(device, 3, 300, 64, 5, full),
            masks_case(device, 5, 300, 32, 5, full),
        ]
    return [
        search_case(device, 64, 1_000_000, 512, 10, half),
        search_case(device, 4096, 1_000_000, 768, 32, half),
        int8_case(device, 64, 1_000_000, 512, 10, torch.float16),
        search_case(device, 8, 100_000, 512, 10, half),
        masks_case(device, 4096, 1_000_000, 768, 32, half),
        masks_case(device, 64, 1_000_000, 512, 10, half),
        search_case(device, 8192, 65_536, 256, 16, half),
        search_case(device, 4096, 100_000, 512, 10, full),
        search_case(device, 1, 1_000_000, 512, 10, half),
        search_case(device, 512, 1_000_000, 512, 50, half),
        int8_case(device, 4096, 1_000_000, 768, 32, torch.float16),
        search_case(device, 64, 1_000_000, 512, 10, full),
    ]
