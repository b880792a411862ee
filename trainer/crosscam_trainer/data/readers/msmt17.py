"""MSMT17 (Wei et al., CVPR 2018), versions 1 and 2 (the same pictures with blurred faces)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from crosscam_trainer.data.build import Row, Rows
from crosscam_trainer.data.scan import missing

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_trainer.data.findings import Findings

NAMES = ("MSMT17", "MSMT17_V1", "MSMT17_V2", "msmt17")
LISTS = {
    "train": ("list_train.txt", "list_val.txt"),
    "query": ("list_query.txt",),
    "gallery": ("list_gallery.txt",),
}
_FOLDERS = (("train", "test"), ("mask_train_v2", "mask_test_v2"))
_NAME = re.compile(r"\d+_\d+_(?P<camera>\d+)_.+")
_EXPECTED = "0000/0000_000_01_0303morning_0015_0.jpg 0 (path, blank, person)"


def read(root: Path, findings: Findings) -> Rows:
    """Read the four lists; training is train and val together, as every paper does."""
    rows = Rows()
    if missing(root, tuple(name for names in LISTS.values() for name in names), findings):
        return rows
    folders = next(
        (pair for pair in _FOLDERS if all((root / name).is_dir() for name in pair)), None
    )
    if folders is None:
        findings.add(
            "error",
            "missing-folder",
            f"the folders of pictures are not in {root}",
            expected="train and test (V1), or mask_train_v2 and mask_test_v2 (V2)",
            fix="unpack the whole archive",
        )
        return rows
    for split, names in LISTS.items():
        folder = root / folders[0 if split == "train" else 1]
        for name in names:
            rows.add(split, _listed(root / name, folder, findings))
    return rows


def _listed(file: Path, folder: Path, findings: Findings) -> list[Row]:
    rows: list[Row] = []
    malformed: list[str] = []
    lost: list[str] = []
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        name, _, person = line.strip().rpartition(" ")
        match = _NAME.fullmatch(name.rsplit("/", 1)[-1])
        if match is None or not (person.isascii() and person.isdigit()):
            malformed.append(f"{file.name}:{number}")
            continue
        path = folder / name.strip()
        if not path.is_file():
            lost.append(f"{folder.name}/{name}")
            continue
        # Numbers start at 0 in both halves, for different people.
        prefix = "train" if "train" in folder.name else "test"
        rows.append(Row(path, f"{prefix}-{int(person):04d}", f"c{int(match['camera'])}"))
    findings.files(
        "error", "bad-line", "cannot be read", malformed, expected=_EXPECTED, noun="line"
    )
    findings.files(
        "error",
        "missing-image",
        f"listed in {file.name} but not there",
        lost,
        expected=f"every listed picture under {folder.name}/",
        fix="unpack the whole archive",
    )
    return rows
