"""A tiny set of pictures with boxes, and a tiny network, for the tests of the detector."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from crosscam_trainer.detection.recipe import DetectorRecipe

if TYPE_CHECKING:
    from pathlib import Path

WIDTH, HEIGHT = 160, 96


def write_set(folder: Path, pictures: int = 6, cameras: int = 3) -> dict[str, Any]:
    """Write a set: "people" are upright bright boxes on dark noise."""
    rng = np.random.default_rng(0)
    (folder / "frames").mkdir(parents=True)
    images, annotations = [], []
    for k in range(pictures):
        picture = rng.integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        name = f"frames/{k}.png"
        image = {"id": k + 1, "file_name": name, "width": WIDTH, "height": HEIGHT}
        images.append({**image, "camera": f"c{k % cameras}"})
        for x in (12 + 4 * k, 90 + 3 * k):
            y, w, h = 20 + k, 18, 48
            picture[y : y + h, x : x + w] = (40, 180, 240)
            row = {"id": len(annotations) + 1, "image_id": k + 1, "category_id": 1}
            annotations.append({**row, "bbox": [x, y, w, h], "ignore": 0, "visible": 1.0})
        cv2.imwrite(str(folder / name), picture)
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}],
    }
    write_document(folder, document)
    return document


def write_document(folder: Path, document: Any) -> None:
    """Write `annotations.json`."""
    (folder / "annotations.json").write_text(json.dumps(document))


def tiny_recipe(folder: Path, **changes: Any) -> DetectorRecipe:
    """Return a recipe of a run of seconds."""
    values: dict[str, Any] = {
        "name": "tiny",
        "data": {"path": str(folder), "test_share": 0.34},
        "network": {"channels": (4, 8, 8, 8, 8), "blocks": (0, 1, 0, 0), "neck": 8},
        "augmentation": {"size": (64, 96)},
        "optimiser": {"steps": 4, "batch": 2, "warmup": 1},
        "evaluation": {"longest": 160, "every": 2},
        "published": (96, 160),
        "loop": {"device": "cpu", "workers": 0},
        "licence": "Apache-2.0",
    }
    return DetectorRecipe.model_validate({**values, **changes})
