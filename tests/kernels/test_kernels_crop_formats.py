"""NV12 input, half and 8-bit output and letterboxing of crop_resize_normalize."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crosscam_kernels import crop_resize_normalize, letterbox_transform, simd_levels
from crosscam_kernels.errors import ShapeError, UsageError
from crosscam_kernels.reference import crop as reference

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NORMALISED: dict[str, Any] = {"scale": 1 / 255, "mean": MEAN, "std": STD}


@pytest.fixture(params=simd_levels())
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CROSSCAM_SIMD", request.param)
    return str(request.param)


def planes(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    luma = rng.integers(0, 256, (height, width), dtype=np.uint8)
    half = ((height + 1) // 2, (width + 1) // 2, 2)
    return luma, rng.integers(0, 256, half, dtype=np.uint8)


def rgb_by_formula(luma: np.ndarray, chroma: np.ndarray, matrix: str, levels: str) -> np.ndarray:
    """Unrounded RGB from the definition of the standards, by inverting RGB -> YCbCr."""
    red, blue = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}[matrix]
    forward = np.array([[red, 1 - red - blue, blue]] * 3) * [[1], [-1], [-1]]
    forward[1, 2] += 1
    forward[2, 0] += 1
    forward[1] /= 2 * (1 - blue)
    forward[2] /= 2 * (1 - red)
    up = chroma.repeat(2, 0).repeat(2, 1)[: luma.shape[0], : luma.shape[1]].astype(float)
    low, y_span, c_span = (16, 219, 224) if levels == "limited" else (0, 255, 255)
    ycc = np.dstack([np.maximum(luma.astype(float) - low, 0) / y_span, (up - 128) / c_span])
    return np.clip(ycc @ np.linalg.inv(forward).T * 255, 0, 255)


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("levels", ["limited", "full"])
@pytest.mark.parametrize("shape", [(6, 8), (7, 9), (1, 1), (5, 130), (64, 65)])
def test_nv12_is_the_standard_rounded_once(
    level: str, matrix: Any, levels: Any, shape: tuple[int, int]
) -> None:
    luma, chroma = planes(*shape)
    exact = rgb_by_formula(luma, chroma, matrix, levels)
    ours = crop_resize_normalize(
        (luma, chroma),
        [[0, 0, shape[1], shape[0]]],
        size=shape,
        color_in="nv12",
        yuv_matrix=matrix,
        yuv_range=levels,
    )[0].transpose(1, 2, 0)
    assert np.abs(ours - exact).max() <= 0.501
    np.testing.assert_array_equal(ours, np.rint(ours))
    np.testing.assert_array_equal(ours, reference.nv12_to_rgb(luma, chroma, matrix, levels))


def test_nv12_within_a_level_of_opencv(level: str) -> None:
    buffer = np.concatenate([p.reshape(-1, 64) for p in planes(48, 64, 3)])
    wanted = cv2.cvtColor(buffer, cv2.COLOR_YUV2RGB_NV12).transpose(2, 0, 1)
    ours = crop_resize_normalize(buffer, [[0, 0, 64, 48]], size=(48, 64), color_in="nv12")
    assert np.abs(ours[0] - wanted).max() <= 1


@settings(deadline=None)
@given(data=st.data())
def test_nv12_boxes_are_those_of_the_rgb_image(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 150))
    luma, chroma = planes(height, width, data.draw(st.integers(0, 99)))
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    size = (data.draw(st.integers(1, 90)), data.draw(st.integers(1, 40)))
    rgb = reference.nv12_to_rgb(luma, chroma, "bt601", "limited")
    expected = crop_resize_normalize(rgb, [[x0, y0, x1, y1]], size=size, color_in="rgb")
    ours = crop_resize_normalize((luma, chroma), [[x0, y0, x1, y1]], size=size, color_in="nv12")
    np.testing.assert_array_equal(ours, expected)


def test_nv12_layouts(level: str) -> None:
    luma, chroma = planes(31, 40)
    box = [[3, 1, 37, 30]]
    expected = crop_resize_normalize((luma, chroma), box, size=(20, 10), color_in="nv12")
    joined = np.concatenate([luma, chroma.reshape(-1, 40)])  # an odd height in one buffer
    wide = np.zeros((31, 64), np.uint8)
    wide[:, :40] = luma
    both = [joined, (wide[:, :40], chroma[::-1].copy()[::-1])]
    for images in (joined, [joined], [(luma, chroma)], both):
        index = np.zeros(1, int) if images is not joined else None
        again = crop_resize_normalize(
            images, box, size=(20, 10), color_in="nv12", frame_index=index
        )
        np.testing.assert_array_equal(again, expected)
    swapped = crop_resize_normalize(
        (luma, chroma), box, size=(20, 10), color_in="nv12", color_out="bgr"
    )
    np.testing.assert_array_equal(swapped, expected[:, ::-1])


def test_same_bits_for_any_threads_and_level(monkeypatch: pytest.MonkeyPatch) -> None:
    images = planes(301, 403)
    boxes = [[0, 0, 403, 301], [17, 20, 120, 300], [301, 7, 402, 90]]
    for how in ({"dtype": "float16"}, {"dtype": "int8", "quantization": (0.02, -3)}, {}):
        arguments: dict[str, Any] = {"size": (130, 66), "color_in": "nv12", "fit": "letterbox"}
        arguments |= NORMALISED | how
        first = crop_resize_normalize(images, boxes, **arguments)
        for name in simd_levels():
            monkeypatch.setenv("CROSSCAM_SIMD", name)
            for threads in (1, 3):
                again = crop_resize_normalize(images, boxes, threads=threads, **arguments)
                np.testing.assert_array_equal(again.view(np.uint8), first.view(np.uint8))


def every_half() -> np.ndarray:
    """(257, 129, 3) pixels that take all values beside each other."""
    return np.random.default_rng(5).integers(0, 256, (257, 129, 3), dtype=np.uint8)


@pytest.mark.parametrize("scale", [1.0, 1e-7, 3e-10, 1e-3, 300.0, -777.7])
def test_half_is_the_float_rounded_to_nearest_even(level: str, scale: float) -> None:
    image, boxes = every_half(), [[0, 0, 129, 257], [5, 6, 100, 99]]
    exact = crop_resize_normalize(image, boxes, size=(101, 57), scale=scale)
    with np.errstate(over="ignore"):
        expected = exact.astype(np.float16)
    ours = crop_resize_normalize(image, boxes, size=(101, 57), scale=scale, dtype="float16")
    np.testing.assert_array_equal(ours.view(np.uint16), expected.view(np.uint16))


def test_half_rounds_ties_to_even(level: str) -> None:
    # 2049 and 2051 lie halfway between halves; so does the first subnormal step and a half.
    image = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (2, 1, 3))
    for scale, mean in ((1.0, -1900.0), (2.0**-25, 0.0), (256.5, 0.0), (1.0, -65400.0)):
        how: dict[str, Any] = {"size": (2, 256), "scale": scale, "mean": (mean,) * 3}
        exact = crop_resize_normalize(image, [[0, 0, 256, 2]], **how)
        half = crop_resize_normalize(image, [[0, 0, 256, 2]], dtype="float16", **how)
        with np.errstate(over="ignore"):
            expected = exact.astype(np.float16)
        np.testing.assert_array_equal(half.view(np.uint16), expected.view(np.uint16))


@pytest.mark.parametrize(
    ("scale", "zero_point"), [(0.02, 0), (0.5, -128), (0.0173, 127), (1e-30, 5), (1e9, -7)]
)
def test_int8_is_quantizelinear_of_the_float(level: str, scale: float, zero_point: int) -> None:
    image, boxes = every_half(), [[0, 0, 129, 257], [5, 6, 100, 99]]
    exact = crop_resize_normalize(image, boxes, size=(101, 57), **NORMALISED)
    ours = crop_resize_normalize(
        image, boxes, size=(101, 57), dtype="int8", quantization=(scale, zero_point), **NORMALISED
    )
    np.testing.assert_array_equal(ours, reference.quantise(exact, scale, zero_point))


def test_int8_ties_go_to_even(level: str) -> None:
    image = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (1, 1, 3))
    ours = crop_resize_normalize(
        image, [[0, 0, 256, 1]], size=(1, 256), dtype="int8", quantization=(2.0, -128)
    )
    expected = np.rint(np.arange(256) / 2) - 128
    np.testing.assert_array_equal(ours[0, 0, 0], np.clip(expected, -128, 127))


@pytest.mark.parametrize("align", ["center", "top_left"])
@pytest.mark.parametrize("size", [(64, 64), (33, 90), (90, 17), (5, 4)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_letterbox_is_a_crop_on_a_padded_canvas(
    level: str, align: Any, size: tuple[int, int], dtype: str
) -> None:
    image = every_half()
    boxes = np.array([[0, 0, 129, 257], [3, 5, 90, 20], [7, 7, 8, 200], [-9, 2, 30, 41]])
    how: dict[str, Any] = {**NORMALISED, "dtype": dtype}
    if dtype == "int8":
        how["quantization"] = (0.02, 3)
    ours = crop_resize_normalize(
        image, boxes, size=size, fit="letterbox", align=align, pad_value=90.5, **how
    )
    for n, box in enumerate(boxes):
        x0, y0, x1, y1 = np.clip(box, 0, [129, 257, 129, 257])
        ratio = min(size[0] / (y1 - y0), size[1] / (x1 - x0))  # as the YOLO family does it
        inner = [max(1, round((y1 - y0) * ratio)), max(1, round((x1 - x0) * ratio))]
        top, left = (
            (round((size[0] - inner[0]) / 2 - 0.1), round((size[1] - inner[1]) / 2 - 0.1))
            if align == "center"
            else (0, 0)
        )
        canvas = np.empty((1, 3, *size), dtype)
        flat = np.full((1, 1, 3), 0, np.uint8)
        shifted = tuple(m - 90.5 / 255 for m in MEAN)  # a black pixel that counts as 90.5
        crop_resize_normalize(
            flat, [[0, 0, 1, 1]], size=size, out=canvas, **{**how, "mean": shifted}
        )
        part = canvas[:, :, top : top + inner[0], left : left + inner[1]]
        crop_resize_normalize(image, [box], size=(inner[0], inner[1]), out=part, **how)
        if dtype == "float32":
            np.testing.assert_allclose(ours[n], canvas[0], rtol=0, atol=1e-6)
        else:
            step = 1 if dtype == "int8" else 2e-3
            assert np.abs(ours[n].astype(float) - canvas[0].astype(float)).max() <= step
        np.testing.assert_array_equal(
            ours[n][:, top : top + inner[0], left : left + inner[1]], part[0]
        )


def test_letterbox_agrees_with_the_reference_and_with_pillow(level: str) -> None:
    image = every_half()
    boxes = [[0, 0, 129, 257], [3, 5, 90, 20]]
    how: dict[str, Any] = {"size": (70, 64), "fit": "letterbox", "color_in": "rgb"}
    ours = crop_resize_normalize(image, boxes, **how)
    np.testing.assert_allclose(
        ours, reference.crop_resize_normalize(image, boxes, **how), atol=1e-3, rtol=0
    )
    wide = Image.fromarray(image).crop((3, 5, 90, 20)).resize((64, 11), Image.Resampling.BILINEAR)
    canvas = Image.new("RGB", (64, 70), (114, 114, 114))
    canvas.paste(wide, (0, 29))
    assert np.abs(ours[1].transpose(1, 2, 0) - np.asarray(canvas, float)).max() <= 1.001


def test_letterbox_transform_maps_the_corners_of_a_box() -> None:
    boxes = np.array([[0, 0, 129, 257], [3, 5, 90, 20], [-9, 2, 30, 41.4]])
    for align in ("center", "top_left"):
        found = letterbox_transform(boxes, image_size=(257, 129), size=(70, 64), align=align)
        for (sx, sy, tx, ty), box in zip(found, boxes, strict=True):
            x0, y0, x1, y1 = np.clip(np.rint(box), 0, [129, 257, 129, 257])
            left, right = x0 * sx + tx, x1 * sx + tx
            top, bottom = y0 * sy + ty, y1 * sy + ty
            edges = np.array([left, right, top, bottom])
            np.testing.assert_allclose(edges, np.rint(edges), atol=1e-9)
            assert (bottom - top == pytest.approx(70)) or (right - left == pytest.approx(64))
            assert left == pytest.approx((64 - right + left) // 2 if align == "center" else 0)
            assert top == pytest.approx((70 - bottom + top) // 2 if align == "center" else 0)
    sizes = np.array([[257, 129], [300, 129], [257, 129]])
    each = letterbox_transform(boxes, image_size=sizes, size=(70, 64))
    assert each.shape == (3, 4)
    assert letterbox_transform(np.empty((0, 4)), image_size=(5, 5), size=(2, 2)).shape == (0, 4)


def test_outputs_are_written_where_they_belong_and_nowhere_else(level: str) -> None:
    image = every_half()
    canvas = np.full((2, 3, 40, 50), -7, np.int8)
    how: dict[str, Any] = {"size": (24, 32), "dtype": "int8", "quantization": (2.0, -128)}
    how["fit"] = "letterbox"
    out = canvas[:, :, 10:34, 5:37]
    crop_resize_normalize(image, [[0, 0, 129, 257], [0, 0, 99, 9]], out=out, **how)
    expected = crop_resize_normalize(image, [[0, 0, 129, 257], [0, 0, 99, 9]], **how)
    np.testing.assert_array_equal(out, expected)
    canvas[:, :, 10:34, 5:37] = -7
    assert (canvas == -7).all()


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_no_boxes_in_other_dtypes(dtype: str) -> None:
    how: dict[str, Any] = {"quantization": (1.0, 0)} if dtype == "int8" else {}
    made = crop_resize_normalize(
        planes(4, 4), [], size=(8, 6), color_in="nv12", fit="letterbox", dtype=dtype, **how
    )
    assert made.shape == (0, 3, 8, 6)
    assert made.dtype == dtype


LUMA, CHROMA = planes(4, 6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"fit": "crop"}, UsageError, "fit='crop'"),
        ({"align": "left"}, UsageError, "align='left'"),
        ({"pad_value": np.nan}, UsageError, "pad_value=nan"),
        ({"dtype": "float64"}, UsageError, "dtype='float64'"),
        ({"dtype": "int8"}, UsageError, "without quantization"),
        ({"quantization": (1.0, 0)}, UsageError, "dtype='float32'"),
        ({"dtype": "int8", "quantization": (0.0, 0)}, UsageError, "quantization="),
        ({"dtype": "int8", "quantization": (1e-60, 0)}, UsageError, "quantization="),
        ({"dtype": "int8", "quantization": (np.inf, 0)}, UsageError, "quantization="),
        ({"dtype": "int8", "quantization": (1.0, 128)}, UsageError, "quantization="),
        ({"yuv_matrix": "bt2020"}, UsageError, "yuv_matrix='bt2020'"),
        ({"yuv_range": "jpeg"}, UsageError, "yuv_range='jpeg'"),
        ({"images": (LUMA, CHROMA[:1])}, ShapeError, "image 0 has luma"),
        ({"images": (LUMA.astype("i2"), CHROMA)}, ShapeError, "int16"),
        ({"images": (LUMA[..., None], CHROMA)}, ShapeError, "image 0 has luma"),
        ({"images": np.zeros((7, 6), np.uint8)}, ShapeError, "image 0 is uint8"),
        ({"images": np.zeros((6, 5), np.uint8)}, ShapeError, "even W"),
        ({"images": [(LUMA, CHROMA), np.zeros((0, 4), np.uint8)]}, ShapeError, "image 1"),
        ({"out": np.empty((1, 3, 8, 6), "f2")}, ShapeError, "out is float16"),
    ],
)
def test_wrong_calls_say_what_is_wrong(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    call = {"images": (LUMA, CHROMA), "boxes": [[0, 0, 4, 4]], "size": (8, 6), "color_in": "nv12"}
    call |= arguments
    with pytest.raises(error, match=message):
        crop_resize_normalize(call.pop("images"), call.pop("boxes"), **call)  # type: ignore[arg-type]
