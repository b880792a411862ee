"""Reading pictures whose file name says who was seen where."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from crosscam_deploy.pictures.files import images_below
from crosscam_trainer.data.build import Row
from crosscam_trainer.data.scan import images, relative

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from crosscam_trainer.data.findings import Findings

Match = re.Match[str]


def named_rows(
    paths: Iterable[Path],
    root: Path,
    pattern: re.Pattern[str],
    row: Callable[[Path, Match], Row | None],
    findings: Findings,
    expected: str,
) -> list[Row]:
    """Turn pictures into rows by their names.

    Args:
        paths: Pictures.
        root: Of the set, for messages.
        pattern: Matched against the whole file name.
        row: Makes the row; None for pictures that are left out on purpose.
        findings: Gets the names that do not match.
        expected: An example of a right name, with its meaning.

    Returns:
        Rows in the order of the paths.
    """
    rows, wrong = [], []
    for path in paths:
        match = pattern.fullmatch(path.name)
        if match is None:
            wrong.append(relative(path, root))
            continue
        made = row(path, match)
        if made is not None:
            rows.append(made)
    findings.files(
        "error",
        "wrong-name",
        "with a name of another form",
        wrong,
        expected=expected,
        fix="give the right --kind, or move files that do not belong to the set away",
    )
    return rows


def folder_rows(
    folder: Path,
    root: Path,
    pattern: re.Pattern[str],
    row: Callable[[Path, Match], Row | None],
    findings: Findings,
    expected: str,
    *,
    below: bool = False,
) -> list[Row]:
    """As `named_rows`, for the pictures of a folder; an empty one is an error.

    Args:
        folder: Where.
        root: As in `named_rows`.
        pattern: As in `named_rows`.
        row: As in `named_rows`.
        findings: As in `named_rows`.
        expected: As in `named_rows`.
        below: Also look in the folders inside.
    """
    paths = list((images_below if below else images)(folder))
    if not paths:
        findings.add(
            "error",
            "empty-folder",
            f"{relative(folder, root)} holds no pictures",
            expected=expected,
            fix="unpack the archive again; it may have been cut off",
        )
    return named_rows(paths, root, pattern, row, findings, expected)
