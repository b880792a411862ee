"""What answers are worth: against each other, against labels, and against gates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscam_deploy.detections import Detections
from crosscam_deploy.verify import Crop, CropSet, FrameSet, Gates, VerifyData
from crosscam_deploy.verify.accuracy import detect_accuracy, embed_accuracy, retrieval
from crosscam_deploy.verify.answers import Answers, Inputs, difference, in_common, joined, spread
from crosscam_deploy.verify.gates import refusals
from crosscam_deploy.verify.types import DetectAccuracy, EmbedAccuracy
from crosscam_kernels.errors import InputError


def unit(rows) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def crops(people: str, cameras: str | None = None, roles=None) -> VerifyData:
    """One crop for each letter."""
    seen_by = cameras or [None] * len(people)
    sides = roles or ["both"] * len(people)
    made = [
        Crop(Path(f"{k}.png"), person, camera, side)
        for k, (person, camera, side) in enumerate(zip(people, seen_by, sides, strict=True))
    ]
    return VerifyData(crops=(CropSet("set", tuple(made)),))


def boxes(*rows: tuple[float, float, float, float, float]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Detections(table[:, :4], table[:, 4], np.zeros(len(table), np.int32))


@given(st.integers(0, 10**6))
def test_a_candidate_that_answers_as_the_reference_loses_nothing(seed):
    rng = np.random.default_rng(seed)
    data = crops("aabbccdd", "xyxyxyxy")
    rows = unit(rng.normal(size=(8, 5)))
    found = embed_accuracy(rows, rows.copy(), data, same_space=True)
    assert found.cosine_min == pytest.approx(1, abs=1e-6)
    assert found.top1_agreement == 1.0
    assert found.mean_ap_change == found.rank1_change == 0.0
    assert refusals(Gates(min_top1_agreement=1.0), found) == ()
    # A turn of the space keeps every distance: vectors differ, what is found does not.
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    turned = embed_accuracy(unit(rows @ turn), rows, data, same_space=False)
    assert turned.cosine_mean is None
    assert turned.mean_ap == pytest.approx(found.mean_ap, abs=1e-6)


def test_pictures_by_the_same_camera_do_not_count_where_cameras_are_known():
    # Each is nearest to its own copy by the same camera, then to the wrong person.
    rows = unit([[1, 0], [1, 0.01], [0.5, 1], [0.4, 1]])
    seen = retrieval(rows, crops("aabb", "xxyy"))
    assert seen is None, "nobody is seen by two cameras: there is nothing to find"
    far = retrieval(rows, crops("abab", "xxyy"))
    assert far is not None
    anywhere = retrieval(rows, crops("aabb"))
    assert anywhere is not None
    assert anywhere.mean_ap == 1.0, "without cameras only the picture itself is left out"


def test_queries_and_gallery_are_told_apart():
    rows = unit([[1, 0], [1, 0.1], [0, 1]])
    data = crops("aab", None, ["query", "gallery", "gallery"])
    found = retrieval(rows, data)
    assert found is not None
    assert found.rank1 == 1.0
    swapped = retrieval(rows[[0, 2, 1]], data)
    assert swapped is not None
    assert swapped.rank1 == 0.0
    assert swapped.mean_ap == 0.5


def test_figures_are_means_over_sets_and_people_of_two_sets_are_never_compared():
    good, bad = (
        unit([[1, 0], [1, 0.1], [0, 1], [0.1, 1]]),
        unit([[1, 0], [0, 1], [1, 0.1], [0.1, 1]]),
    )
    one = crops("aabb").crops[0]
    both = VerifyData(crops=(one, one))
    found = retrieval(np.concatenate([good, bad]), both)
    alone = [retrieval(rows, VerifyData(crops=(one,))) for rows in (good, bad)]
    assert found.mean_ap == pytest.approx(np.mean([each.mean_ap for each in alone]))
    assert found.queries == 8
    assert both.summary().people == 4
    assert both.summary().sets == {"set": 4, "set (2)": 4}


def test_a_nearest_picture_that_changed_is_counted():
    reference = unit([[1, 0], [1, 0.1], [1, 0.3], [0, 1]])
    moved = reference.copy()
    moved[1] = unit([[0, 1]])[0]
    found = embed_accuracy(moved, reference, crops("aabb"), same_space=True)
    assert found.top1_agreement == 0.0
    assert found.cosine_min < 0.2
    assert any("worst crop" in reason for reason in refusals(Gates(), found))


def test_crops_without_labels_and_without_a_common_space_judge_nobody():
    data = VerifyData(crops=(CropSet("bare", (Crop(Path("a")), Crop(Path("b")))),))
    rows = unit([[1, 0], [0, 1]])
    found = embed_accuracy(rows, rows, data, same_space=False)
    assert found.mean_ap is None
    (reason,) = refusals(Gates(), found)
    assert "nothing to judge it by" in reason
    vectors = embed_accuracy(rows, rows, data, same_space=True)
    assert (vectors.cosine_mean, vectors.top1_agreement, vectors.mean_ap) == (1.0, 1.0, None)
    assert refusals(Gates(), vectors) == (), "without labels the vectors decide"


@pytest.mark.parametrize(
    ("change", "gates", "refused"),
    [
        ({"mean_ap_change": -0.005}, Gates(), False),
        ({"mean_ap_change": -0.0051}, Gates(), True),
        ({"mean_ap_change": -0.5}, Gates(max_mean_ap_drop=None), False),
        ({"mean_ap_change": 0.5}, Gates(), False),
        ({"cosine_mean": 0.9949}, Gates(), True),
        ({"cosine_mean": 0.995}, Gates(), False),
        ({"cosine_min": 0.89}, Gates(), True),
        ({"top1_agreement": 0.5}, Gates(), False),
        ({"top1_agreement": 0.5}, Gates(min_top1_agreement=0.9), True),
        ({"rank1_change": -0.02}, Gates(), True),
        ({"rank1_change": -0.02, "queries": 50}, Gates(), False),  # one query
        ({"rank1_change": -0.02, "queries": 100}, Gates(), True),  # two
    ],
)
def test_gates_of_embedders(change, gates, refused):
    fine = {
        "crops": 9, "cosine_mean": 1.0, "cosine_min": 1.0, "top1_agreement": 1.0, "mean_ap": 0.5,
        "rank1": 0.5, "mean_ap_change": 0.0, "rank1_change": 0.0,
    }  # fmt: skip
    assert bool(refusals(gates, EmbedAccuracy(**fine | change))) == refused


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({}, False),
        ({"average_precision_change": -0.011}, True),
        ({"recall_change": -0.2}, False),  # one box of five
        ({"recall_change": -0.4}, True),
        ({"recall_change": -0.011, "people": 500}, True),
        ({"agreement": 0.94}, True),
        ({"people": 0}, True),
    ],
)
def test_gates_of_detectors(change, refused):
    fine = {
        "frames": 3, "people": 5, "truth": "labels", "average_precision": 0.9, "recall": 0.9,
        "average_precision_change": 0.0, "recall_change": 0.0, "agreement": 1.0,
    }  # fmt: skip
    assert bool(refusals(Gates(), DetectAccuracy(**fine | change))) == refused


def test_boxes_are_judged_by_labels_or_by_the_reference():
    person, other = (0, 0, 10, 20, 0.9), (30, 0, 40, 20, 0.8)
    truth = (np.array([[0, 0, 10, 20], [30, 0, 40, 20]], float),)
    frames = FrameSet("f", (Path("a"),), truth)
    reference, candidate = [boxes(person, other)], [boxes(person)]
    labelled = detect_accuracy(candidate, reference, VerifyData(frames=(frames,)))
    assert labelled.truth == "labels"
    assert (labelled.average_precision, labelled.recall_change) == (0.5, -0.5)
    bare = VerifyData(frames=(FrameSet("f", (Path("a"),)),))
    found = detect_accuracy(candidate, reference, bare)
    assert found.truth == "reference"
    assert found.people == 2
    assert found.average_precision_change == -0.5
    assert found.agreement == pytest.approx(2 / 3)
    same = detect_accuracy(reference, reference, bare)
    assert (same.average_precision, same.average_precision_change, same.agreement) == (1, 0, 1)


def test_people_who_are_not_asked_for_count_neither_way():
    frames = FrameSet(
        "f",
        (Path("a"),),
        (np.array([[0, 0, 10, 20], [30, 0, 40, 20.0]]),),
        (np.array([False, True]),),
    )
    data = VerifyData(frames=(frames,))
    with_it = [boxes((0, 0, 10, 20, 0.9), (30, 0, 40, 20, 0.95))]
    found = detect_accuracy(with_it, [boxes((0, 0, 10, 20, 0.9))], data)
    assert found.people == 1
    assert found.average_precision == 1.0


def test_a_box_just_below_the_score_of_a_run_has_its_counterpart():
    assert in_common([boxes((0, 0, 9, 9, 0.31))], [boxes((0, 0, 9, 9, 0.29))]) == 1.0
    assert in_common([boxes((0, 0, 9, 9, 0.31))], [boxes((0, 0, 9, 9, 0.1))]) == 0.0
    assert in_common([boxes((0, 0, 9, 9, 0.9))] * 2, [boxes((0, 0, 9, 9, 0.9)), boxes()]) == (
        pytest.approx(2 / 3)
    )
    twice = boxes((0, 0, 9, 9, 0.9), (0, 0, 9, 9, 0.8))
    assert in_common([twice], [boxes((0, 0, 9, 9, 0.9))]) == pytest.approx(2 / 3), "one to one"
    assert in_common([boxes()], [boxes()]) == 1.0


def test_answers_travel_between_processes(tmp_path):
    rows = Answers(rows=unit(np.random.default_rng(0).normal(size=(4, 3))))
    rows.save(tmp_path / "rows.npz")
    assert (Answers.load(tmp_path / "rows.npz").rows == rows.rows).all()
    found = Answers(
        boxes=(boxes((0, 0, 5, 5, 0.5), (1, 1, 9, 9, 0.4)), boxes(), boxes((2, 2, 3, 3, 1)))
    )
    found.save(tmp_path / "boxes.npz")
    back = Answers.load(tmp_path / "boxes.npz").boxes
    assert [len(each) for each in back] == [2, 0, 1]
    for one, two in zip(back, found.boxes, strict=True):
        assert (one.xyxy == two.xyxy).all()
        assert (one.confidence == two.confidence).all()
    nothing = Answers(boxes=(boxes(), boxes()))
    nothing.save(tmp_path / "nothing.npz")
    assert len(Answers.load(tmp_path / "nothing.npz")) == 2
    assert len(joined([rows, rows]).rows) == 8


def test_a_change_is_told_in_distances_between_pictures():
    tight = unit([[1, 0, 0.001 * k] for k in range(6)])
    usual = spread(Answers(rows=tight))
    assert usual == pytest.approx(0.002, rel=0.5)
    other = Answers(rows=tight[::-1].copy())
    assert "moved" in difference(Answers(rows=tight), other, usual)
    assert difference(Answers(rows=tight), Answers(rows=tight.copy()), usual) is None
    wide = unit(np.eye(6))
    assert (
        difference(Answers(rows=wide), Answers(rows=unit(wide + 0.01)), spread(Answers(rows=wide)))
        is None
    )
    assert spread(Answers(rows=wide[:1])) > 0


def test_a_batch_larger_than_the_pictures_begins_again():
    inputs = Inputs(
        np.arange(2 * 3, dtype=np.float32).reshape(2, 3, 1, 1), (), np.ones((2, 2), int)
    )
    assert inputs.repeated(5).batch[:, 0, 0, 0].tolist() == [0, 3, 0, 3, 0]


def test_nothing_to_look_at_is_an_error():
    with pytest.raises(InputError, match="no pictures"):
        VerifyData().summary()
    with pytest.raises(InputError, match="crops and frames"):
        VerifyData(crops("ab").crops, (FrameSet("f", (Path("a"),)),)).summary()
