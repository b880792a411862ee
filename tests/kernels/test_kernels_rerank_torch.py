"""k_reciprocal_rerank on torch tensors gives the answer of arrays, in tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from crosscam_kernels import CameraAware, k_reciprocal_rerank  # noqa: E402


@pytest.mark.parametrize("options", [{}, {"camera_aware": CameraAware(), "metric": "euclidean"}])
def test_tensors_give_the_answer_of_arrays(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    made = {
        "query": rng.standard_normal((20, 12)).astype(np.float32),
        "gallery": rng.standard_normal((80, 12)).astype(np.float32),
        "query_cameras": rng.integers(0, 3, 20),
        "gallery_cameras": rng.integers(0, 3, 80),
    }
    tensors = {name: torch.from_numpy(value) for name, value in made.items()}
    tensors["query"].requires_grad_()
    distances = k_reciprocal_rerank(**tensors, **options)
    assert isinstance(distances, torch.Tensor)
    np.testing.assert_array_equal(distances.numpy(), k_reciprocal_rerank(**made, **options))
    best = k_reciprocal_rerank(**tensors, **options, k=5)
    assert isinstance(best.index, torch.Tensor)
    np.testing.assert_array_equal(
        best.index.numpy(), k_reciprocal_rerank(**made, **options, k=5).index
    )
