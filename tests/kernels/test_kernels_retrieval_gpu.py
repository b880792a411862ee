"""retrieval_metrics on a CUDA device against the NumPy specification."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from crosscam_kernels import retrieval_metrics  # noqa: E402
from crosscam_kernels.reference import retrieval as reference  # noqa: E402
from crosscam_kernels.retrieval import PROTOCOLS  # noqa: E402

pytestmark = pytest.mark.gpu


def problem(queries: int, gallery: int, dim: int, ids: int) -> dict[str, Any]:
    rng = np.random.default_rng(queries)
    made: dict[str, Any] = {
        "query": rng.integers(-2, 3, (queries, dim)).astype(np.float32),
        "gallery": rng.integers(-2, 3, (gallery, dim)).astype(np.float32),
    }
    for side, count in (("query", queries), ("gallery", gallery)):
        made[f"{side}_ids"] = rng.integers(-1, ids, count)
        made[f"{side}_cameras"] = rng.integers(0, 3, count)
        made[f"{side}_clothes"] = rng.integers(0, 2, count)
        made[f"{side}_tracklets"] = rng.integers(0, 5, count)
    return made


def on_device(made: dict[str, Any]) -> dict[str, Any]:
    return {name: torch.from_numpy(value).cuda() for name, value in made.items()}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("metric", ["inner_product", "euclidean"])
@pytest.mark.parametrize(
    ("queries", "gallery", "dim", "ids"), [(1, 1, 1, 1), (67, 501, 17, 12), (300, 5000, 96, 40)]
)
def test_integer_data_is_exact(
    queries: int, gallery: int, dim: int, ids: int, metric: Any, protocol: Any
) -> None:
    made = problem(queries, gallery, dim, ids)
    options: dict[str, Any] = {"protocol": protocol, "metric": metric}
    found = retrieval_metrics(**on_device(made), **options)
    expected = reference.retrieval_metrics(**made, **options)
    assert found.ranks is not None
    assert expected.ranks is not None
    for a, b in zip(found.ranks, expected.ranks, strict=True):
        assert a.is_cuda
        np.testing.assert_array_equal(a.cpu().numpy(), b)


def test_duplicates_tie_by_index_and_runs_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    gallery = torch.randn(4000, 256, generator=generator)
    gallery[1::3] = gallery[0]
    query = gallery[:100] + 0.1 * torch.randn(100, 256, generator=generator)
    ids = torch.arange(4000) % 50
    call: dict[str, Any] = {"protocol": "any", "metric": "inner_product"}
    sides = (query.cuda(), gallery.cuda(), ids[:100].cuda(), ids.cuda())
    first, second = retrieval_metrics(*sides, **call), retrieval_metrics(*sides, **call)
    expected = retrieval_metrics(query, gallery, ids[:100], ids, **call)
    assert first.ranks is not None
    assert second.ranks is not None
    for a, b in zip(first.ranks, second.ranks, strict=True):
        assert torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))
    assert first.mean_ap == pytest.approx(expected.mean_ap, rel=1e-5)


def test_no_score_matrix_is_made() -> None:
    queries, gallery, dim = 4096, 65536, 64
    query, rows = torch.randn(queries, dim, device="cuda"), torch.randn(gallery, dim, device="cuda")
    ids = torch.arange(gallery, device="cuda") % 4096
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    retrieval_metrics(query, rows, ids[:queries], ids, protocol="any", metric="inner_product")
    assert torch.cuda.max_memory_allocated() - before < queries * gallery * 4 // 8
