"""The pictures of a data set: do they decode, do masks fit, is one there twice?"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Literal

from crosscam_trainer.data.images import Picture, read_pictures, same_bytes, spread
from crosscam_trainer.data.scan import relative

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from crosscam_trainer.data.findings import Findings
    from crosscam_trainer.data.types import ReIDData, Sample

Pictures = Literal["none", "sample", "all"]
SAMPLE = 500


def check_pictures(
    data: ReIDData,
    findings: Findings,
    which: Pictures,
    progress: Callable[[int, int], None] | None = None,
) -> list[Picture]:
    """Check the files behind the samples.

    Args:
        data: Whose.
        findings: Gets what is wrong: files that cannot be used, masks that do not fit, and, when
            all are read, the same bytes under several names.
        which: Decode none, `SAMPLE` of them, or all.
        progress: Called with pictures read and pictures to read.

    Returns:
        What was read.
    """
    by_path: dict[Path, list[tuple[str, Sample]]] = defaultdict(list)
    for split, samples in data.splits().items():
        for sample in samples:
            by_path[sample.path].append((split, sample))
    _check_listed_twice(by_path, data.root, findings)
    paths = list(by_path)
    if which == "none" or not paths:
        return []
    read_files = read_pictures(paths if which == "all" else spread(paths, SAMPLE), progress)
    findings.files(
        "error",
        "unreadable",
        "cannot be used",
        [f"{relative(p.path, data.root)} {p.problem}" for p in read_files if p.problem],
        expected="pictures that decode",
        fix="copy or download them again",
    )
    _check_masks(read_files, by_path, data.root, findings)
    if which == "all":
        _check_copies(same_bytes(read_files), by_path, data.root, findings)
    return read_files


def _check_listed_twice(
    by_path: dict[Path, list[tuple[str, Sample]]], root: Path, findings: Findings
) -> None:
    """A picture may be query and gallery of one split, with the same labels, and nothing else."""
    twice = []
    for path, uses in by_path.items():
        splits = sorted(split for split, _ in uses)
        pair = splits in (["gallery", "query"], ["val_gallery", "val_query"])
        if len(uses) > 1 and not (pair and uses[0][1] == uses[1][1]):
            twice.append(f"{relative(path, root)} ({', '.join(splits)})")
    findings.files(
        "error",
        "listed-twice",
        "listed in several places",
        twice,
        expected="each picture in one split, or in query and gallery with the same labels",
    )


def _check_masks(
    read_files: list[Picture],
    by_path: dict[Path, list[tuple[str, Sample]]],
    root: Path,
    findings: Findings,
) -> None:
    masks: dict[Path, Picture] = {}
    for picture in read_files:
        mask = by_path[picture.path][0][1].mask
        if mask is not None and not picture.problem:
            masks[mask] = picture
    wrong = []
    for read_mask in read_pictures(list(masks)):
        picture = masks[read_mask.path]
        problem = read_mask.problem
        if not problem and (read_mask.width, read_mask.height) != (picture.width, picture.height):
            problem = (
                f"has {read_mask.width}x{read_mask.height} pixels, "
                f"its picture {picture.width}x{picture.height}"
            )
        if problem:
            wrong.append(f"{relative(read_mask.path, root)} {problem}")
    findings.files(
        "error",
        "bad-mask",
        "unfit for use",
        wrong,
        expected="a PNG of the picture's size",
        noun="mask",
    )


def _check_copies(
    groups: list[list[Path]],
    by_path: dict[Path, list[tuple[str, Sample]]],
    root: Path,
    findings: Findings,
) -> None:
    """The same bytes under two names: a wrong label if people differ, a leak if halves do."""
    people, leaks, copies = [], [], []
    for group in groups:
        uses = [use for path in group for use in by_path[path]]
        shown = " = ".join(relative(path, root) for path in group[:2])
        halves = {"train" if split == "train" else "test" for split, _ in uses}
        if len(halves) > 1:
            leaks.append(shown)
        elif len({sample.person for _, sample in uses}) > 1:
            people.append(shown)
        else:
            copies.append(shown)
    findings.files(
        "error",
        "same-picture-two-people",
        "of the same picture under different people",
        people,
        expected="one person a picture",
        fix="look at them and delete the wrong one",
        noun="group",
    )
    findings.files(
        "error",
        "leak",
        "of the same picture in training and test",
        leaks,
        expected="test pictures that were never trained on",
        fix="delete those in the training half",
        noun="group",
    )
    findings.files("note", "copies", "of the same picture of the same person", copies, noun="group")
