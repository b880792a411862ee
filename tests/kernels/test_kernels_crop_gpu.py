"""crop_resize_normalize on a CUDA device against the CPU."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from crosscam_kernels import crop_resize_normalize  # noqa: E402

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("color_in", ["bgr", "rgb", "nv12"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_against_the_cpu(fit: Any, color_in: Any, dtype: str) -> None:
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Any:
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)

    images: Any = noise(3, 721, 1281, 3)
    if color_in == "nv12":
        images = (noise(3, 721, 1281), noise(3, 361, 641, 2))
    corner = torch.rand(64, 2, generator=generator) * 600
    sides = torch.rand(64, 2, generator=generator) * 300 + 2
    boxes = torch.cat([corner, corner + sides], 1)
    index = torch.randint(0, 3, (64,), generator=generator)
    how: dict[str, Any] = {"size": (256, 128), "fit": fit, "dtype": dtype, "color_in": color_in}
    if dtype == "int8":
        how["quantization"] = (1.0, -128)
    wanted = crop_resize_normalize(images, boxes, frame_index=index, **how)
    there = tuple(p.cuda() for p in images) if color_in == "nv12" else images.cuda()
    found = crop_resize_normalize(there, boxes, frame_index=index, **how)
    again = crop_resize_normalize(there, boxes.cuda(), frame_index=index.cuda(), **how)
    assert torch.equal(found, again)
    limit = {"float32": 0.01, "float16": 0.26, "int8": 1}[dtype]
    assert (found.cpu().double() - wanted.double()).abs().max() <= limit
