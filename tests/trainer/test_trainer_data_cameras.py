"""Augmentation as by another camera: each change does its part, and masks go with pictures."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402

from crosscam_trainer.data.cameras import OtherCamera, boxed  # noqa: E402
from crosscam_trainer.data.transforms import (  # noqa: E402
    Augmentation,
    Preparation,
    for_test,
    for_training,
)

STRENGTHS = {
    "box": 0.2,
    "cast": 0.3,
    "gamma": 0.3,
    "chroma": 0.3,
    "shrink": 1.0,
    "noise": 20.0,
    "coded": 1.0,
}
PREP = Preparation((64, 32))


def _image(height=80, width=40):
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows * 255 // height, columns * 255 // width, (rows + columns) % 2 * 200], 2)
    return image.astype(np.uint8)


@pytest.mark.parametrize("change", STRENGTHS)
def test_each_change_does_its_part_and_follows_from_the_seed(change):
    nothing = {"flip": 0, "pad": 0, "erase": 0}
    transform = for_training(
        Augmentation(**nothing, camera=OtherCamera(**{change: STRENGTHS[change]})), PREP
    )
    plain = for_test(PREP)(_image())[0]
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(transform(_image())[0])
    assert torch.equal(*found)
    assert found[0].shape == plain.shape
    assert (found[0] - plain).abs().mean() > 0.01
    other = transform(_image())[0]
    assert not torch.equal(other, found[0])


def test_nothing_changes_without_strength():
    rng = np.random.default_rng(0)
    assert not OtherCamera().active
    assert np.array_equal(OtherCamera().look(_image(), rng), _image())


def test_colours_of_a_camera_keep_grey_grey_without_cast():
    grey = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
    changed = OtherCamera(chroma=1.0).colours(grey, np.random.default_rng(0))
    assert np.abs(changed.astype(int) - grey).max() <= 1
    cast = OtherCamera(cast=0.3).colours(grey, np.random.default_rng(0))
    assert np.ptp(cast[0, 128]) > 5


def test_a_box_outside_continues_the_border():
    image = _image(6, 4)
    wide = boxed(image, (-2, 8, -1, 5))
    assert wide.shape == (10, 6, 3)
    assert np.array_equal(wide[2:8, 1:5], image)
    assert np.array_equal(wide[0, 1:5], image[0])
    assert np.array_equal(wide[2:8, 5], image[:, 3])


def test_masks_move_with_their_pictures():
    image = np.zeros((80, 40, 3), np.uint8)
    image[10:40, 6:20] = 255
    mask = (image[..., 0] > 0).astype(np.uint8)
    transform = for_training(Augmentation(erase=0, camera=OtherCamera(box=0.2, shrink=1.0)), PREP)
    wrong = []
    for seed in range(20):
        torch.manual_seed(seed)
        picture, moved = transform(image, mask)
        assert moved is not None
        white = picture[0] > picture[0].mean()
        wrong.append(float((white != moved.bool()).float().mean()))
    assert np.mean(wrong) < 0.1
