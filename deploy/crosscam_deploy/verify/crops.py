"""Crops of people in a folder, and who they show as far as their names tell."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Literal

import numpy as np

from crosscam_deploy.pictures import pattern as patterns
from crosscam_deploy.pictures.files import images_below
from crosscam_deploy.verify.data import Crop, CropSet
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from crosscam_deploy.pictures.pattern import PathPattern

    Role = Literal["query", "gallery", "both"]

GENERIC = "{person}/{camera}_{view}.{ext}"
MARKET_NAMES = ("{person}_c{camera:digits}s{_}.{ext}", "{person}_c{camera:digits}_{_}.{ext}")
"""Names as in Market-1501, and as in DukeMTMC-reID and CUHK03-NP."""
_SIDES: tuple[tuple[str, Role], ...] = (
    ("query", "query"),
    ("bounding_box_test", "gallery"),
    ("gallery", "gallery"),
)
_ROLE_OF_SPLIT: dict[str, Role] = {
    "query": "query",
    "probe": "query",
    "gallery": "gallery",
    "test": "gallery",
    "bounding_box_test": "gallery",
}
_JUNK = "-1"


def read_crops(
    folder: Path, *, pattern: str | None = None, limit: int = 2000, seed: int = 0
) -> CropSet:
    """Find the crops of a set, and their labels where the names have any.

    Without a pattern, folders ``query`` and ``bounding_box_test`` (or ``gallery``) with names as in
    Market-1501 are a set with queries and a gallery; files that all have such names, or names like
    ``<person>/<camera>_<view>.png``, are labelled crops, each of which is searched for in all
    others; anything else has no labels.

    Args:
        folder: Of the set.
        pattern: How its files are named (`pattern.parse`); with a field ``{split}``, pictures to
            train on are left out.
        limit: Most crops; of a larger set whole people are drawn, or pictures where nobody is
            labelled. 0 for all.
        seed: Of that draw.

    Raises:
        InputError: It is no folder, holds no pictures, or files do not follow the pattern.
        UsageError: The pattern cannot be parsed.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {what}", expected="a folder with crops of people")
    if pattern is not None:
        crops = _by_pattern(folder, patterns.parse(pattern))
    else:
        crops = _by_looking(folder)
    if not crops:
        raise InputError(f"{folder} holds no pictures", expected="crops of people")
    return CropSet("/".join(folder.resolve().parts[-2:]), _drawn(crops, limit, seed))


def _by_pattern(folder: Path, pattern: PathPattern) -> list[Crop]:
    crops, wrong = [], []
    for path in images_below(folder):
        name = path.relative_to(folder).as_posix()
        fields = pattern.match(name)
        if fields is None:
            wrong.append(name)
            continue
        split = fields.get("split", "").lower()
        if split.endswith("train") or split == "training":
            continue
        crops.append(
            Crop(path, fields["person"], fields.get("camera"), _ROLE_OF_SPLIT.get(split, "both"))
        )
    if wrong:
        raise InputError(
            f"{len(wrong)} pictures of {folder} do not follow the pattern, such as {wrong[0]}",
            expected=pattern.text,
            fix="correct --pattern, or move other pictures away",
        )
    return crops


def _by_looking(folder: Path) -> list[Crop]:
    sides = [(folder / name, role) for name, role in _SIDES if (folder / name).is_dir()]
    if {role for _, role in sides} == {"query", "gallery"}:
        found = [_named(side, list(images_below(side)), MARKET_NAMES, role) for side, role in sides]
        if all(each is not None for each in found):
            return [crop for each in found for crop in each or ()]
    paths = list(images_below(folder))
    for names in (MARKET_NAMES, (GENERIC,)):
        crops = _named(folder, paths, names, "both")
        if crops is not None:
            return crops
    return [Crop(path) for path in paths]


def _named(
    folder: Path, paths: Sequence[Path], names: Sequence[str], role: Role
) -> list[Crop] | None:
    """Read labels by the first form that fits all names; None when none does."""
    for name in names:
        pattern = patterns.parse(name)
        fields = [pattern.match(path.relative_to(folder).as_posix()) for path in paths]
        if fields and all(fields):
            return [
                Crop(path, each["person"], each["camera"], role)
                for path, each in zip(paths, fields, strict=True)
                if each is not None and each["person"] != _JUNK
            ]
    return None


def _drawn(crops: Sequence[Crop], limit: int, seed: int) -> tuple[Crop, ...]:
    if limit <= 0 or len(crops) <= limit:
        return tuple(crops)
    rng = np.random.default_rng(seed)
    groups: dict[str, list[int]] = defaultdict(list)
    for k, crop in enumerate(crops):
        groups[crop.person if crop.person is not None else str(k)].append(k)
    chosen: list[int] = []
    names = list(groups)
    for name in rng.permutation(len(names)):
        group = groups[names[int(name)]]
        if len(chosen) + len(group) <= limit or not chosen:
            chosen += group
    return tuple(crops[k] for k in sorted(chosen))
