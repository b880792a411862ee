"""similarity_topk on a CUDA device against the specification, every tactic and every type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from crosscam_kernels import quantise_rows, similarity_topk  # noqa: E402
from crosscam_kernels.gpu import similarity_table as table  # noqa: E402
from crosscam_kernels.reference import similarity as reference  # noqa: E402

pytestmark = pytest.mark.gpu

TYPES = (torch.float32, torch.float16, torch.bfloat16)
TACTICS = ("stream", "groups", "chunks")


def integers(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    return rng.integers(-2, 3, (rows, dim)).astype(np.float32)


def some_masks(rng: np.random.Generator, queries: int, gallery: int, rule: str) -> dict[str, Any]:
    return {
        "valid": rng.random(gallery) < 0.8,
        "query_camera": rng.integers(0, 70, queries),
        "gallery_camera": rng.integers(0, 70, gallery).astype(np.int32),
        "camera_rule": rule,
        "adjacency": rng.random((70, 70)) < 0.7,
        "query_time": rng.integers(0, 10**12, queries),
        "gallery_time": rng.integers(0, 10**12, gallery),
        "window": (-3 * 10**11, 5 * 10**11),
    }


def on_device(masks: dict[str, Any]) -> dict[str, Any]:
    return {
        n: torch.from_numpy(v).cuda() if isinstance(v, np.ndarray) else v for n, v in masks.items()
    }


def search(tactic: str, q: Any, g: Any, k: int, **masks: Any) -> tuple[Any, Any]:
    """By this tactic, with the tile that the table has for the problem on this device."""
    from crosscam_kernels.gpu import similarity as gpu

    device = gpu.device_of(q.device)
    heavy = "adjacency" in masks or "query_time" in masks
    size = g.dtype.itemsize
    if tactic == "stream":
        tile = table.stream_tile(len(q), k, size, device)
        plan = table.Plan("stream", tile, splits=7, share=True)
    else:
        plan = table.Plan(tactic, table.groups_tile(size, device, heavy=heavy), group=16)
    return gpu.similarity_topk(q, g, k, plan=plan, **masks)


@pytest.mark.parametrize("tactic", TACTICS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("queries", "gallery", "dim", "k"),
    [
        (1, 1, 1, 1),
        (16, 5000, 512, 10),
        (33, 2049, 77, 64),
        (70, 4097, 96, 17),
        (300, 9999, 64, 32),
    ],
)
def test_integer_data_is_index_exact(
    tactic: str, dtype: Any, masked: bool, queries: int, gallery: int, dim: int, k: int
) -> None:
    rng = np.random.default_rng(queries)
    q, g = integers(rng, queries, dim), integers(rng, gallery, dim)
    masks = some_masks(rng, queries, gallery, "exclude_same") if masked else {}
    similarity, index = search(
        tactic,
        torch.tensor(q).cuda().to(dtype),
        torch.tensor(g).cuda().to(dtype),
        k,
        **on_device(masks),
    )
    expected = reference.similarity_topk(q, g, k, **masks)
    np.testing.assert_array_equal(index.cpu(), expected.index)
    np.testing.assert_array_equal(similarity.cpu(), expected.similarity)


@pytest.mark.parametrize("tactic", TACTICS)
@pytest.mark.parametrize(("dtype", "tolerance"), zip(TYPES, (2e-6, 2e-6, 2e-6), strict=True))
def test_float_data_agrees_with_float64(tactic: str, dtype: Any, tolerance: float) -> None:
    """Sums in float32: the rounding of the features is in both sides."""
    rows = torch.nn.functional.normalize(torch.randn(20_130, 512, device="cuda")).to(dtype)
    q, g = rows[:130], rows[130:]
    similarity, index = search(tactic, q, g, 20)
    exact = torch.topk(q.double() @ g.double().T, 20).values
    torch.testing.assert_close(similarity.double(), exact, atol=tolerance, rtol=0)
    found = (q.double()[:, None] * g.double()[index]).sum(-1)
    torch.testing.assert_close(found, exact, atol=tolerance, rtol=0)


@pytest.mark.parametrize("tactic", TACTICS)
def test_two_runs_give_the_same_bits(tactic: str) -> None:
    q, g = (
        torch.randn(64, 256, device="cuda").half(),
        torch.randn(50_000, 256, device="cuda").half(),
    )
    first = search(tactic, q, g, 32)
    for _ in range(5):
        again = search(tactic, q, g, 32)
        assert torch.equal(again[0], first[0])
        assert torch.equal(again[1], first[1])


@pytest.mark.parametrize("queries", [5, 200])
def test_int8_with_rescoring_finds_what_the_rows_hold(queries: int) -> None:
    rows = torch.nn.functional.normalize(torch.randn(30_000 + queries, 512))
    q, g = rows[:queries], rows[queries:]
    codes, scale = quantise_rows(g.cuda())
    assert torch.equal(codes.cpu(), quantise_rows(g).values)
    assert torch.equal(scale.cpu(), quantise_rows(g).scale)
    want = similarity_topk(q.cuda(), g.cuda(), 10)
    found = similarity_topk(q.cuda(), codes, 10, scale=scale, rescore=g.cuda())
    same = (found.index[:, :, None] == want.index[:, None]).any(-1).float().mean()
    assert same > 0.999
    coarse = similarity_topk(q.cuda(), codes, 10, scale=scale)
    on_cpu = similarity_topk(q, codes.cpu(), 10, scale=scale.cpu())
    assert torch.equal(coarse.index.cpu(), on_cpu.index)
    assert torch.equal(coarse.similarity.cpu(), on_cpu.similarity)


@pytest.mark.parametrize("queries", [8, 200])
def test_a_search_can_be_captured_into_a_graph(queries: int) -> None:
    q, g = torch.randn(queries, 128, device="cuda"), torch.randn(20_000, 128, device="cuda")
    want = similarity_topk(q, g, 5)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = similarity_topk(q, g, 5)
    graph.replay()
    assert torch.equal(found.index, want.index)


def test_it_is_a_well_behaved_operator() -> None:
    q, g = torch.randn(5, 32, device="cuda"), torch.randn(100, 32, device="cuda")
    arguments = (q, g, 3, *[None] * 5, "any", *[None] * 6)
    torch.library.opcheck(torch.ops.crosscam.similarity_topk.default, arguments)


def test_rows_beyond_four_billion_elements() -> None:
    free, _ = torch.cuda.mem_get_info()
    if free < 12 << 30:
        pytest.skip("needs 12 GiB of GPU memory")
    gallery = torch.zeros(4_500_000, 1024, dtype=torch.float16, device="cuda")
    wanted = torch.tensor([5, 2_200_000, 4_499_999], device="cuda")
    gallery[wanted, 0] = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float16, device="cuda")
    queries = torch.zeros(200, 1024, dtype=torch.float16, device="cuda")
    queries[:, 0] = 1
    for count in (8, 200):
        found = similarity_topk(queries[:count], gallery, 4)
        assert found.index[0].tolist() == [4_499_999, 2_200_000, 5, 0]
