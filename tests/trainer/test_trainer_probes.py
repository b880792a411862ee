"""Linear probes: near one where features tell, at chance where they do not, and no leaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crosscam_kernels.errors import InputError, ShapeError
from crosscam_trainer.data.types import DISTRACTOR, Sample
from crosscam_trainer.evaluation.probes import (
    camera_probe,
    clothes_probe,
    linear_probe,
    probe_figures,
)


def world(
    camera: float, clothes: float, *, seed: int = 0, people: int = 40
) -> tuple[np.ndarray, list[Sample]]:
    """Everybody in two outfits before three cameras, which features show with given strengths."""
    rng = np.random.default_rng(seed)
    rooms = rng.normal(size=(3, 24))
    rows, samples = [], []
    for person in range(people):
        who = 2 * rng.normal(size=24)
        for outfit in range(2):
            worn = rng.normal(size=24)
            for room in range(3):
                for _ in range(2):
                    noise = 0.3 * rng.normal(size=24)
                    rows.append(who + camera * rooms[room] + clothes * worn + noise)
                    path = Path(f"{len(samples)}.png")
                    samples.append(Sample(path, person, room, 2 * person + outfit))
    stacked = np.array(rows)
    return (stacked / np.linalg.norm(stacked, axis=1, keepdims=True)).astype(np.float32), samples


def test_a_camera_is_found_where_it_shows_and_not_where_it_does_not() -> None:
    strong, none = camera_probe(*world(2.0, 0.5)), camera_probe(*world(0.0, 0.5))
    assert strong.chance == none.chance == pytest.approx(1 / 3)
    assert strong.accuracy > 0.9
    assert abs(none.accuracy - none.chance) < 0.08


def test_clothes_are_told_apart_where_they_show_whatever_the_camera() -> None:
    for camera in (0.0, 1.0):
        shown = clothes_probe(*world(camera, 2.0))
        hidden = clothes_probe(*world(camera, 0.0))
        assert shown.chance == hidden.chance == 0.5
        assert shown.accuracy > 0.85
        assert abs(hidden.accuracy - 0.5) < 0.07
        assert shown.classes == 2


def test_a_person_who_was_seen_gives_nothing_away() -> None:
    # The label is a property of each person that features know people by, and nothing else does:
    # divided by picture instead of by person, it would be found every time.
    features, samples = world(0.0, 0.0)
    people = np.array([s.person for s in samples])
    label = np.random.default_rng(1).integers(0, 2, 40)[people]
    assert linear_probe(features, label, people).accuracy < 0.65
    assert linear_probe(features, label, np.arange(len(people))).accuracy > 0.8


def test_frequent_classes_do_not_make_a_blind_classifier_look_good() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(600) < 0.05).astype(np.int64)
    found = linear_probe(rng.normal(size=(600, 8)).astype(np.float32), labels, np.arange(600) % 60)
    assert abs(found.accuracy - 0.5) < 0.15


@pytest.mark.parametrize("dim", [4, 400])  # fewer and more features than samples
def test_the_classifier_is_the_minimum_of_its_objective(dim: int) -> None:
    from crosscam_trainer.evaluation.probes import RIDGE, _fit_and_answer

    rng = np.random.default_rng(dim)
    x, y = rng.normal(size=(60, dim)).astype(np.float32), rng.integers(0, 3, 60)
    new = rng.normal(size=(40, dim)).astype(np.float32)
    weight = 1 / (3 * np.bincount(y)[y])
    centre = weight @ x
    scale = np.sqrt(weight @ (x - centre) ** 2)
    z, target = (x - centre) / scale, np.eye(3)[y]
    # Least squares with rows for the penalty, the bias as a free column.
    root = np.sqrt(weight)[:, None]
    left = np.block([[root * z, root], [np.sqrt(RIDGE) * np.eye(dim), np.zeros((dim, 1))]])
    right = np.vstack([root * target, np.zeros((dim, 3))])
    solved = np.linalg.lstsq(left, right, rcond=None)[0]
    expected = (((new - centre) / scale) @ solved[:-1] + solved[-1]).argmax(1)
    assert np.array_equal(_fit_and_answer(x, y, new, 3, RIDGE), expected)


def test_what_labels_do_not_allow_is_left_out() -> None:
    features, samples = world(1.0, 1.0, people=6)
    full = probe_figures(features, samples)
    assert full.keys() == {"camera probe", "camera chance", "clothes probe", "clothes chance"}
    unlabelled = [Sample(s.path, s.person, s.camera) for s in samples]
    assert probe_figures(features, unlabelled).keys() == {"camera probe", "camera chance"}
    one_camera = [Sample(s.path, s.person, 0, s.clothes) for s in samples]
    assert probe_figures(features, one_camera) == {}
    with pytest.raises(InputError, match="two or more"):
        camera_probe(features, one_camera)
    with pytest.raises(InputError, match="clothes that change"):
        clothes_probe(features, unlabelled)
    with pytest.raises(ShapeError):
        probe_figures(features[1:], samples)


def test_distractors_are_nobody() -> None:
    features, samples = world(1.0, 1.0, people=8)
    lost = [Sample(Path("d.png"), DISTRACTOR, 1)] * 30
    noise = np.random.default_rng(0).normal(size=(30, 24)).astype(np.float32)
    more = np.concatenate([features, noise])
    assert probe_figures(more, [*samples, *lost]) == probe_figures(features, samples)
