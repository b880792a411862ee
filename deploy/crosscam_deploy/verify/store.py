"""Reports kept beside the bundles that they are about: ``<bundle>.verify.json``.

Not in the bundle's folder, which holds only files whose hashes its manifest lists. A report belongs
to a bundle by its model id, so one of other weights that once had this name is never shown.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from crosscam_deploy.log import get_logger
from crosscam_deploy.paths import cache_dir, packaged_dir
from crosscam_deploy.verify.types import Report
from crosscam_kernels.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from crosscam_deploy.bundle import Bundle

SUFFIX = ".verify.json"
_MOST_BYTES = 4 << 20

_log = get_logger("verify")


def save_report(report: Report, bundle: Bundle) -> Path:
    """Keep a report for a bundle; replaces an older one.

    It goes beside the bundle's folder, or into the cache where that cannot be written or is
    crosscam's own. Where the bundles lay is left out: the file may travel with the bundle.

    Args:
        report: With at least one row of the bundle.
        bundle: What it is about.

    Returns:
        The file.

    Raises:
        RunError: Neither place can be written.
    """
    rows = tuple(
        row.model_copy(
            update={
                "candidate": row.candidate.model_copy(
                    update={"bundle": Path(row.candidate.bundle.name)}
                )
            }
        )
        for row in report.rows
    )
    text = report.model_copy(update={"rows": rows}).model_dump_json(indent=1) + "\n"
    problem: OSError | None = None
    for place in _places(bundle):
        try:
            _write(place, text)
        except OSError as error:
            problem = error
        else:
            return place
    assert problem is not None
    raise RunError(
        f"the report of {bundle.manifest.name} cannot be kept ({problem.strerror or problem})",
        expected="a cache that can be written",
        fix="set CROSSCAM_CACHE to a folder of your own, or give --no-save",
    )


def load_report(bundle: Bundle) -> Report | None:
    """Return the report kept for a bundle; None when there is none of exactly this model."""
    for place in _places(bundle):
        report = _read(place)
        if report is None:
            continue
        if any(row.model_id == bundle.model_id for row in report.rows):
            return report
        _log.warning("report of another model left aside", file=str(place))
    return None


def _places(bundle: Bundle) -> Iterator[Path]:
    if not bundle.path.is_relative_to(packaged_dir()):
        yield bundle.path.parent / f"{bundle.path.name}{SUFFIX}"
    yield cache_dir() / "verified" / f"{bundle.model_id}{SUFFIX}"


def _write(place: Path, text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    descriptor, staging = tempfile.mkstemp(dir=place.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(staging, 0o644)  # as other files: mkstemp makes them for nobody else
        os.replace(staging, place)
    except BaseException:
        os.unlink(staging)
        raise


def _read(place: Path) -> Report | None:
    try:
        if place.stat().st_size > _MOST_BYTES:
            _log.warning("report too large, left aside", file=str(place))
            return None
        return Report.model_validate_json(place.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        _log.warning(
            "report cannot be read", file=str(place), reason=str(error).splitlines()[0][:200]
        )
        return None


def save_for_all(report: Report, bundles: Iterable[Bundle]) -> list[Path]:
    """Keep a report for each of some bundles that it has rows of."""
    known = {row.model_id for row in report.rows}
    return [save_report(report, bundle) for bundle in bundles if bundle.model_id in known]
