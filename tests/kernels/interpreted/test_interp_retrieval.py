"""The Triton kernels of retrieval_metrics in the interpreter, on small shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from crosscam_kernels._retrieval_inputs import PROTOCOLS, checked_labels
from crosscam_kernels.gpu import retrieval as kernels
from crosscam_kernels.gpu import retrieval_ranks as launch
from crosscam_kernels.reference import retrieval as reference

FIGURES = ("average_precision", "first_rank", "last_rank", "positives")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that a tiny problem has several of each."""
    for name, value in (("BLOCK_Q", 16), ("BLOCK_G", 32), ("BLOCK_D", 16)):
        monkeypatch.setattr(launch, name, value)
    monkeypatch.setattr(launch, "_SPLITS", 2)


def problem(queries: int, gallery: int, dim: int, ids: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
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


def check(made: dict[str, Any], protocol: Any, metric: Any, max_pairs: int = 1 << 20) -> None:
    options = {k: v for k, v in made.items() if k not in ("query", "gallery")}
    labels = checked_labels(
        options.pop("query_ids"),
        options.pop("gallery_ids"),
        len(made["query"]),
        len(made["gallery"]),
        **options,
        protocol=protocol,
        junk_id=-1,
    )
    tensors = [None if c is None else torch.from_numpy(c) for c in labels[:7]]
    tensors[6] = tensors[6].to(torch.bool)
    found = launch.count_ranks(
        torch.from_numpy(made["query"]),
        torch.from_numpy(made["gallery"]),
        type(labels)(*tensors, labels.protocol),
        metric,
        max_pairs,
    )
    expected = reference.retrieval_metrics(**made, protocol=protocol, metric=metric).ranks
    for name, a, b in zip(FIGURES, found, expected, strict=True):
        np.testing.assert_array_equal(a.numpy(), b, err_msg=name)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("metric", ["inner_product", "euclidean"])
def test_ranks_of_integer_data(protocol: Any, metric: Any) -> None:
    check(problem(21, 83, 7, 6, 1), protocol, metric)


@pytest.mark.parametrize(
    ("queries", "gallery", "dim", "ids"),
    [(1, 1, 1, 1), (16, 32, 16, 3), (17, 65, 33, 40), (3, 100, 2, 1), (40, 5, 4, 2)],
)
def test_shapes_around_the_blocks(queries: int, gallery: int, dim: int, ids: int) -> None:
    check(problem(queries, gallery, dim, ids, queries), "standard", "inner_product")


def test_sums_are_kept_in_single_precision() -> None:
    made = problem(20, 90, 2, 5, 7)
    made["query"][:] = 1
    # Scores 4000 to 4089: half precision would tie four at a time.
    made["gallery"][:, 0] = 4000
    made["gallery"][:, 1] = np.random.default_rng(8).permutation(90)
    check(made, "standard", "inner_product")


def test_groups_of_queries_when_pairs_are_many() -> None:
    made = problem(10, 40, 3, 2, 5)
    check(made, "standard", "inner_product", max_pairs=50)
    check(made, "any", "inner_product", max_pairs=1)


def test_cosine_ranks_like_scaled_rows() -> None:
    made = problem(12, 70, 5, 4, 6)
    scales = np.random.default_rng(0).choice([0.5, 1.0, 4.0], 70).astype(np.float32)
    # Rows of one length, so that the scores of equal directions stay equal after scaling.
    made["gallery"] = np.sign(made["gallery"] + 0.5).astype(np.float32)
    expected = reference.retrieval_metrics(**made, metric="inner_product").ranks
    scaled = {**made, "gallery": made["gallery"] * scales[:, None]}
    labels = checked_labels(
        made["query_ids"],
        made["gallery_ids"],
        12,
        70,
        **{
            k: v
            for k, v in made.items()
            if k not in ("query", "gallery", "query_ids", "gallery_ids")
        },
        protocol="standard",
        junk_id=None,
    )
    tensors = [None if c is None else torch.from_numpy(c) for c in labels[:7]]
    expected = reference.retrieval_metrics(**made, metric="inner_product", junk_id=None).ranks
    found = launch.count_ranks(
        torch.from_numpy(scaled["query"]),
        torch.from_numpy(scaled["gallery"]),
        type(labels)(*tensors, labels.protocol),
        "cosine",
        1 << 20,
    )
    for name, a, b in zip(FIGURES, found, expected, strict=True):
        np.testing.assert_array_equal(a.numpy(), b, err_msg=name)


def test_not_a_number_comes_last_and_minus_zero_is_zero() -> None:
    values = np.array([np.nan, 1.0, -np.inf, np.inf, -0.0, 0.0, np.nan, 2.0], np.float32)
    ranks = [7, 3, 6, 1, 4, 5, 8, 2]
    for right in range(len(values)):
        labels = checked_labels(
            [5],
            np.where(np.arange(len(values)) == right, 5, 1),
            1,
            len(values),
            query_cameras=None,
            gallery_cameras=None,
            query_clothes=None,
            gallery_clothes=None,
            query_tracklets=None,
            gallery_tracklets=None,
            protocol="any",
            junk_id=None,
        )
        tensors = [None if c is None else torch.from_numpy(c) for c in labels[:7]]
        query, gallery = torch.ones(1, 1), torch.from_numpy(values)[:, None]
        found = launch.count_ranks(
            query, gallery, type(labels)(*tensors, "any"), "inner_product", 100
        )
        assert found[1].item() == ranks[right]


def test_empty_sides() -> None:
    for queries, gallery in ((0, 5), (4, 0), (0, 0)):
        check(problem(queries, gallery, 3, 2, 0), "standard", "inner_product")


def test_two_passes_use_the_same_blocks() -> None:
    assert kernels.BLOCK_Q >= 16
    assert kernels.BLOCK_G >= 16
    assert {spec.constexprs["BLOCK_D"] for spec in kernels.AOT_KERNELS} == {kernels.BLOCK_D}
