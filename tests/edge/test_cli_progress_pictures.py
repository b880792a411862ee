"""What is shown while videos are drawn and pictures of people are taken."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

from rich.console import Console

from crosscam_edge.cli.progress import PlainProgress, RichProgress

if TYPE_CHECKING:
    import pytest


def test_a_bar_for_the_drawing_and_one_for_the_crops() -> None:
    console = Console(file=StringIO(), force_terminal=True, width=120, record=True)
    with RichProgress(console) as progress:
        progress.start([("door", 10)])
        progress.frames("door", 10, resumed=False)
        progress.stage("drawing videos")
        progress.pictures(7, 10)
        progress.stage("taking pictures of everybody")
        progress.pictures(1, 0)
        progress.pictures(2, 0)
    lines = console.export_text().splitlines()
    for name, state in (("drawing videos", "7/10"), ("taking pictures", "2/?")):
        assert any(line.startswith(name) and state in line for line in lines), name


def test_lines_for_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    often, rare = PlainProgress(every_s=0.0), PlainProgress(every_s=60)
    for progress in (often, rare):
        progress.start([("door", 10)])
        progress.stage("drawing videos")
        progress.pictures(3, 10)
        progress.pictures(4, 0)
    assert capsys.readouterr().err.splitlines() == [
        "drawing videos …",
        "drawing videos: 3/10 frames",
        "drawing videos: 4 frames",
    ]
