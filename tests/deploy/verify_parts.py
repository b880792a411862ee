"""Small models and crops for the tests of `crosscam_deploy.verify`."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from crosscam_deploy.verify import Crop, CropSet, VerifyData


def paint_crops(folder: Path, *, people: int = 4, views: int = 3, cameras: int = 2) -> CropSet:
    """Write `<person>/<camera>_<view>.png`: everybody has a colour above and one below."""
    rng = np.random.default_rng(0)
    crops = []
    for person in range(people):
        colours = rng.integers(0, 256, (2, 1, 1, 3))
        for camera in range(cameras):
            for view in range(views):
                halves = [np.broadcast_to(colour, (20, 16, 3)) for colour in colours]
                picture = np.concatenate(halves) + rng.normal(0, 8, (40, 16, 3)) + 20 * camera
                file = folder / f"{person:03d}" / f"{'ab'[camera]}_{view}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(file), np.clip(picture, 0, 255).astype(np.uint8))
                crops.append(Crop(file, f"{person:03d}", "ab"[camera]))
    return CropSet("painted", tuple(crops))


def painted(folder: Path) -> VerifyData:
    return VerifyData(crops=(paint_crops(folder),))
