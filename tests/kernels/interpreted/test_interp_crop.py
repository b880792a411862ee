"""The Triton kernel of crop_resize_normalize, run by Triton's interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from crosscam_kernels import _crop_args as args
from crosscam_kernels.gpu import crop as gpu
from crosscam_kernels.gpu.crop import launch_crop
from crosscam_kernels.reference import crop as reference

GAIN, BIAS = (0.5, 1.0, 2.0), (0.0, -3.0, 7.0)
BOXES = np.array([[0, 0, 37, 29], [10, 5, 30, 28], [36, 28, 37, 29], [7, 0, 8, 27]])
INDEX = np.array([0, 1, 1, 0])


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles so small that small images take several tiles and several steps."""
    monkeypatch.setattr(gpu, "TILE", 16)
    monkeypatch.setattr(gpu, "STEP", 16)


def launch(images: Any, chroma: Any, size: tuple[int, int], **how: Any) -> np.ndarray:
    shapes = [tuple(images.shape[1:3])] * len(images)
    whole = args.checked_boxes(BOXES, INDEX, shapes)
    align = how.pop("align", None)
    places = np.tile([0, 0, *size], (len(whole), 1))
    if align:
        places = args.letterbox_places(whole, size, align)
    table = torch.from_numpy(np.concatenate([whole, places], axis=1)).int()
    defaults: dict[str, Any] = {
        "swap": False,
        "gain": GAIN,
        "bias": BIAS,
        "pad_value": 114.0,
        "dtype": torch.float32,
        "quantization": (1.0, 0),
        "yuv": args.yuv_factors("bt601", "limited"),
    }
    return launch_crop(images, chroma, table, size=size, **(defaults | how)).numpy()


def expected(images: Any, size: tuple[int, int], **how: Any) -> np.ndarray:
    planes = reference.crop_resize_normalize(
        images, BOXES, frame_index=INDEX, size=size, color_in="rgb", **how
    )
    return planes * np.reshape(GAIN, (3, 1, 1)) + np.reshape(BIAS, (3, 1, 1))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 29, 37, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("size", [(1, 1), (7, 20), (33, 17), (50, 10)])
def test_rgb_against_the_specification(images: torch.Tensor, size: tuple[int, int]) -> None:
    ours = launch(images, None, size)
    np.testing.assert_allclose(ours, expected(list(images.numpy()), size), atol=0.01, rtol=0)


def test_two_runs_and_swapped_channels_have_the_same_bits(images: torch.Tensor) -> None:
    ours = launch(images, None, (20, 17))
    swapped = launch(images, None, (20, 17), swap=True, gain=GAIN[::-1], bias=BIAS[::-1])
    np.testing.assert_array_equal(swapped[:, ::-1], ours)
    np.testing.assert_array_equal(launch(images, None, (20, 17)), ours)


@pytest.mark.parametrize("align", ["center", "top_left"])
def test_letterbox(images: torch.Tensor, align: Any) -> None:
    how: dict[str, Any] = {"fit": "letterbox", "align": align}
    wanted = expected(list(images.numpy()), (23, 35), **how)
    np.testing.assert_allclose(
        launch(images, None, (23, 35), align=align), wanted, atol=0.01, rtol=0
    )


def test_a_strided_batch(images: torch.Tensor) -> None:
    wide = torch.full((2, 29, 56, 3), 99, dtype=torch.uint8)
    wide[:, :, 5:42] = images
    view = wide[:, :, 5:42]
    np.testing.assert_array_equal(launch(view, None, (12, 20)), launch(images, None, (12, 20)))
    planar = images.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    np.testing.assert_array_equal(launch(planar, None, (12, 20)), launch(images, None, (12, 20)))


@pytest.mark.parametrize(("matrix", "levels"), [("bt601", "limited"), ("bt709", "full")])
def test_nv12(matrix: Any, levels: Any) -> None:
    generator = torch.Generator().manual_seed(1)
    luma = torch.randint(0, 256, (2, 29, 37), dtype=torch.uint8, generator=generator)
    chroma = torch.randint(0, 256, (2, 15, 19, 2), dtype=torch.uint8, generator=generator)
    rgb = [
        reference.nv12_to_rgb(y.numpy(), c.numpy(), matrix, levels)
        for y, c in zip(luma, chroma, strict=True)
    ]
    ours = launch(luma, chroma, (25, 17), yuv=args.yuv_factors(matrix, levels))
    np.testing.assert_allclose(ours, expected(rgb, (25, 17)), atol=0.01, rtol=0)


def test_half_and_int8_round_the_float(images: torch.Tensor) -> None:
    exact = launch(images, None, (17, 9), align="center")
    half = launch(images, None, (17, 9), align="center", dtype=torch.float16)
    np.testing.assert_array_equal(half, exact.astype(np.float16))
    codes = launch(images, None, (17, 9), align="center", dtype=torch.int8, quantization=(3.0, -90))
    np.testing.assert_array_equal(codes, reference.quantise(exact, 3.0, -90))


def test_int8_ties_go_to_even(images: torch.Tensor) -> None:
    """The first box is its whole image, as large as the output: its values are whole numbers."""
    exact = launch(images, None, (29, 37))
    assert (exact[0] / 2 % 1 == 0.5).any()
    codes = launch(images, None, (29, 37), dtype=torch.int8, quantization=(2.0, 0))
    np.testing.assert_array_equal(codes, reference.quantise(exact, 2.0, 0))
