"""Sets with enough people for the batches of every recipe that ships; tiny pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from data_trees import lines, picture, pictures

from crosscam_trainer.data.silhouette import BOX
from crosscam_trainer.recipe import Recipe

PEOPLE = 17  # seen by two cameras: 34 labels inside cameras
_TESTED = 900


def market1501(root: Path) -> Path:
    return _market(root, "{person:04d}_c{camera}s1_000451_00.jpg")


def dukemtmc(root: Path) -> Path:
    return _market(root, "{person:04d}_c{camera}_f0046985.jpg")


def _market(root: Path, name: str) -> Path:
    for person in range(1, PEOPLE + 1):
        for camera in (1, 2):
            pictures(root, "bounding_box_train/" + name.format(person=person, camera=camera))
    pictures(root, "query/" + name.format(person=_TESTED, camera=1))
    pictures(root, "bounding_box_test/" + name.format(person=_TESTED, camera=2))
    return root


def msmt17(root: Path) -> Path:
    people = 32
    rows = [
        f"{person:04d}/{person:04d}_{camera:03d}_{camera:02d}_0303morning_0015_0.jpg {person}"
        for person in range(people)
        for camera in (1, 2)
    ]
    lists = {
        "list_train.txt": rows[2:],
        "list_val.txt": rows[:2],
        "list_query.txt": ["0000/0000_000_02_0303morning_0016_0.jpg 0"],
        "list_gallery.txt": ["0000/0000_001_03_0303morning_0016_1.jpg 0"],
    }
    for name, found in lists.items():
        lines(root / name, *found)
        folder = "train" if name in ("list_train.txt", "list_val.txt") else "test"
        pictures(root / folder, *(row.split()[0] for row in found))
    return root


def ltcc(root: Path) -> Path:
    names = [
        f"train/{person:03d}_{outfit}_c{camera}_000001.png"
        for person in range(1, PEOPLE + 1)
        for outfit, camera in ((1, 1), (2, 2))
    ]
    tested = ["query/900_1_c1_000001.png", "test/900_2_c2_000001.png"]
    pictures(root, *names, *tested)
    return _masked(root, names)


def prcc(root: Path) -> Path:
    names = [
        f"train/{person:03d}/{camera}_cropped_rgb001.jpg"
        for person in range(1, PEOPLE + 1)
        for camera in "ABC"
    ]
    tested = [f"test/{camera}/900/cropped_rgb001.jpg" for camera in "ABC"]
    pictures(root / "rgb", *names, *tested)
    _masked(root / "rgb", names)
    return root


def _masked(root: Path, names: list[str]) -> Path:
    """Clothes from a third of the height on; what names end in does not matter."""
    mask = np.zeros((24, 12), np.uint8)
    mask[8:] = 1
    data = cv2.imencode(".png", mask)[1].tobytes()
    for name in names:
        path = (root / "masks" / name).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def simulated(root: Path) -> Path:
    """Two days, in other clothes on the second, each before both cameras."""
    days = [{"day": day, "caption": f"a {top}", "clothes": {"top": top}}
            for day, top in ((1, "jacket"), (2, "coat"))]  # fmt: skip
    people = [{"id": person, "days": days} for person in (*range(1, PEOPLE + 1), _TESTED)]
    lines(root / "people.json", json.dumps({"people": people}))
    lines(root / "site.yaml", "cameras:", "- id: hall", "- id: door")
    for person in range(1, PEOPLE + 1):
        for camera in (1, 2):
            for day in (1, 2):
                name = f"{person:04d}_c{camera}s{day}_000001_00.jpg"
                pictures(root, f"crops/bounding_box_train/{name}")
    pictures(root, f"crops/query/{_TESTED:04d}_c1s1_000001_00.jpg")
    pictures(root, f"crops/bounding_box_test/{_TESTED:04d}_c2s2_000001_00.jpg")
    return root


def own_site(root: Path) -> Path:
    for person in range(24):
        for camera in ("hall", "door"):
            for view in range(4):
                picture(root / f"{person:02d}" / f"{camera}_{view}.png")
    return root


def overrides(recipe: Recipe, root: Path) -> list[str]:
    """Write a set of the recipe's kind unless it is there; return where the recipe finds it."""
    kind = recipe.data.kind
    if not root.exists():
        WRITERS[kind](root)
    if kind is None:
        return [f"data.path={root}", "data.pattern={person}/{camera}_{view}.png"]
    masks = root / "rgb/masks" if kind == "prcc" else root / "masks"
    of_files = recipe.data.masks not in (None, BOX)
    return [f"data.path={root}", *([f"data.masks={masks}"] * of_files)]


WRITERS: dict[str | None, Callable[[Path], Path]] = {
    None: own_site,
    "market1501": market1501,
    "dukemtmc": dukemtmc,
    "msmt17": msmt17,
    "ltcc": ltcc,
    "prcc": prcc,
    "simulated": simulated,
}
