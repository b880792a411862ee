"""Average precision and recall against cases that were worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from crosscam_deploy.detection_scores import Found, judge

A, B, C = [0, 0, 10, 20], [30, 0, 40, 20], [60, 0, 70, 20]
NOBODY = [100, 100, 110, 120]


def found(
    boxes: list[list[int]],
    scores: list[float],
    truth: list[list[int]],
    ignored: tuple[int, ...] = (),
) -> Found:
    flags = np.zeros(len(truth), bool)
    flags[list(ignored)] = True
    return Found(
        np.array(boxes, float).reshape(-1, 4),
        np.array(scores),
        np.array(truth, float).reshape(-1, 4),
        flags,
    )


def test_all_found_and_nothing_else_is_one() -> None:
    scores = judge([found([A, B], [0.9, 0.8], [B, A])])
    assert scores == (1.0, 1.0, 0.8, 1.0, 2, 0.8)


def test_a_wrong_box_between_two_right_ones() -> None:
    # right, wrong, right: precision 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3; one of three is missed
    scores = judge([found([A, NOBODY, B], [0.9, 0.8, 0.7], [A, B, C])])
    assert scores.average_precision == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)
    assert scores.recall == scores.most_recall == pytest.approx(2 / 3)


def test_the_second_box_on_a_person_is_wrong() -> None:
    scores = judge([found([A, A, B], [0.9, 0.8, 0.7], [A, B])])
    assert scores.average_precision == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)


def test_recall_is_told_where_wrong_boxes_are_still_few() -> None:
    # Two pictures: two wrong boxes are allowed; the third, of .4, ends it before B is found.
    first = found([A, NOBODY, NOBODY], [0.9, 0.8, 0.4], [A])
    second = found([NOBODY, B], [0.7, 0.3], [B])
    scores = judge([first, second])
    assert (scores.recall, scores.threshold, scores.most_recall) == (0.5, 0.7, 1.0)
    assert judge([first, second], false_boxes=0.5).threshold == 0.8
    assert scores.sure == 0.9  # one wrong box in twenty pictures is none in two
    assert judge([first, second], false_boxes=2.0).recall == 1.0


def test_nothing_is_told_of_people_who_are_ignored() -> None:
    # B is ignored: to find it is neither right nor wrong, and to miss it as well.
    with_b = judge([found([B, A], [0.9, 0.5], [A, B], (1,))])
    without = judge([found([A], [0.5], [A, B], (1,))])
    assert with_b == without == (1.0, 1.0, 0.5, 1.0, 1, 0.5)


def test_a_box_takes_the_person_whom_it_overlaps_most_of_those_that_are_free() -> None:
    near = [2, 0, 12, 20]  # IoU 2/3 with A
    scores = judge([found([A, near], [0.9, 0.8], [near, A])])
    assert scores.average_precision == 1.0


def test_equal_scores_stand_or_fall_together() -> None:
    right_first = judge([found([A, NOBODY], [0.5, 0.5], [A])])
    wrong_first = judge([found([NOBODY, A], [0.5, 0.5], [A])])
    assert right_first == wrong_first
    assert right_first.average_precision == 0.5


@pytest.mark.parametrize("truth", [[], [A]])
def test_no_boxes(truth: list[list[int]]) -> None:
    scores = judge([found([], [], truth)])
    assert scores == (0.0, 0.0, float("inf"), 0.0, len(truth), float("inf"))
