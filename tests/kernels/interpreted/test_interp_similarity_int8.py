"""The GPU kernels of similarity_topk over int8 codes, run by Triton's interpreter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from interp_similarity_parts import PLANS, some_masks

from crosscam_kernels.gpu import similarity as gpu
from crosscam_kernels.gpu.quantise import quantise_rows
from crosscam_kernels.gpu.similarity_table import Plan
from crosscam_kernels.reference import similarity as reference
from crosscam_kernels.similarity import TopK


@pytest.fixture(params=PLANS.values(), ids=PLANS)
def plan(request: pytest.FixtureRequest) -> Plan:
    found: Plan = request.param
    return found


def int8_expected(q: np.ndarray, codes: np.ndarray, scale: np.ndarray, k: int) -> TopK:
    """Integer sums, then ``(sum * query scale) * scale`` in float32."""
    of_query = np.abs(q).max(axis=1) / np.float32(127)
    codes_q = np.rint(q / np.where(of_query > 0, of_query, 1)[:, None]).astype(np.int64)
    matrix = (codes_q @ codes.astype(np.int64).T).astype(np.float32)
    matrix = matrix * of_query.astype(np.float32)[:, None] * scale[None, :]
    order = np.argsort(-matrix, axis=1, kind="stable")[:, :k]
    return TopK(np.take_along_axis(matrix, order, 1), order)


def test_int8_sums_are_exact_integers(plan: Plan) -> None:
    rng = np.random.default_rng(12)
    q = rng.standard_normal((7, 45)).astype("f4")
    codes = rng.integers(-127, 128, (80, 45)).astype(np.int8)
    codes[50:60] = codes[20:30]
    scale = rng.uniform(0.001, 0.01, 80).astype("f4")
    scale[50:60] = scale[20:30]
    found = gpu.similarity_topk(
        torch.tensor(q), torch.tensor(codes), 9, scale=torch.tensor(scale), plan=plan
    )
    expected = int8_expected(q, codes, scale, 9)
    np.testing.assert_array_equal(found[1], expected.index)
    np.testing.assert_array_equal(found[0], expected.similarity)


@pytest.mark.parametrize(
    ("tactic", "dtype"), [*((name, torch.float32) for name in PLANS), ("stream", torch.float16)]
)
def test_int8_candidates_are_rescored_exactly(tactic: str, dtype: torch.dtype) -> None:
    plan = PLANS[tactic]
    rng = np.random.default_rng(13)
    q = rng.standard_normal((4, 33)).astype("f4")
    g = torch.tensor(rng.standard_normal((50, 33)).astype("f4")).to(dtype)
    codes, scale = quantise_rows(g)
    masks = some_masks(rng, 4, 50, "exclude_same")
    given = {n: torch.as_tensor(v) if isinstance(v, np.ndarray) else v for n, v in masks.items()}
    found = gpu.similarity_topk(
        torch.tensor(q), codes, 8, scale=scale, rescore=g, plan=plan, **given
    )
    exact = reference.similarity_topk(q, g.float().numpy(), 8, **masks)
    np.testing.assert_array_equal(found[1], exact.index)
    np.testing.assert_allclose(found[0], exact.similarity, rtol=1e-5)


def test_more_candidates_than_the_gallery_has(plan: Plan) -> None:
    g = torch.eye(5)
    codes, scale = quantise_rows(g)
    found = gpu.similarity_topk(g[:2], codes, 4, scale=scale, rescore=g, plan=plan)
    assert found[1].tolist() == [[0, 1, 2, 3], [1, 0, 2, 3]]
    assert found[0].tolist() == [[1, 0, 0, 0], [1, 0, 0, 0]]


def test_quantised_rows() -> None:
    rows = torch.tensor(
        [
            [1.0, -2.0, 0.5, 127 / 254],
            [0.0, 0.0, 0.0, 0.0],
            [torch.nan, 1.0, 2.0, 3.0],
            [1.0, torch.inf, 2.0, 3.0],
            [127.0, 2.5, 3.5, -0.5],
            [3e38, -3e38, 1e-38, 0.0],
        ]
    )
    codes, scale = quantise_rows(rows)
    assert codes[0].tolist() == [64, -127, 32, 32]
    assert codes[1:4].abs().sum() == 0
    assert scale[1] == 0
    assert scale[2:4].isnan().all()
    assert codes[4].tolist() == [127, 2, 4, 0]  # halves to even
    assert codes[5].tolist() == [127, -127, 0, 0]
    wide = torch.randn(3, 3000)
    codes, scale = quantise_rows(wide)
    largest = wide.abs().amax(1)
    np.testing.assert_array_equal(scale, largest / 127)
    np.testing.assert_array_equal(codes.float(), torch.round(wide / scale[:, None]))


def test_rows_that_are_not_finite_are_never_found(plan: Plan) -> None:
    g = torch.randn(40, 8)
    g[3, 2], g[9, 0] = torch.nan, torch.inf
    codes, scale = quantise_rows(g)
    found = gpu.similarity_topk(torch.randn(2, 8), codes, 40, scale=scale, plan=plan)[1]
    assert not torch.isin(found, torch.tensor([3, 9])).any()
    assert (found[:, -2:] == -1).all()
