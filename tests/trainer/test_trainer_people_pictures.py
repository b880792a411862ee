"""Pictures: masks against pixels, boxes, what a camera's channel does."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from people_parts import needs_anny

from crosscam_trainer.data.masks import LIP
from crosscam_trainer.people.cameras import Channel, draw_station
from crosscam_trainer.people.crops import cut
from crosscam_trainer.people.degradations import Moment, degrade, draw_moment
from crosscam_trainer.people.wardrobe import Garment

CLEAN = Channel(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, (100, 100), 0.0, 0.0, (0.0, 255.0))
STILL = Moment((1.0, 1.0, 1.0), 0.0, 1.0)


@pytest.fixture(scope="module")
def station():
    return draw_station(1, 0, 192)


@pytest.fixture(scope="module")
def view(station):
    return station.view()


def rendered(station, view, outfit, person):
    from crosscam_trainer.people.dressing import dress
    from crosscam_trainer.people.poses import draw_motion, pose

    figure = dress(person, outfit)
    spots = station.spots(150, 330)
    motion = draw_motion(person, outfit, spots[len(spots) // 2], 1, np.random.default_rng(0))
    bones = pose(figure.body, motion, motion.positions())
    frame, rows, ids, parts = view.render_parts([figure.mesh], bones, 1)
    classes = figure.classes[np.where(ids == 1, parts, 0)]
    return frame, rows, ids, classes


@needs_anny
def test_masks_hold_the_pixels_that_change_with_the_clothes(station, view):
    """Dye a garment: what changes in the picture is what the mask calls by its class."""
    from crosscam_trainer.people.people import draw_person

    person = draw_person(4, 2, 0)
    outfit = replace(
        person.outfits[0], top=Garment("t-shirt", "red", cut=0.6), hat="", scarf="", bag="",
        bottom=Garment("trousers", "black"), phone=False,
    )  # fmt: skip
    red, rows, ids, classes = rendered(station, view, outfit, person)
    assert rows[0, 10] > 150
    for part, other, name in (
        ("top", Garment("t-shirt", "white", cut=0.6), "upper-clothes"),
        ("bottom", Garment("trousers", "white"), "pants"),
    ):
        dyed, _, ids2, classes2 = rendered(station, view, replace(outfit, **{part: other}), person)
        np.testing.assert_array_equal(ids, ids2)
        np.testing.assert_array_equal(classes, classes2)
        changed = np.abs(dyed.astype(int) - red).max(2) > 12
        of_class = classes == LIP.classes.index(name)
        assert of_class.sum() > 30
        assert changed[of_class].mean() > 0.9
        # Elsewhere only pixels on the border of the garment, which hold some of it.
        near = cv2.dilate(of_class.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert not (changed & ~near).any()


@needs_anny
def test_classes_cover_the_person_from_shoes_to_hair(station, view):
    from crosscam_trainer.people.people import draw_person

    person = replace(draw_person(4, 2, 0), hair="short")
    outfit = replace(person.outfits[0], hat="", bag="", top=Garment("t-shirt", "red", cut=0.6))
    _, _, ids, classes = rendered(station, view, outfit, person)
    rows = {name: np.nonzero(classes == LIP.classes.index(name))[0] for name in LIP.classes}
    assert rows["hair"].mean() < rows["upper-clothes"].mean() < rows["left-shoe"].mean()
    assert len(rows["face"])
    assert len(rows["left-arm"])
    assert (classes[ids == 0] == 0).all()
    assert (classes[ids == 1] > 0).all()


@needs_anny
def test_same_person_same_bytes(station, view):
    from crosscam_trainer.people.people import draw_person

    person = draw_person(9, 2, 0)
    one, two = (rendered(station, view, person.outfits[1], person) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


@needs_anny
def test_crops_keep_picture_and_mask_together(station, view):
    from crosscam_trainer.people.people import draw_person

    person = draw_person(4, 2, 0)
    frame, rows, _, classes = rendered(station, view, person.outfits[0], person)
    clean = replace(station, channel=CLEAN)
    made = [
        cut(frame, classes, rows[0], clean, STILL, 40, np.random.default_rng(k)) for k in range(20)
    ]
    crops = [crop for crop in made if crop is not None]
    assert len(crops) > 10
    boxes = {crop.box for crop in crops}
    assert len(boxes) > 5  # sloppy
    for crop in crops:
        assert crop.image.shape[:2] == crop.mask.shape
        assert crop.image.shape[0] <= 40
        assert set(np.unique(crop.mask)) <= set(np.unique(classes))
        assert 0.5 <= crop.visible <= 1
    hidden = rows[0].copy()
    hidden[10] = hidden[8] // 3
    assert cut(frame, classes, hidden, clean, STILL, 40, np.random.default_rng(0)) is None


def picture() -> np.ndarray:
    rng = np.random.default_rng(1)
    small = rng.integers(30, 220, (8, 4, 1)).astype(np.uint8)
    return np.kron(small, np.ones((16, 16, 3), np.uint8))


def test_a_clean_channel_changes_next_to_nothing():
    image = picture()
    out = degrade(image, CLEAN, STILL, np.random.default_rng(0))
    assert out.shape == image.shape
    assert np.abs(out.astype(int) - image).mean() < 2


@pytest.mark.parametrize(
    "worse",
    [
        {"scale": 0.4}, {"blur": 2.0}, {"motion": 80.0}, {"noise": 10.0}, {"chroma": 10.0},
        {"quality": (5, 6)}, {"sharpen": 1.5}, {"haze": 0.3}, {"levels": (40.0, 210.0)},
    ],
)  # fmt: skip
def test_each_fault_of_a_channel_is_seen_and_repeats(worse):
    image, channel = picture(), replace(CLEAN, **worse)
    good = degrade(image, CLEAN, STILL, np.random.default_rng(2)).astype(int)
    bad = degrade(image, channel, STILL, np.random.default_rng(2))
    assert bad.shape == image.shape
    assert np.abs(bad - good).mean() > 1
    np.testing.assert_array_equal(bad, degrade(image, channel, STILL, np.random.default_rng(2)))


def test_cameras_differ_strongly_in_colour():
    looks = np.array([draw_station(k, 0, 192).camera.look[:3] for k in range(1, 9)])
    warmth = np.log(looks[:, 0] / looks[:, 2])
    assert warmth.std() > 0.15
    assert np.log(looks[:, 1]).std() > 0.15
    drift = draw_moment(replace(CLEAN, drift=0.05), np.random.default_rng(0))
    assert drift.gain != (1.0, 1.0, 1.0)
