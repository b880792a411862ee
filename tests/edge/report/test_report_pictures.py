"""Crops without videos are those with videos; pictures are made when missing, never left stale."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from fake_run import finish_run, painted, painted_run, vtest_run, walkers

from crosscam_edge.report import render_videos, write_report
from crosscam_edge.report.collect import take_crops
from crosscam_edge.report.pictures import make_pictures
from crosscam_edge.sinks.schema import CameraInfo
from crosscam_kernels.errors import InputError


def crops_of(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in (out / "crops").rglob("*.jpg")}


def same_crops(out: Path, cameras: list[CameraInfo]) -> int:
    """Take the crops both ways and compare; returns how many there are."""
    render_videos(out, cameras)
    drawn = crops_of(out)
    seen: list[tuple[int, int]] = []
    assert take_crops(out, cameras, progress=lambda done, total: seen.append((done, total)))
    taken = crops_of(out)
    assert taken.keys() == drawn.keys()
    for name, data in taken.items():
        a, b = (cv2.imdecode(np.frombuffer(d, np.uint8), 1) for d in (data, drawn[name]))
        assert a.shape == b.shape
        assert np.abs(a.astype(int) - b).max() <= 2, name
    assert [done for done, _ in seen] == list(range(1, seen[-1][1] + 1))
    return len(taken)


def test_crops_without_videos_are_those_with_videos(tmp_path: Path) -> None:
    cameras = painted_run(tmp_path / "run")
    assert same_crops(tmp_path / "run", cameras) > 20
    assert write_report(tmp_path / "run").read_text().count("data:image/jpeg") > 10


def test_crops_of_real_footage(assets: Path, tmp_path: Path) -> None:
    cameras = vtest_run(tmp_path / "run", assets, frames=60)
    assert same_crops(tmp_path / "run", cameras) > 20


def test_crops_of_folders_of_pictures(tmp_path: Path) -> None:
    tracks, folder = walkers(3, 24, 1), tmp_path / "pictures"
    folder.mkdir()
    for i, image in enumerate(painted(tracks, 24)):
        cv2.imwrite(str(folder / f"{i}.png"), image)
    (folder / "7.png").write_bytes(b"broken")
    camera = CameraInfo("p", 1, str(folder), 320, 240, 10.0, 24, 0)
    finish_run(tmp_path / "run", [camera], {"p": tracks})
    assert same_crops(tmp_path / "run", [camera]) > 5


def test_crops_when_only_some_frames_were_processed(tmp_path: Path) -> None:
    out = tmp_path / "run"
    cameras = painted_run(out, names=("a",))
    tracks = walkers(5, 40, 1)
    few = CameraInfo("a", 1, cameras[0].video, 320, 240, 10.0, 40, 0, process_fps=2.0)
    finish_run(out, [few], {"a": tracks[tracks.frame % 5 == 0]})
    assert same_crops(out, [few]) > 5


def test_one_lost_recording_does_not_cost_the_others_their_crops(tmp_path: Path) -> None:
    out = tmp_path / "run"
    cameras = painted_run(out, people=2, frames=12)
    Path(cameras[0].video).unlink()
    with pytest.raises(InputError, match=r"source_1\.mp4"):
        take_crops(out, cameras)
    assert {Path(name).name.split("_")[0] for name in crops_of(out)} == {"Hall"}
    made = make_pictures(out, cameras, video=True, crops=True)
    assert made.missing == ["video", "crops"]
    assert len(made.errors) == 2
    assert all("source_1.mp4" in error for error in made.errors)


def test_stopping_leaves_nothing_half_written(tmp_path: Path) -> None:
    out = tmp_path / "run"
    cameras = painted_run(out, people=2, frames=12)
    drawn = 0

    def count(done: int, _total: int) -> None:
        nonlocal drawn
        drawn = done

    made = make_pictures(
        out, cameras, video=True, crops=True, progress=count, stop=lambda: drawn >= 9
    )
    assert (made.missing, made.errors) == (["video", "crops"], [])
    assert drawn == 9
    assert list((out / "video").iterdir()) == []
    assert not take_crops(out, cameras, stop=lambda: True)


def _everything(out: Path) -> dict[str, int]:
    files = [*(out / "video").iterdir(), *(out / "crops").rglob("*.jpg")]
    return {str(p.relative_to(out)): p.stat().st_mtime_ns for p in files}


def test_only_what_is_missing_is_made(tmp_path: Path) -> None:
    out = tmp_path / "run"
    cameras = painted_run(out, people=2, frames=12)
    stages: list[str] = []

    def make(*, video: bool) -> None:
        stages.clear()
        made = make_pictures(out, cameras, video=video, crops=True, stage=stages.append)
        assert (made.missing, made.errors) == ([], [])

    make(video=False)
    assert stages == ["taking pictures of everybody"]
    assert not (out / "video").exists()
    make(video=False)
    assert stages == []
    make(video=True)
    assert stages == ["drawing videos"]
    before = _everything(out)
    make(video=True)
    assert stages == []
    assert _everything(out) == before
    (out / "video" / "mosaic.mp4").unlink()
    make(video=True)
    assert stages == ["drawing videos"]
    with av.open(str(out / "video" / "mosaic.mp4")) as container:
        assert container.streams.video[0].frames > 0


def test_pictures_of_other_tables_go_first(tmp_path: Path) -> None:
    out = tmp_path / "run"
    cameras = painted_run(out, people=3, frames=12)
    make_pictures(out, cameras, video=True, crops=True)
    (out / "video" / ".Hall.0a1b2c3d.part.mp4").write_bytes(b"of a process that was killed")
    (out / "video" / "mine.txt").write_text("keep")
    other = {c.camera_id: walkers(1, 12, 9) for c in cameras}
    finish_run(out, cameras, other)
    made = make_pictures(out, cameras, video=True, crops=True, stop=lambda: True)
    assert made.missing == ["video", "crops"]
    assert [p.name for p in (out / "video").iterdir()] == ["mine.txt"]
    assert not (out / "crops").exists()
    make_pictures(out, cameras, video=False, crops=True)
    assert [p.name for p in (out / "crops").iterdir()] == ["1"]
