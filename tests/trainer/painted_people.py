"""Painted people: a lasting head over changing clothes, before cameras with colours of their own.

They are told apart within seconds of training on a CPU, so that methods can be compared in a test.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from crosscam_trainer.recipe import Recipe

PATTERN = "{person}/{camera}_{clothes}_{view}.png"
HEIGHT, WIDTH = 32, 16
_HEAD, _WAIST = 10, 21  # rows


def paint(
    root: Path,
    *,
    people: int = 48,
    cameras: int = 4,
    outfits: int = 1,
    views: int = 4,
    cast: float = 60.0,
    noise: float = 18.0,
    seed: int = 0,
) -> Path:
    """Write a set for `PATTERN`, with masks of clothes in ``<root>-masks``.

    Args:
        root: Folder.
        people: Everybody is seen by each camera in each outfit.
        cameras: How many.
        outfits: Of each person.
        views: Pictures of each person, camera and outfit.
        cast: Standard deviation of what a camera adds to each colour, grey levels.
        noise: Standard deviation of each pixel, grey levels.
        seed: Of everything.
    """
    rng = np.random.default_rng(seed)
    heads = rng.uniform(40, 215, (people, 3))
    clothes = rng.uniform(40, 215, (people, outfits, 2, 3))
    casts = rng.normal(0, cast, (cameras, 3))
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[_HEAD:] = 1
    for person in range(people):
        for camera in range(cameras):
            for outfit in range(outfits):
                for view in range(views):
                    picture = np.empty((HEIGHT, WIDTH, 3))
                    picture[:_HEAD] = heads[person]
                    picture[_HEAD:_WAIST] = clothes[person, outfit, 0]
                    picture[_WAIST:] = clothes[person, outfit, 1]
                    picture += casts[camera] + rng.normal(0, noise, picture.shape)
                    place = f"{person:03d}/{camera}_{outfit}_{view}.png"
                    _write(root / place, np.clip(picture, 0, 255).astype(np.uint8))
                    _write(root.with_name(f"{root.name}-masks") / place, mask)
    return root


def _write(path: Path, image: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())


def recipe(root: Path, labels: str, method: dict[str, Any], seed: int = 0) -> Recipe:
    """Return a recipe for a set: half of the people are trained on."""
    return Recipe.model_validate(
        {
            "name": "painted",
            "data": {
                "path": root,
                "pattern": PATTERN,
                "labels": labels,
                "masks": root.with_name(f"{root.name}-masks"),
            },
            "model": {"tower": "test-tiny", "size": (HEIGHT, WIDTH)},
            "augmentation": {"pad": 0, "erase": 0.0},
            "batch": {"people": 12, "pictures": 4, "iterations": 10},
            "method": method,
            "loop": {"device": "cpu", "workers": 0, "checkpoint_minutes": 60},
            "evaluation": {"every": 100, "split": "test", "probes": True},
            "seeds": [seed],
        }
    )
