"""retrieval_metrics on torch tensors: the same answers, and a well-behaved operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from crosscam_kernels import RetrievalMetrics, retrieval_metrics  # noqa: E402
from crosscam_kernels.errors import ShapeError  # noqa: E402
from crosscam_kernels.retrieval import METRICS, PROTOCOLS  # noqa: E402
from crosscam_kernels.torch_ops.retrieval import retrieval_ranks  # noqa: E402


def problem(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    made: dict[str, Any] = {
        "query": rng.standard_normal((30, 24)).astype(np.float32),
        "gallery": rng.standard_normal((200, 24)).astype(np.float32),
    }
    for side, count in (("query", 30), ("gallery", 200)):
        made[f"{side}_ids"] = rng.integers(0, 9, count)
        made[f"{side}_cameras"] = rng.integers(0, 3, count)
        made[f"{side}_clothes"] = rng.integers(0, 2, count)
        made[f"{side}_tracklets"] = rng.integers(0, 5, count)
    return made


def as_tensors(made: dict[str, Any]) -> dict[str, Any]:
    return {name: torch.from_numpy(value) for name, value in made.items()}


def assert_identical(found: RetrievalMetrics, expected: RetrievalMetrics) -> None:
    assert found.ranks is not None
    assert expected.ranks is not None
    for a, b in zip(found.ranks, expected.ranks, strict=True):
        assert isinstance(a, torch.Tensor)
        np.testing.assert_array_equal(a.cpu().numpy(), b)
    np.testing.assert_array_equal(found.cmc, expected.cmc)
    assert (found.mean_ap, found.mean_inp) == (expected.mean_ap, expected.mean_inp)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_tensors_give_the_answer_of_arrays(protocol: Any, metric: Any) -> None:
    made = problem()
    expected = retrieval_metrics(**made, protocol=protocol, metric=metric)
    found = retrieval_metrics(**as_tensors(made), protocol=protocol, metric=metric)
    assert_identical(found, expected)
    mixed = {**made, "query": torch.from_numpy(made["query"])}
    mixed["gallery"] = torch.from_numpy(made["gallery"]).requires_grad_()
    assert_identical(retrieval_metrics(**mixed, protocol=protocol, metric=metric), expected)


def test_single_shot_trials_on_tensors() -> None:
    made = problem(1)
    expected = retrieval_metrics(**made, single_shot_trials=3)
    found = retrieval_metrics(**as_tensors(made), single_shot_trials=3)
    assert found.mean_ap == expected.mean_ap


def arguments() -> tuple[Any, ...]:
    made = as_tensors(problem())
    names = ("ids", "cameras", "clothes")
    labels = [made[f"{side}_{name}"] for name in names for side in ("query", "gallery")]
    valid = torch.arange(200) % 7 != 0
    return (made["query"], made["gallery"], *labels, valid, "clothes_changing", "cosine", 1)


def test_opcheck() -> None:
    torch.library.opcheck(retrieval_ranks, arguments())
    bare = list(arguments())
    bare[4:9] = [None] * 5
    bare[9] = "any"
    torch.library.opcheck(retrieval_ranks, tuple(bare))


def test_it_compiles_into_one_graph() -> None:
    def mean_first_rank(*args: Any) -> Any:
        return retrieval_ranks(*args)[1].float().mean()

    compiled = torch.compile(mean_first_rank, fullgraph=True, backend="aot_eager")
    assert compiled(*arguments()) == mean_first_rank(*arguments())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("query", torch.ones(3, 4, dtype=torch.float64), "query is torch.float64"),
        ("gallery", np.ones((200, 24), np.float32), "gallery is float32"),
        ("gallery", torch.ones(200, 7), "24 features on cpu and gallery 7"),
        ("query_ids", torch.ones(3, dtype=torch.int64), r"query_ids is int64 of shape \(3,\)"),
    ],
)
def test_wrong_calls_say_what_is_wrong(name: str, value: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        retrieval_metrics(**{**as_tensors(problem()), name: value})
