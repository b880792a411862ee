"""batch_hard and triplet_loss on a CUDA device."""

from __future__ import annotations

from typing import Any

import pytest

from crosscam_kernels import batch_hard, triplet_loss

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.gpu

from crosscam_kernels.reference import triplet as reference  # noqa: E402
from crosscam_kernels.torch_ops import triplet as torch_ops  # noqa: E402
from crosscam_kernels.triplet import DISTANCES, PAIR_RULES, REDUCTIONS  # noqa: E402


@pytest.fixture(autouse=True)
def device() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


def batch(rows: int, dim: int, dtype: Any, *, whole: bool = False) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(rows + dim)
    features = torch.randn(rows, dim, generator=generator)
    if whole:
        features = torch.randint(-2, 3, (rows, dim), generator=generator)
    call = {
        "features": features.to(dtype),
        "labels": torch.randint(0, max(rows // 4, 1), (rows,), generator=generator),
        "cameras": torch.randint(0, 6, (rows,), generator=generator),
    }
    return {name: value.cuda() for name, value in call.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("rows", "dim"), [(1, 1), (63, 7), (256, 768), (1000, 100), (2500, 256)])
def test_integer_data_is_index_exact(rows: int, dim: int, dtype: Any) -> None:
    call = batch(rows, dim, dtype, whole=True)
    for positives in PAIR_RULES:
        for negatives in PAIR_RULES:
            rules = {"positives": positives, "negatives": negatives}
            found = batch_hard(**call, **rules)
            exact = reference.batch_hard(
                call["features"].double(), call["labels"], cameras=call["cameras"], **rules
            )
            assert torch.equal(found.positive_index, exact.positive_index)
            assert torch.equal(found.negative_index, exact.negative_index)
            torch.testing.assert_close(
                found.positive_distance.double(), exact.positive_distance, rtol=1e-6, atol=0
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("distance", DISTANCES)
def test_loss_and_gradient_agree_with_float64(distance: str, dtype: Any) -> None:
    call = batch(512, 768, dtype)
    for margin in (0.3, None):
        for reduction in REDUCTIONS:
            options = {"distance": distance, "margin": margin, "reduction": reduction}
            x = call["features"].clone().requires_grad_()
            y = call["features"].double().requires_grad_()
            loss = triplet_loss(**{**call, "features": x}, **options)
            exact = reference.triplet_loss(**{**call, "features": y}, **options)
            # The products of two rounded halves are exact, so the choice agrees but for near ties.
            torch.testing.assert_close(loss.double().mean(), exact.mean(), rtol=1e-4, atol=1e-5)
            loss.sum().backward()
            exact.sum().backward()
            error = (x.grad.double() - y.grad).norm() / y.grad.norm()
            assert error < (1e-4 if dtype == torch.float32 else 1e-2)


def test_two_runs_give_the_same_bits() -> None:
    call = batch(1024, 512, torch.float16)
    results = []
    for _ in range(3):
        x = call["features"].clone().requires_grad_()
        loss = triplet_loss(**{**call, "features": x}, positives="cross_camera")
        loss.backward()
        results.append((loss.detach(), x.grad))
    for loss, gradient in results[1:]:
        assert torch.equal(loss, results[0][0])
        assert torch.equal(gradient, results[0][1])


def test_memory_is_not_quadratic() -> None:
    call = batch(8192, 256, torch.float16)
    call["features"].requires_grad_()
    triplet_loss(**call).backward()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    triplet_loss(**call).backward()
    assert torch.cuda.max_memory_allocated() - before < 32 * 2**20  # a matrix: 256 MB


def test_opcheck_and_compile() -> None:
    call = batch(40, 24, torch.float32)
    call["features"].requires_grad_()
    arrays = (call["features"], None, call["labels"], None, call["cameras"], None, None)
    rules = ("cross_camera", "any", "cosine")
    torch.library.opcheck(torch_ops.batch_hard_op, (*arrays, *rules))
    torch.library.opcheck(torch_ops.triplet_loss_op, (*arrays, *rules, 0.3, "mean"))
    compiled = torch.compile(lambda x: triplet_loss(x, call["labels"]), fullgraph=True)
    torch.testing.assert_close(
        compiled(call["features"]), triplet_loss(call["features"], call["labels"])
    )


def test_in_a_cuda_graph() -> None:
    call = batch(256, 768, torch.float16)
    x = call["features"].clone().requires_grad_()
    for _ in range(3):
        torch.autograd.grad(triplet_loss(x, call["labels"]), x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = triplet_loss(x, call["labels"])
        (gradient,) = torch.autograd.grad(loss, x)
    with torch.no_grad():
        x.copy_(call["features"].flip(0))
    graph.replay()
    y = x.detach().clone().requires_grad_()
    wanted = triplet_loss(y, call["labels"])
    wanted.backward()
    assert torch.equal(loss, wanted)
    assert torch.equal(gradient, y.grad)
