"""similarity_topk on tensors: the same answers as on arrays, as an operator of torch; its table."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from crosscam_kernels import TopK, pack_adjacency, quantise_rows, similarity_topk  # noqa: E402
from crosscam_kernels.errors import InputError, ShapeError, UsageError  # noqa: E402
from crosscam_kernels.gpu import similarity_table as table  # noqa: E402
from crosscam_kernels.reference import similarity as reference  # noqa: E402
from crosscam_kernels.torch_ops import similarity as torch_ops  # noqa: E402


def integers(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    return rng.integers(-2, 3, (rows, dim)).astype(np.float32)


def some_masks(rng: np.random.Generator, queries: int, gallery: int, rule: str) -> dict[str, Any]:
    return {
        "valid": rng.random(gallery) < 0.8,
        "query_camera": rng.integers(0, 4, queries),
        "gallery_camera": rng.integers(0, 4, gallery).astype(np.int32),
        "camera_rule": rule,
        "adjacency": rng.random((4, 4)) < 0.7,
        "query_time": rng.integers(0, 10**12, queries),
        "gallery_time": rng.integers(0, 10**12, gallery),
        "window": (-3 * 10**11, 5 * 10**11),
    }


def tensors(masks: dict[str, Any]) -> dict[str, Any]:
    return {n: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for n, v in masks.items()}


def assert_identical(found: TopK, expected: TopK) -> None:
    np.testing.assert_array_equal(np.asarray(found.index), expected.index)
    np.testing.assert_array_equal(np.asarray(found.similarity), expected.similarity)


@pytest.mark.parametrize("rule", ["any", "exclude_same", "only_same"])
def test_tensors_give_what_arrays_give(rule: str) -> None:
    rng = np.random.default_rng(0)
    q, g = rng.standard_normal((30, 48)).astype("f4"), rng.standard_normal((500, 48)).astype("f4")
    masks = some_masks(rng, 30, 500, rule)
    found = similarity_topk(torch.tensor(q), torch.tensor(g), 9, threads=2, **tensors(masks))
    assert isinstance(found, TopK)
    assert isinstance(found.similarity, torch.Tensor)
    assert (found.similarity.dtype, found.index.dtype) == (torch.float32, torch.int64)
    assert_identical(found, similarity_topk(q, g, 9, **masks))
    # Masks may also come from the host, as arrays or sequences.
    assert_identical(similarity_topk(torch.tensor(q), torch.tensor(g), 9, **masks), found)
    bits = torch.from_numpy(pack_adjacency(masks["adjacency"]))
    packed = {**tensors(masks), "adjacency": bits}
    assert_identical(similarity_topk(torch.tensor(q), torch.tensor(g), 9, **packed), found)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_galleries_are_what_the_specification_says(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(2)
    q, g = torch.randn(9, 33), torch.randn(200, 33).to(dtype)
    masks = some_masks(rng, 9, 200, "exclude_same")
    found = similarity_topk(q, g, 7, **tensors(masks))
    exact = reference.similarity_topk(q.numpy(), g.float().numpy(), 7, **masks)
    np.testing.assert_array_equal(found.index, exact.index)
    np.testing.assert_allclose(found.similarity, exact.similarity, rtol=1e-5, atol=1e-5)
    both = similarity_topk(q.to(dtype), g, 7, **tensors(masks))
    assert_identical(both, similarity_topk(q.to(dtype).float(), g, 7, **tensors(masks)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_quantised_tensors_are_quantised_arrays(dtype: torch.dtype) -> None:
    rows = torch.randn(20, 33).to(dtype)
    rows[3], rows[5, 2] = 0, torch.nan
    found = quantise_rows(rows)
    assert isinstance(found.values, torch.Tensor)
    expected = quantise_rows(rows.float().numpy())
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.scale, expected.scale)
    torch.library.opcheck(torch.ops.crosscam.quantise_rows.default, (rows[:2],))
    with pytest.raises(ShapeError, match="rows is int8"):
        quantise_rows(found.values)


def test_int8_galleries_with_and_without_rescoring() -> None:
    q, g = torch.randn(9, 64), torch.randn(300, 64)
    codes, scale = quantise_rows(g)
    masks = some_masks(np.random.default_rng(3), 9, 300, "any")
    exact = similarity_topk(q, g, 7, **tensors(masks))
    assert_identical(similarity_topk(q, codes, 7, scale=scale, rescore=g, **tensors(masks)), exact)
    coarse = similarity_topk(q, codes, 7, scale=scale, **tensors(masks))
    expected = reference.similarity_topk(q.numpy(), codes.numpy(), 7, scale=scale.numpy(), **masks)
    assert_identical(coarse, expected)


@pytest.mark.parametrize(("queries", "gallery", "k"), [(0, 5, 3), (4, 0, 3), (4, 5, 0), (0, 0, 0)])
def test_empty_sides(queries: int, gallery: int, k: int) -> None:
    found = similarity_topk(torch.ones(queries, 3), torch.ones(gallery, 3), k)
    assert found.index.shape == found.similarity.shape == (queries, k)
    assert gallery or (found.index == -1).all()


def test_memory_is_shared_with_the_native_library() -> None:
    x = torch.randn(6, 8)
    for tensor in (x, x[::2], x.half(), torch.ones(3, dtype=torch.int64)):
        assert torch_ops.shared_array(tensor).ctypes.data == tensor.data_ptr()
    bits = torch_ops.shared_array(x.bfloat16())
    np.testing.assert_array_equal(
        (bits.astype(np.uint32) << 16).view(np.float32), x.bfloat16().float()
    )


def test_layouts_give_the_same_answer() -> None:
    q, g = torch.randn(12, 40), torch.randn(90, 40)
    want = similarity_topk(q[::2, 5:25].clone(), g[::3, 5:25].clone(), 6)
    assert_identical(similarity_topk(q[::2, 5:25], g[::3, 5:25], 6), want)
    columns = q[::2, 5:25].t().contiguous().t()
    assert_identical(similarity_topk(columns, g[::3, 5:25], 6), want)


@pytest.mark.parametrize("window", [(None, -1), (-(2**63), 2**63 - 1), (1, None), (None, -(2**63))])
def test_times_whose_difference_does_not_fit_int64(window: tuple[int | None, int | None]) -> None:
    times = np.array([-(2**63), -1, 0, 1, 2**63 - 1])
    one = np.ones((5, 3), np.float32)
    masks: dict[str, Any] = {"query_time": times, "gallery_time": times, "window": window}
    found = similarity_topk(torch.from_numpy(one), torch.from_numpy(one), 5, **tensors(masks))
    assert_identical(found, reference.similarity_topk(one, one, 5, **masks))


def test_no_gradient_flows() -> None:
    q, g = torch.randn(4, 8, requires_grad=True), torch.randn(20, 8, requires_grad=True)
    found = similarity_topk(q, g, 3)
    assert not found.similarity.requires_grad
    direct = torch.ops.crosscam.similarity_topk(q, g, 3, *[None] * 5, "any", *[None] * 6)
    assert not direct[0].requires_grad
    # What the documentation gives as the way to a gradient.
    again = (q[:, None] * g[found.index]).sum(-1)
    torch.testing.assert_close(again, found.similarity)
    again.sum().backward()
    assert q.grad is not None


def operator_arguments(masked: bool) -> tuple[Any, ...]:
    rng = np.random.default_rng(1)
    q, g = torch.randn(5, 8, requires_grad=True), torch.randn(30, 8)
    if not masked:
        return (q, g, 3, *[None] * 5, "any", *[None] * 6)
    m = tensors(some_masks(rng, 5, 30, "exclude_same"))
    return (
        q, g, 3, None, None, m["valid"], m["query_camera"], m["gallery_camera"], m["camera_rule"],
        m["adjacency"], m["query_time"], m["gallery_time"], *m["window"], 1,
    )  # fmt: skip


@pytest.mark.parametrize("masked", [False, True])
def test_it_is_a_well_behaved_operator(masked: bool) -> None:
    torch.library.opcheck(torch.ops.crosscam.similarity_topk.default, operator_arguments(masked))


def test_it_compiles_without_graph_breaks() -> None:
    q, g = torch.randn(7, 16), torch.randn(50, 16)
    valid = torch.arange(50) % 3 > 0

    def best(q: torch.Tensor, g: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        found = similarity_topk(q * 2, g, 4, valid=valid)
        return g[found.index].mean(1)

    compiled = torch.compile(best, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(q, g, valid), best(q, g, valid))


ONE = torch.ones(2, 4)
EIGHT = {"gallery": ONE.to(torch.int8), "scale": torch.ones(2)}
PAIR = {"query_camera": [0, 1], "gallery_camera": [0, 1]}
TIMES = {"query_time": [0, 1], "gallery_time": [0, 1]}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"queries": ONE.double()}, ShapeError, "queries is float64"),
        ({"queries": ONE.to(torch.int8)}, ShapeError, "queries is int8"),
        ({"gallery": ONE[0]}, ShapeError, r"gallery is float32 of shape \(4,\)"),
        ({"gallery": ONE.numpy()}, ShapeError, "gallery is ndarray and queries is a tensor"),
        ({"gallery": ONE[:, :3]}, ShapeError, "4 features and the gallery 3"),
        ({"gallery": ONE.to("meta")}, ShapeError, "gallery is on meta"),
        ({"queries": ONE[:, :0], "gallery": ONE[:, :0]}, ShapeError, "at least 1"),
        ({"k": -1}, UsageError, "k=-1"),
        ({"gallery": ONE.to(torch.int8)}, UsageError, "without scale"),
        ({"scale": torch.ones(2)}, UsageError, "with a gallery of float32"),
        ({**EIGHT, "scale": torch.ones(3)}, ShapeError, r"scale is float32 of shape \(3,\)"),
        ({**EIGHT, "rescore": torch.ones(2, 3)}, ShapeError, r"rescore has shape \(2, 3\)"),
        ({**EIGHT, "rescore": ONE.to(torch.int8)}, ShapeError, "rescore is int8"),
        (
            {
                "gallery": torch.zeros(1, 131_073, dtype=torch.int8),
                "scale": torch.ones(1),
                "queries": torch.zeros(1, 131_073),
            },
            ShapeError,
            "131073 features",
        ),
        ({"threads": 0}, UsageError, "threads=0"),
        ({"valid": [1, 0]}, ShapeError, "valid is int64"),
        ({"valid": torch.ones(3, dtype=torch.bool)}, ShapeError, r"valid is bool of shape \(3,\)"),
        ({"valid": object()}, ShapeError, "valid of type object"),
        ({"camera_rule": "exclude_same"}, UsageError, "without cameras"),
        ({"adjacency": torch.eye(2, dtype=torch.bool)}, UsageError, "without cameras"),
        ({"camera_rule": "same", **PAIR}, UsageError, "camera_rule='same'"),
        ({"query_camera": [0, 1]}, UsageError, "only one of query_camera"),
        ({**PAIR, "query_camera": torch.rand(2)}, ShapeError, "query_camera is float32"),
        ({**PAIR, "adjacency": np.eye(1, dtype=bool)}, InputError, "query_camera holds cameras"),
        ({**PAIR, "adjacency": torch.eye(2)}, ShapeError, "adjacency is float32"),
        (TIMES, UsageError, "window must be given"),
        ({"window": (0, 1)}, UsageError, "window must be given"),
        ({**TIMES, "window": (0.5, None)}, UsageError, "window holds 0.5"),
        ({**TIMES, "window": (2**63, None)}, UsageError, "beyond int64"),
        ({**TIMES, "window": (None, -(2**63) - 1)}, UsageError, "beyond int64"),
    ],
)
def test_wrong_calls_say_what_is_wrong(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        similarity_topk(**{"queries": ONE, "gallery": ONE, "k": 1, **arguments})


# ------------------------------------------------------------------------------------------------
# The table of tactics

ORIN, H200, ADA = (table.Device(c, n) for c, n in (((8, 7), 16), ((9, 0), 132), ((8, 9), 58)))
B200 = table.Device((10, 0), 148)
TYPES = (torch.int8, torch.float16, torch.bfloat16, torch.float32)


def operand_bytes(tile: table.Tile, size: int) -> int:
    return (tile.bm + tile.bn) * tile.bd * size * tile.num_stages


@pytest.mark.parametrize("device", [ORIN, ADA, H200, B200])
def test_every_problem_has_a_plan_that_fits(device: table.Device) -> None:
    limit = (227 if device.large_shared else 99) << 10
    if device is ORIN:
        limit = 163 << 10
    for q, g, d, k, dtype, heavy in product(
        (1, 16, 17, 64, 96, 97, 4096), (1, 1000, 10**5, 10**7), (7, 512, 1280), (1, 17, 64, 65),
        TYPES, (False, True),
    ):  # fmt: skip
        plan = table.choose(q, g, d, k, dtype, device, heavy=heavy)
        tile = plan.tile
        assert operand_bytes(tile, dtype.itemsize) <= limit
        assert tile.bn % plan.group == 0
        assert plan.splits >= 1
        assert (plan.tactic == "chunks") == (k > table.MAX_K)
        if plan.tactic == "stream":
            assert plan.splits <= -(-g // tile.bn)


def test_few_queries_stream_and_many_take_groups() -> None:
    assert table.choose(64, 10**6, 512, 10, torch.bfloat16, H200).tactic == "stream"
    assert table.choose(4096, 10**6, 768, 32, torch.bfloat16, H200).tactic == "groups"
    # A gallery of few groups would be computed twice.
    assert table.choose(4096, 1000, 768, 32, torch.bfloat16, H200).tactic == "stream"
    assert table.choose(8, 10**6, 512, 100, torch.bfloat16, H200).tactic == "chunks"


def test_small_searches_use_the_whole_device() -> None:
    plan = table.choose(8, 100_000, 512, 10, torch.bfloat16, H200)
    assert plan.splits >= 132
    assert table.choose(1, 200, 512, 10, torch.bfloat16, H200).splits == 2
