"""crop_resize_normalize against a loop over torch's own antialiased resize, eager and compiled."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from crosscam_kernels import crop_resize_normalize
from gpu_cases.protocol import Case, Side, Sides, assert_close, compiled

SIZE = (256, 128)


def boxes_of_people(count: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    wide = torch.randint(16, max(17, width // 12), (count,), generator=generator)
    tall = (wide * 5 // 2).clamp(max=height - 1)
    x = (torch.rand(count, generator=generator) * (width - wide)).long()
    y = (torch.rand(count, generator=generator) * (height - tall)).long()
    return torch.stack([x, y, x + wide, y + tall], dim=1)


def resized(pixels: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    """One crop (h, w, 3) uint8 as planes (1, 3, *SIZE) of values up to 1."""
    planes = torch.nn.functional.interpolate(
        pixels.permute(2, 0, 1)[None].to(kind),
        SIZE,
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )
    return planes / 255


def crops(count: int, height: int, width: int, device: torch.device, dtype: str) -> Sides:
    torch.manual_seed(0)
    frame = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, device=device)
    boxes = boxes_of_people(count, height, width)

    def ours() -> torch.Tensor:
        found: torch.Tensor = crop_resize_normalize(
            frame, boxes, size=SIZE, color_in="rgb", scale=1 / 255, dtype=dtype
        )
        return found

    def loop(one: Any, kind: torch.dtype = torch.float32) -> torch.Tensor:
        out = [one(frame[y0:y1, x0:x1], kind) for x0, y0, x1, y1 in boxes.tolist()]
        return torch.cat(out).to(kind if kind == torch.float64 else getattr(torch, dtype))

    wanted = loop(resized, torch.float64)
    run: dict[str, Side] = {"crosscam": ours, "torch loop": partial(loop, resized)}
    for name, one in compiled(device, resized, dynamic=True).items():  # crops differ in size
        run[name] = partial(loop, one)

    def check(_name: str, found: Any) -> None:
        assert_close(found, wanted, rtol=0, atol=1 / 255)

    return Sides(run, check)


def cases(device: torch.device, tiny: bool) -> list[Case]:
    """People out of one 1080p frame, as the edge does it."""
    height, width = (64, 96) if tiny else (1080, 1920)
    found = []
    for dtype in ("float32",) if tiny else ("float16", "float32"):
        for count in (3,) if tiny else (64, 8, 256):
            sides = (boxes_of_people(count, height, width)).double()
            seen = int(((sides[:, 2] - sides[:, 0]) * (sides[:, 3] - sides[:, 1])).sum()) * 3
            written = count * 3 * SIZE[0] * SIZE[1] * (2 if dtype == "float16" else 4)
            found.append(
                Case(
                    "crop_resize_normalize",
                    {"N": count, "frame": f"{height}x{width}", "size": f"{SIZE[0]}x{SIZE[1]}"},
                    dtype,
                    partial(crops, count, height, width, device, dtype),
                    bytes_moved=seen + written,
                    flops=0,
                )
            )
    return found
