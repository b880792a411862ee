"""Letterboxing: every pixel where a plain loop would put it, every box back where it was."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscam_deploy.manifest import Preprocessing
from crosscam_deploy.preprocess import allocate_batch, plan, preprocess, preprocess_into
from crosscam_kernels.errors import ShapeError


def prep(**fields) -> Preprocessing:
    base = {"height": 48, "width": 64, "color": "bgr", "filter": "bilinear"}
    return Preprocessing.model_validate(base | fields)


def image_of(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(height * 1000 + width)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def reference(image: np.ndarray, p: Preprocessing) -> np.ndarray:
    """The definition: resize, paste on the padding colour, order, scale."""
    transform, width, height = plan(image.shape[1], image.shape[0], p)
    canvas = np.full((p.height, p.width, 3), p.pad_value, np.uint8)
    top, left = int(transform.offset_y), int(transform.offset_x)
    canvas[top : top + height, left : left + width] = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_LINEAR
    )
    if p.color == "rgb":
        canvas = canvas[:, :, ::-1]
    return ((canvas * p.scale - np.array(p.mean)) / np.array(p.std)).transpose(2, 0, 1)


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "letterbox_topleft"])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("shape", [(48, 64), (100, 50), (31, 177), (1, 1), (500, 3)])
def test_equals_the_definition(fit, color, shape):
    p = prep(fit=fit, color=color, scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    batch = np.full((2, 3, p.height, p.width), np.nan, np.float32)  # unwritten pixels would show
    image = image_of(*shape)
    preprocess([image, image[:, ::-1]], p, out=batch)
    np.testing.assert_allclose(batch[0], reference(image, p), atol=1e-5)
    np.testing.assert_allclose(batch[1], reference(image[:, ::-1], p), atol=1e-5)


def test_raw_pixels_are_untouched():
    p = prep(fit="stretch")
    image = image_of(48, 64)
    batch, _ = preprocess([image], p)
    np.testing.assert_array_equal(batch[0], image.transpose(2, 0, 1))


@given(
    size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    fit=st.sampled_from(["stretch", "letterbox", "letterbox_topleft"]),
    box=st.tuples(*[st.floats(0, 1)] * 4),
)
@settings(deadline=None, max_examples=200)
def test_transform_is_inverted_and_fits(size, fit, box):
    p = prep(fit=fit)
    width, height = size
    transform, fitted_w, fitted_h = plan(width, height, p)
    assert 1 <= fitted_w <= p.width
    assert 1 <= fitted_h <= p.height
    assert transform.offset_x + fitted_w <= p.width
    assert transform.offset_y + fitted_h <= p.height
    xyxy = np.array([box], np.float32) * np.array([width, height] * 2, np.float32)
    back = transform.to_source(transform.to_input(xyxy))
    tolerance = 1e-4 / min(transform.scale_x, transform.scale_y) + 1e-3
    np.testing.assert_allclose(back, xyxy, atol=tolerance)
    corners = transform.to_input(np.array([[0, 0, width, height]], np.float32))[0]
    x, y = transform.offset_x, transform.offset_y
    np.testing.assert_allclose(corners, [x, y, x + fitted_w, y + fitted_h], atol=1e-3)


def test_centred_letterbox_is_where_ultralytics_puts_it():
    # 768 x 576 into 640 x 640: 640 x 480, 80 rows of padding above and below
    p = prep(height=640, width=640, fit="letterbox")
    transform, width, height = plan(768, 576, p)
    assert (width, height, transform.offset_x, transform.offset_y) == (640, 480, 0, 80)


@pytest.mark.parametrize(
    "bad",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)],
)
def test_bad_images(bad):
    p = prep()
    with pytest.raises(ShapeError, match="the image is"):
        preprocess_into(bad, p, allocate_batch(1, p)[0])
    with pytest.raises(ShapeError, match="float64"):
        preprocess_into(np.zeros((4, 4, 3)), p, allocate_batch(1, p)[0])


def test_bad_slot():
    with pytest.raises(ShapeError, match="batch slot"):
        preprocess_into(image_of(4, 4), prep(), np.zeros((3, 4, 4), np.float32))
