"""Tiny data sets with the folders and names of the real ones; every picture is different."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

_SERIAL = count(1)


def picture(path: Path, *, width: int = 12, height: int = 24) -> Path:
    """Write a small picture that no other picture equals."""
    serial = next(_SERIAL)
    image = np.random.default_rng(serial).integers(0, 256, (height, width, 3), dtype=np.uint8)
    done, data = cv2.imencode(path.suffix, image)
    assert done
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes())
    return path


def pictures(root: Path, *names: str) -> None:
    for name in names:
        picture(root / name)


def lines(path: Path, *text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in text))


def market(root: Path) -> Path:
    """People 2, 7 train (cameras 1, 2, 10); 1, 3 tested; a distractor and a junk picture."""
    pictures(
        root,
        "bounding_box_train/0002_c1s1_000451_03.jpg",
        "bounding_box_train/0002_c2s1_000500_01.jpg",
        "bounding_box_train/0007_c1s2_000001_00.jpg",
        "bounding_box_train/0007_c10s2_000002_00.jpg",
        "query/0001_c1s1_000100_00.jpg",
        "query/0003_c2s1_000100_00.jpg",
        "bounding_box_test/0001_c2s1_000200_01.jpg",
        "bounding_box_test/0003_c2s1_000200_01.jpg",
        "bounding_box_test/0000_c1s1_000300_01.jpg",
        "bounding_box_test/-1_c1s1_000400_01.jpg",
    )
    (root / "bounding_box_test/Thumbs.db").write_bytes(b"left by Windows")
    return root


def duke(root: Path) -> Path:
    pictures(
        root,
        "bounding_box_train/0005_c2_f0046985.jpg",
        "bounding_box_train/0005_c8_f0000001.jpg",
        "query/0033_c1_f0057706.jpg",
        "bounding_box_test/0033_c2_f0057706.jpg",
        "bounding_box_test/7139_c3_f0057706.jpg",
    )
    return root


def msmt17(root: Path, folders: tuple[str, str] = ("train", "test")) -> Path:
    train, test = folders
    files = {
        ("list_train.txt", train): ["0000/0000_000_01_0303morning_0015_0.jpg 0"],
        ("list_val.txt", train): [
            "0000/0000_001_15_0303morning_0020_0.jpg 0",
            "0001/0001_000_02_0303noon_0001_1.jpg 1",
        ],
        ("list_query.txt", test): ["0000/0000_000_02_0303morning_0016_0_ex.jpg 0"],
        ("list_gallery.txt", test): ["0000/0000_001_03_0303morning_0016_1.jpg 0"],
    }
    for (name, folder), rows in files.items():
        lines(root / name, *rows)
        pictures(root / folder, *(row.split()[0] for row in rows))
    return root


_CUHK03 = {
    "train": [("1_001_1_01.png", 1), ("1_001_2_06.png", 1), ("1_002_1_01.png", 2)],
    "query": [("2_001_1_01.png", 700)],
    "gallery": [("2_001_2_06.png", 700), ("5_003_2_07.png", 1467)],
}


def cuhk03(root: Path, boxes: str = "detected") -> Path:
    everything = [entry for part in _CUHK03.values() for entry in part]
    names = np.empty((len(everything), 1), object)
    for k, (name, _) in enumerate(everything):
        names[k, 0] = name
    table = {"filelist": names, "labels": np.array([[label] for _, label in everything])}
    start = 1  # indices of MATLAB
    for split, part in _CUHK03.items():
        table[f"{split}_idx"] = np.arange(start, start + len(part))[:, None]
        start += len(part)
    root.mkdir(parents=True, exist_ok=True)
    savemat(root / f"cuhk03_new_protocol_config_{boxes}.mat", table)
    pictures(root / f"images_{boxes}", *(name for name, _ in everything))
    return root


def cuhk03_np(root: Path, boxes: str = "labeled") -> Path:
    pictures(
        root / boxes,
        "bounding_box_train/0003_c1_21.png",
        "bounding_box_train/0003_c2_22.png",
        "query/0001_c1_1.png",
        "bounding_box_test/0001_c2_2.png",
    )
    return root


def prcc(root: Path) -> Path:
    rgb = root / "rgb"
    pictures(
        rgb,
        "train/001/A_cropped_rgb001.jpg",
        "train/001/B_cropped_rgb002.jpg",
        "train/001/C_cropped_rgb003.jpg",
        "train/005/A_cropped_rgb001.jpg",
        "val/001/A_cropped_rgb099.jpg",
        "test/A/002/cropped_rgb001.jpg",
        "test/A/003/cropped_rgb001.jpg",
        "test/B/002/cropped_rgb001.jpg",
        "test/C/002/cropped_rgb001.jpg",
        "test/C/003/cropped_rgb001.jpg",
    )
    return root


def ltcc(root: Path) -> Path:
    pictures(
        root,
        "train/002_1_c9_015833.png",
        "train/002_2_c9_015834.png",
        "train/002_1_c10_015835.png",
        "train/010_1_c9_000001.png",
        "query/094_1_c9_015833.png",
        "test/094_1_c4_015833.png",
        "test/094_2_c5_015833.png",
        "test/095_1_c5_015833.png",
    )
    return root


def vc_clothes(root: Path) -> Path:
    pictures(
        root,
        "train/0001-01-01-01.jpg",
        "train/0001-02-01-05.jpg",
        "train/0002-01-01-01.jpg",
        "query/0003-03-02-01.jpg",
        "query/0003-01-02-01.jpg",
        "gallery/0003-04-03-02.jpg",
        "gallery/0003-02-02-02.jpg",
    )
    return root


def celeb(root: Path) -> Path:
    pictures(
        root,
        "train/1_1_0.jpg",
        "train/1_2_0.jpg",
        "train/2_1_0.jpg",
        "query/1_1_0.jpg",
        "gallery/1_2_0.jpg",
        "gallery/3_1_0.jpg",
    )
    return root


def deepchange(root: Path) -> Path:
    rows = {
        "train-set": ["P1_C1_T1_000.jpg,1", "P1_C2_T1_001.jpg,2", "P1_C2_T2_001.jpg,3"],
        "val-set-query": ["P7_C1_T1_000.jpg,4"],
        "val-set-gallery": ["P7_C1_T1_001.jpg,5"],
        "test-set-query": ["P9_C1_T1_000.jpg,6"],
        "test-set-gallery": ["P9_C1_T1_001.jpg,6", "P9_C1_T2_002.jpg,7"],
    }
    for folder, listed in rows.items():
        lines(root / f"{folder}-bbox.txt", *listed)
        pictures(root / folder, *(line.split(",")[0] for line in listed))
    return root


def last(root: Path) -> Path:
    pictures(
        root,
        "train/000001/000001_0001_0.jpg",
        "train/000001/000001_0002_1.jpg",
        "train/000002/000002_0001_0.jpg",
        "val/query/000001_0001_0.jpg",
        "val/gallery/000001/000001_0002_0.jpg",
        "test/query/000001_0001_0.jpg",
        "test/gallery/000001/000001_0002_0.jpg",
        "test/gallery/000009/000009_0002_0.jpg",
    )
    return root


def ccvid(root: Path) -> Path:
    rows = {
        "train.txt": ["session1/001_01 001 u0_l0", "session3/001_02\t001\tu1_l0"],
        "query.txt": ["session1/076_01 076 u0_l0"],
        "gallery.txt": ["session2/076_03 076 u0_l0", "session3/076_01 076 u2_l1"],
    }
    for name, listed in rows.items():
        lines(root / name, *listed)
        for line in listed:
            pictures(root / line.split()[0], "00001.jpg", "00002.jpg")
    return root


def site(
    root: Path, labels: str = "intra-camera", rows: list[dict[str, object]] | None = None
) -> Path:
    lines(
        root / "dataset.json",
        json.dumps({"schema_version": 1, "name": "shop", "labels": labels}),
    )
    rows = rows or [
        {"file": "crops/Hall/2/1.jpg", "camera": "Hall", "person": "2", "true_person": "Ann"},
        {"file": "crops/Hall/10/1.jpg", "camera": "Hall", "person": "10", "quality": 0.5},
        {"file": "crops/Hall/10/2.jpg", "camera": "Hall", "person": "10", "frame": 3},
        {"file": "crops/Door/2/1.jpg", "camera": "Door", "person": "2", "tracklet": "7"},
        {"file": "crops/Door/3/1.jpg", "camera": "Door", "person": "3", "true_person": "Ann"},
    ]
    lines(root / "crops.jsonl", *(json.dumps(row) for row in rows))
    pictures(root, *(str(row["file"]) for row in rows))
    return root


def simulated(root: Path) -> Path:
    """Two days: person 1 in other clothes on day 2, person 2 in uniform, the same on both."""
    jacket, coat, uniform = ({"top": name} for name in ("jacket", "coat", "uniform"))
    worn = {1: (jacket, coat), 2: (uniform, uniform)}
    people = [
        {
            "id": person,
            "days": [
                {"day": day, "caption": f"somebody in a {clothes['top']}", "clothes": clothes}
                for day, clothes in enumerate(days, 1)
            ],
        }
        for person, days in worn.items()
    ]
    lines(root / "people.json", json.dumps({"people": people}))
    lines(root / "day1/site.yaml", "cameras:", "- id: lobby", "- id: shop")
    pictures(
        root / "crops",
        "bounding_box_train/0001_c1s1_000451_00.jpg",
        "bounding_box_train/0001_c2s2_000451_00.jpg",
        "query/0002_c1s1_000001_00.jpg",
        "query/0002_c1s2_000001_00.jpg",
        "bounding_box_test/0002_c2s2_000451_00.jpg",
    )
    return root


def generic(root: Path, people: int = 6, cameras: str = "ab", views: int = 4) -> Path:
    for person in range(people):
        for camera in cameras:
            for view in range(views):
                picture(root / f"{person:03d}" / f"{camera}_{view}.png")
    return root
