"""Keeping the scores of a run beside its results."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from crosscam_edge.report import write_report
from crosscam_edge.sinks.atomic import write_text
from crosscam_kernels.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_edge.evaluate.mot import TrackScores
    from crosscam_edge.evaluate.mtmc import MtmcScores


def save_scores(out: Path, scores: TrackScores | MtmcScores) -> None:
    """Write `eval.json` into a run's folder and the scores into its report.

    Args:
        out: Folder that `crosscam process` wrote.
        scores: Its scores.

    Raises:
        UsageError: `out` is not such a folder.
    """
    if not (out / "run.json").is_file():
        raise UsageError(
            f"scores cannot be saved in {out}", expected="a folder that `crosscam process` wrote"
        )
    write_text(out / "eval.json", json.dumps(scores.json(), indent=1, allow_nan=False) + "\n")
    if (out / "identities.json").is_file():
        write_report(out)
