"""crop_resize_normalize against its specification and against Pillow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crosscam_kernels import crop_resize_normalize, simd_levels
from crosscam_kernels.errors import InputError, ShapeError, UsageError
from crosscam_kernels.reference import crop as reference

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(params=simd_levels())
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CROSSCAM_SIMD", request.param)
    return str(request.param)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_pillow(image: np.ndarray, box: Any, size: tuple[int, int]) -> np.ndarray:
    """(3, h, w) of the part of `box` inside the image, in the channel order of the image."""
    height, width = image.shape[:2]
    # What Image.crop does to a box, and then the cut at the border, which it does not do.
    x0, y0, x1, y1 = (round(float(v)) for v in box)
    inside = (max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))
    crop = Image.fromarray(image).crop(inside)
    return np.asarray(crop.resize(size[::-1], Image.Resampling.BILINEAR)).transpose(2, 0, 1)


@pytest.mark.parametrize("size", [(256, 128), (1, 1), (7, 5), (33, 30), (64, 3), (3, 64)])
def test_within_one_level_of_pillow(level: str, size: tuple[int, int]) -> None:
    image = noise(97, 131)
    boxes = np.array(
        [
            [0, 0, 131, 97],
            [10.3, 5, 40, 96.7],
            [-5, -5, 3, 3],
            [120, 90, 140, 140],
            [-50, -50, 500, 500],
            [1, 1, 2, 2],
            [130, 96, 131, 97],
            [5, 0, 6, 97],
            [0, 50, 131, 51],
            [10.5, 11.5, 20.5, 21.5],  # halves go to even
        ]
    )
    ours = crop_resize_normalize(image, boxes, size=size, color_in="rgb")
    for n, box in enumerate(boxes):
        pillow = by_pillow(image, box, size)
        assert np.abs(ours[n] - pillow).max() <= 1.001, (n, box)


@settings(deadline=None)  # the first call loads the library, on whatever machine this is
@given(data=st.data())
def test_any_image_box_and_size(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60))
    size = (data.draw(st.integers(1, 70)), data.draw(st.integers(1, 70)))
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width + 9)), data.draw(st.integers(y0 + 1, height + 9))
    image = noise(height, width, data.draw(st.integers(0, 99)))
    boxes = np.array([[x0, y0, x1, y1]], np.float32)
    ours = crop_resize_normalize(image, boxes, size=size)
    exact = reference.crop_resize_normalize(image, boxes, size=size)
    np.testing.assert_allclose(ours, exact, atol=1e-3, rtol=0)
    assert np.abs(exact[0, ::-1] - by_pillow(image, boxes[0], size)).max() <= 1.001


def test_normalisation_and_channel_orders(level: str) -> None:
    image, box = noise(50, 40), np.array([[3, 4, 30, 44]], np.float32)
    how: dict[str, Any] = {"size": (20, 10), "scale": 1 / 255, "mean": MEAN, "std": STD}
    planes = by_pillow(image, box[0], (20, 10)).astype(np.float64)
    for source in ("bgr", "rgb"):
        for target in ("bgr", "rgb"):
            ours = crop_resize_normalize(image, box, color_in=source, color_out=target, **how)
            wanted = planes if source == target else planes[::-1]
            wanted = (wanted / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
            assert np.abs(ours[0] - wanted).max() <= 1.001 / 255 / min(STD)
            exact = reference.crop_resize_normalize(
                image, box, color_in=source, color_out=target, **how
            )
            np.testing.assert_allclose(ours, exact, atol=1e-5, rtol=0)


def test_same_size_copies_the_pixels_exactly(level: str) -> None:
    image = noise(37, 29)
    out = crop_resize_normalize(image, [[0, 0, 29, 37]], size=(37, 29), color_out="bgr")
    np.testing.assert_array_equal(out[0], image.transpose(2, 0, 1).astype(np.float32))


def test_a_flat_image_stays_flat(level: str) -> None:
    image = np.full((200, 150, 3), 255, np.uint8)
    for size in [(13, 11), (400, 300), (199, 151)]:
        out = crop_resize_normalize(image, [[0, 0, 150, 200]], size=size)
        np.testing.assert_allclose(out, 255, atol=1e-3, rtol=0)  # about 60 float32 roundings


def test_many_images_of_different_sizes(level: str) -> None:
    images = [noise(20, 30, 1), noise(1, 1, 2), noise(90, 70, 3)]
    boxes = np.array([[0, 0, 70, 90], [0, 0, 1, 1], [2, 3, 20, 20], [5, 5, 9, 80]], np.float32)
    index = np.array([2, 1, 0, 2])
    out = crop_resize_normalize(images, boxes, size=(16, 8), frame_index=index, color_in="rgb")
    for n in range(4):
        expected = by_pillow(images[index[n]], boxes[n], (16, 8))
        assert np.abs(out[n] - expected).max() <= 1.001


def test_same_bits_for_any_threads_level_and_run(monkeypatch: pytest.MonkeyPatch) -> None:
    image = noise(300, 400)
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 250, (9, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(2, 120, (9, 2))], axis=1)
    first = crop_resize_normalize(image, boxes, size=(128, 64), scale=1 / 255, mean=MEAN, std=STD)
    for name in simd_levels():
        monkeypatch.setenv("CROSSCAM_SIMD", name)
        for threads in (1, 2, 5):
            again = crop_resize_normalize(
                image, boxes, size=(128, 64), scale=1 / 255, mean=MEAN, std=STD, threads=threads
            )
            np.testing.assert_array_equal(again, first)


def test_writes_into_a_view_and_nothing_else(level: str) -> None:
    image = noise(48, 64)
    canvas = np.full((2, 3, 50, 60), -7, np.float32)
    out = canvas[:, :, 10:34, 5:37]
    boxes = [[0, 0, 64, 48], [1, 2, 33, 40]]
    result = crop_resize_normalize(image, boxes, size=(24, 32), out=out)
    assert result is out
    np.testing.assert_array_equal(out, crop_resize_normalize(image, boxes, size=(24, 32)))
    border = np.ones((50, 60), bool)
    border[10:34, 5:37] = False
    assert (canvas[:, :, border] == -7).all()


def test_layouts_of_images(level: str) -> None:
    frame = noise(100, 120)
    view = frame[10:70, 20:90]
    boxes = [[3, 4, 60, 58], [40, 0, 70, 60]]
    expected = crop_resize_normalize(view.copy(), boxes, size=(30, 20))
    np.testing.assert_array_equal(crop_resize_normalize(view, boxes, size=(30, 20)), expected)
    swapped = crop_resize_normalize(view[..., ::-1], boxes, size=(30, 20), color_in="rgb")
    np.testing.assert_array_equal(swapped, expected)
    upside_down = crop_resize_normalize(view[::-1].copy()[::-1], boxes, size=(30, 20))
    np.testing.assert_array_equal(upside_down, expected)


@pytest.mark.parametrize("boxes", [[], np.empty((0, 4))])
def test_no_boxes(boxes: Any) -> None:
    assert crop_resize_normalize(noise(4, 4), boxes, size=(8, 6)).shape == (0, 3, 8, 6)
    assert crop_resize_normalize([], boxes, size=(8, 6)).shape == (0, 3, 8, 6)


BOX = [[0, 0, 4, 4]]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"images": noise(4, 4)[..., 0]}, ShapeError, r"image 0 is uint8 of shape \(4, 4\)"),
        ({"images": noise(4, 4).astype("f4")}, ShapeError, "image 0 is float32"),
        ({"images": [noise(4, 4)] * 2}, ShapeError, "2 images are given without frame_index"),
        ({"frame_index": [1]}, InputError, "frame_index holds values from 1 to 1"),
        ({"frame_index": [0, 0]}, ShapeError, "frame_index is int64"),
        ({"boxes": [[0, 0, 4]]}, ShapeError, r"boxes are int64 of shape \(1, 3\)"),
        ({"boxes": [*BOX, [2, 2, 2, 4]]}, InputError, r"box 1 \[2, 2, 2, 4\] covers no pixel"),
        ({"boxes": [[3.6, 0, 4.4, 4]]}, InputError, "box 0"),
        ({"boxes": [[4, 0, 9, 4]]}, InputError, "box 0"),
        ({"boxes": [[-9, 0, 0, 4]]}, InputError, "box 0"),
        ({"boxes": [[3, 0, 1, 4]]}, InputError, "box 0"),
        ({"boxes": [[0, 0, np.nan, 4]]}, InputError, "box 0"),
        ({"boxes": [[0, 0, np.inf, 4]]}, InputError, "box 0"),
        ({"size": (0, 4)}, UsageError, r"size=\(0, 4\)"),
        ({"color_in": "gbr"}, UsageError, "color_in='gbr'"),
        ({"color_out": "RGB"}, UsageError, "color_out='RGB'"),
        ({"mean": (0.5,)}, ShapeError, "mean has 1"),
        ({"std": (1, 0, 1)}, UsageError, "no zero in std"),
        ({"scale": np.nan}, UsageError, "finite values"),
        ({"threads": -1}, UsageError, "threads=-1"),
        ({"out": np.empty((1, 3, 8, 5), "f4")}, ShapeError, "out is float32 of shape"),
        ({"out": np.empty((1, 3, 8, 6), "f8")}, ShapeError, "out is float64"),
        ({"out": np.empty((1, 3, 6, 8), "f4").swapaxes(2, 3)}, ShapeError, "not dense"),
    ],
)
def test_wrong_calls_say_what_is_wrong(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    call = {"images": noise(4, 4), "boxes": BOX, "size": (8, 6), **arguments}
    with pytest.raises(error, match=message):
        crop_resize_normalize(call.pop("images"), call.pop("boxes"), **call)


def test_huge_coordinates_are_cut_at_the_border() -> None:
    image = noise(10, 12)
    far = crop_resize_normalize(image, [[-1e30, -1e30, 1e30, 1e30]], size=(5, 6))
    np.testing.assert_array_equal(far, crop_resize_normalize(image, [[0, 0, 12, 10]], size=(5, 6)))
