"""CUHK03 (Li et al., CVPR 2014) in the new protocol of Zhong et al. (CVPR 2017), 767 / 700 people.

The set comes as one MATLAB file. Two ways of unpacking it are common and both are read: pictures
``<pair>_<person>_<view>_<number>.png`` beside the protocol's own ``.mat`` files, and CUHK03-NP, the
same pictures in the layout of Market-1501. Boxes are drawn by hand ("labeled") or by a detector
("detected").
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from crosscam_trainer.data.build import Row, Rows
from crosscam_trainer.data.readers.market import FOLDERS, read_short
from crosscam_trainer.data.scan import missing

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_trainer.data.findings import Findings

NAMES = ("cuhk03", "cuhk03-np", "CUHK03", "CUHK03-NP")
DETECTED = ("detected/bounding_box_train|cuhk03_new_protocol_config_detected.mat",)
LABELED = ("labeled/bounding_box_train|cuhk03_new_protocol_config_labeled.mat",)
Boxes = Literal["detected", "labeled"]
_NAME = re.compile(r"(?P<pair>[1-5])_(?P<person>\d+)_(?P<view>[12])_(?P<index>\d+)\.png")
_SPLITS = {"train": "train_idx", "query": "query_idx", "gallery": "gallery_idx"}


def read(boxes: Boxes, root: Path, findings: Findings) -> Rows:
    """Read one kind of boxes; the view (1 or 2) of a pair is the camera."""
    if (root / boxes / FOLDERS["train"]).is_dir():
        return read_short(root / boxes, findings)
    config = f"cuhk03_new_protocol_config_{boxes}.mat"
    if missing(root, (config,), findings):
        return Rows()
    folder = root / f"images_{boxes}"
    if not folder.is_dir():
        packed = any((root / place / "cuhk-03.mat").is_file() for place in (".", "cuhk03_release"))
        findings.add(
            "error",
            "missing-folder",
            f"{folder.name} is not in {root}" + (", only cuhk-03.mat" if packed else ""),
            expected=f"{folder.name}/1_001_1_01.png (pair, person, view, number)",
            fix="unpack cuhk-03.mat as docs/reference/datasets.md shows",
        )
        return Rows()
    return _listed(root / config, folder, findings)


read_detected = partial(read, "detected")
read_labeled = partial(read, "labeled")


def _listed(config: Path, folder: Path, findings: Findings) -> Rows:
    rows = Rows()
    try:
        table = _protocol(config)
    # What scipy raises depends on where a file stops to make sense; its own error is no ValueError.
    except Exception as error:
        findings.add(
            "error",
            "bad-file",
            f"{config.name} cannot be read ({str(error)[:120]})",
            expected="the MATLAB file of the new protocol with filelist, labels, train_idx, …",
            fix="take it from github.com/zhunzhong07/person-re-ranking",
        )
        return rows
    wrong: list[str] = []
    lost: list[str] = []
    for split, indices in table["splits"].items():
        for index in indices:
            name = table["names"][index]
            match = _NAME.fullmatch(name)
            if match is None:
                wrong.append(name)
            elif not (folder / name).is_file():
                lost.append(f"{folder.name}/{name}")
            else:
                person = f"{table['labels'][index]:04d}"
                rows[split].append(Row(folder / name, person, f"c{match['view']}"))
    findings.files(
        "error",
        "wrong-name",
        f"listed in {config.name} with a name of another form",
        wrong,
        expected="1_001_1_01.png (pair, person, view, number)",
    )
    findings.files(
        "error",
        "missing-image",
        f"listed in {config.name} but not there",
        lost,
        expected=f"every listed picture in {folder.name}/",
        fix="unpack cuhk-03.mat again",
    )
    return rows


def _protocol(config: Path) -> dict[str, Any]:
    """Read names, person labels and the indices (from 0) of each split."""
    from scipy.io import loadmat

    mat = loadmat(str(config))
    names = [str(cell[0]) for cell in mat["filelist"].ravel()]
    labels = [int(label) for label in mat["labels"].ravel()]
    splits = {
        split: [int(index) - 1 for index in mat[key].ravel()] for split, key in _SPLITS.items()
    }
    if len(names) != len(labels):
        raise ValueError(f"{len(names)} names and {len(labels)} labels")
    low = min(min(indices, default=0) for indices in splits.values())
    high = max(max(indices, default=0) for indices in splits.values())
    if low < 0 or high >= len(names):
        raise ValueError(f"indices from {low + 1} to {high + 1} for {len(names)} names")
    return {"names": names, "labels": labels, "splits": splits}
