"""crop_resize_normalize on tensors: the same answers, and a well-behaved custom op."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from crosscam_kernels import crop_resize_normalize  # noqa: E402
from crosscam_kernels.errors import InputError, ShapeError, UsageError  # noqa: E402

BOXES = np.array([[0, 0, 41, 30], [3.4, 5, 20, 29], [-4, 10, 60, 12]], np.float32)
INDEX = np.array([1, 0, 1])


def batch(seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (2, 31, 41, 3), dtype=torch.uint8, generator=generator)


def nv12(seed: int = 0) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(seed)
    luma = torch.randint(0, 256, (2, 31, 41), dtype=torch.uint8, generator=generator)
    return luma, torch.randint(0, 256, (2, 16, 21, 2), dtype=torch.uint8, generator=generator)


HOW: list[dict[str, Any]] = [
    {},
    {"fit": "letterbox", "align": "top_left", "dtype": "float16", "scale": 1 / 255},
    {"fit": "letterbox", "dtype": "int8", "quantization": (2.0, -100), "color_out": "bgr"},
]


@pytest.mark.parametrize("how", HOW)
def test_tensors_give_what_arrays_give(how: dict[str, Any]) -> None:
    images, (luma, chroma) = batch(), nv12()
    boxes, index = torch.from_numpy(BOXES), torch.from_numpy(INDEX)
    ours = crop_resize_normalize(images, boxes, frame_index=index, size=(19, 23), **how)
    expected = crop_resize_normalize(
        list(images.numpy()), BOXES, frame_index=INDEX, size=(19, 23), **how
    )
    np.testing.assert_array_equal(ours.numpy(), expected)
    ours = crop_resize_normalize(
        (luma, chroma), BOXES.tolist(), frame_index=INDEX, size=(19, 23), color_in="nv12", **how
    )
    expected = crop_resize_normalize(
        list(zip(luma.numpy(), chroma.numpy(), strict=True)),
        BOXES,
        frame_index=INDEX,
        size=(19, 23),
        color_in="nv12",
        **how,
    )
    np.testing.assert_array_equal(ours.numpy(), expected)


def test_layouts_of_tensors() -> None:
    image = batch()[0]
    expected = crop_resize_normalize(image.numpy(), BOXES, size=(9, 8))
    planar = image.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    wide = torch.zeros((31, 64, 3), dtype=torch.uint8)
    wide[:, :41] = image
    for tensor in (image, image[None], planar, wide[:, :41]):
        for boxes in (BOXES, torch.from_numpy(BOXES), torch.from_numpy(BOXES).bfloat16().float()):
            got = crop_resize_normalize(tensor, boxes, size=(9, 8))
            np.testing.assert_allclose(got.numpy(), expected, atol=1e-3, rtol=0)
    luma, chroma = nv12()
    single = crop_resize_normalize((luma[1], chroma[1]), BOXES, size=(9, 8), color_in="nv12")
    both = crop_resize_normalize(
        (luma, chroma), BOXES, frame_index=[1, 1, 1], size=(9, 8), color_in="nv12"
    )
    assert torch.equal(single, both)
    none = crop_resize_normalize(image, torch.empty((0, 4)), size=(9, 8), dtype="float16")
    assert none.shape == (0, 3, 9, 8)
    assert none.dtype == torch.float16


def test_opcheck() -> None:
    images, (luma, chroma) = batch(), nv12()
    for planes, uv in ((images, None), (luma, chroma)):
        arguments = (
            planes,
            uv,
            torch.from_numpy(BOXES),
            torch.from_numpy(INDEX),
            [9, 7],
            [2, 1, 0],
            [1.0, 1.0, 1.0],
            [0.0, 0.0, 0.0],
            "center",
            114.0,
            "int8",
            2.0,
            -100,
            [16, 1 << 20, 0, 0, 0, 0],
            0,
        )
        torch.library.opcheck(torch.ops.crosscam.crop_resize_normalize.default, arguments)


def test_compiles_without_a_graph_break() -> None:
    def step(images: Any, boxes: Any, index: Any) -> Any:
        crops = crop_resize_normalize(
            images, boxes, frame_index=index, size=(12, 10), scale=1 / 255, fit="letterbox"
        )
        return crops.mean(dim=(2, 3))

    arguments = (batch(), torch.from_numpy(BOXES), torch.from_numpy(INDEX))
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*arguments), step(*arguments))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"images": [batch()[0], batch()[1]]}, ShapeError, "a list of 2"),
        ({"images": batch().float()}, ShapeError, "torch.float32"),
        ({"images": batch()[..., :2]}, ShapeError, "images are torch.uint8"),
        ({"images": batch()[..., 0], "color_in": "nv12"}, ShapeError, "a pair of tensors"),
        ({"images": (nv12()[0], nv12()[1][:1]), "color_in": "nv12"}, ShapeError, "luma is"),
        ({"out": np.empty((1, 3, 4, 4), np.float32)}, UsageError, "out is given for tensors"),
        ({"boxes": torch.tensor([[5, 5, 5, 6]])}, InputError, "box 0"),
        ({"frame_index": torch.tensor([2])}, InputError, "frame_index holds"),
    ],
)
def test_wrong_calls(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    call: dict[str, Any] = {
        "images": batch(),
        "boxes": torch.tensor([[0, 0, 4, 4]]),
        "frame_index": torch.tensor([0]),
        "size": (4, 4),
        **arguments,
    }
    with pytest.raises(error, match=message):
        crop_resize_normalize(call.pop("images"), call.pop("boxes"), **call)
