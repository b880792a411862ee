"""Calls of batch_hard and triplet_loss that cannot be answered say what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crosscam_kernels import batch_hard, triplet_loss
from crosscam_kernels.errors import InputError, ShapeError, UsageError

ONE = np.ones((2, 4), np.float32)
REST = {"candidates": ONE, "candidate_labels": [0, 1]}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"features": ONE.astype("f8")}, ShapeError, "features is float64"),
        ({"features": ONE[0]}, ShapeError, r"features is float32 of shape \(4,\)"),
        ({"features": ONE[:, :0]}, ShapeError, "at least 1"),
        ({"labels": [0]}, ShapeError, r"labels is int64 of shape \(1,\)"),
        ({"labels": [0.0, 1.0]}, ShapeError, "labels is float64"),
        ({"cameras": [0]}, ShapeError, "cameras is int64"),
        ({"positives": "cross_camera"}, UsageError, "without cameras"),
        ({"negatives": "other"}, UsageError, "negatives='other'"),
        ({"distance": "l1"}, UsageError, "distance='l1'"),
        ({"threads": 0}, UsageError, "threads=0"),
        ({"candidates": ONE}, UsageError, "given together"),
        ({"candidate_labels": [0, 1]}, UsageError, "given together"),
        ({"self_index": [0, 1]}, UsageError, "without candidates"),
        ({**REST, "candidates": ONE[:, :3]}, ShapeError, "features have 4 columns"),
        ({**REST, "cameras": [0, 1]}, UsageError, "candidate_cameras"),
        ({**REST, "candidate_cameras": [0, 1]}, UsageError, "candidate_cameras"),
        ({**REST, "self_index": [0, 2]}, InputError, "self_index holds values"),
        ({**REST, "self_index": [-2, 0]}, InputError, "self_index holds values"),
        ({**REST, "candidate_labels": [0]}, ShapeError, "candidate_labels"),
    ],
)
def test_wrong_calls_say_what_is_wrong(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    for function in (batch_hard, triplet_loss):
        with pytest.raises(error, match=message):
            function(**{"features": ONE, "labels": [0, 1], **arguments})


def test_an_unknown_reduction_is_refused() -> None:
    with pytest.raises(UsageError, match="reduction='sum'"):
        triplet_loss(ONE, [0, 1], reduction="sum")
