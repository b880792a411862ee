"""Videos and crops at the end of a run: stopped at once, missed clearly, made when repeated."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import pytest

from crosscam_edge import cli

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-c", "from crosscam_edge.cli import main; main()", "process"]
MODELS = ["--detector", "motion", "--embedder", "colour"]


def _run(*args: object) -> subprocess.CompletedProcess[str]:
    """Run the command in this process: starting another costs seconds of imports."""
    words = ["process", *map(str, args)]
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as left:
        cli.main(words)
    code = int(left.value.code or 0)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def clip(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds of a real camera."""
    path = tmp_path_factory.mktemp("clip") / "plaza.mp4"
    with (
        av.open(str(assets / "videos" / "vtest.avi")) as source,
        av.open(str(path), "w") as container,
    ):
        stream = container.add_stream("libx264", rate=10, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 768, 576, "yuv420p"
        for i, frame in enumerate(source.decode(video=0)):
            if i >= 80:
                break
            picture = av.VideoFrame.from_ndarray(frame.to_ndarray(format="bgr24"), format="bgr24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def _crops(out: Path) -> dict[str, np.ndarray]:
    files = sorted((out / "crops").rglob("*.jpg"))
    return {str(p.relative_to(out)): cv2.imread(str(p)).astype(int) for p in files}


def test_a_report_without_videos_has_the_same_pictures(clip: Path, tmp_path: Path) -> None:
    plain, drawn, lean = (tmp_path / name for name in ("plain", "drawn", "lean"))
    assert _run(clip, "-o", plain, *MODELS, "--no-video").returncode == 0
    assert _run(clip, "-o", drawn, *MODELS).returncode == 0
    assert not (plain / "video").exists()
    crops, same = _crops(plain), _crops(drawn)
    assert crops.keys() == same.keys()
    assert len(crops) > 10
    for name, picture in crops.items():
        assert picture.shape == same[name].shape
        assert np.abs(picture - same[name]).mean() < 1, name
    count = (plain / "report.html").read_text().count("data:image/jpeg")
    assert count == (drawn / "report.html").read_text().count("data:image/jpeg") > 5
    # and a report needs them even where they are not to stay
    assert _run(clip, "-o", lean, *MODELS, "--no-video", "--no-crops").returncode == 0
    assert not (lean / "crops").exists()
    assert (lean / "report.html").read_text().count("data:image/jpeg") == count


def _tables(out: Path) -> dict[str, bytes]:
    names = ("mtmc.txt", "tracks.jsonl", "identities.json", "tracks.parquet")
    return {name: (out / name).read_bytes() for name in names}


def test_ctrl_c_while_drawing_ends_at_once_and_the_same_command_draws(
    clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    args = [str(clip), "-o", str(out), *MODELS, "--no-cache"]
    with subprocess.Popen(
        [*COMMAND, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        end = time.monotonic() + 90
        while not list(out.glob("video/.*.part.mp4")):
            assert process.poll() is None, "it was over before it could be disturbed"
            assert time.monotonic() < end
            time.sleep(0.005)
        tables = _tables(out)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "videos and pictures of people are missing: the same command makes them" in stdout
    assert list((out / "video").iterdir()) == []
    assert _tables(out) == tables
    run = json.loads((out / "run.json").read_text())
    assert (run["status"], run["missing"]) == ("complete", ["video", "crops"])
    assert "interrupted: videos" in (out / "report.html").read_text()

    done = _run(*args)
    assert done.returncode == 0, done.stderr
    assert _tables(out) == tables
    run = json.loads((out / "run.json").read_text())
    assert (run["status"], run["missing"], run["warnings"]) == ("complete", [], [])
    assert [p.name for p in (out / "video").iterdir()] == ["plaza.mp4"]
    with av.open(str(out / "video" / "plaza.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 80
    assert _crops(out)
    assert not (out / "cache").exists()


def test_a_repeated_run_makes_what_was_not_asked_for_before(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert _run(clip, "-o", out, *MODELS, "--no-video", "--no-report", "--no-crops").returncode == 0
    assert not (out / "crops").exists()
    assert _run(clip, "-o", out, *MODELS).returncode == 0
    video = out / "video" / "plaza.mp4"
    made = video.stat().st_mtime_ns
    assert _run(clip, "-o", out, *MODELS).returncode == 0
    assert video.stat().st_mtime_ns == made
    video.unlink()
    assert _run(clip, "-o", out, *MODELS).returncode == 0
    assert video.is_file()


def test_what_could_not_be_made_is_told(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert _run(clip, "-o", out, *MODELS, "--no-video").returncode == 0
    (out / "video").write_text("a file where the folder should be")
    failed = _run(clip, "-o", out, *MODELS, "--json")
    assert failed.returncode == 4
    summary = json.loads(failed.stdout)
    assert summary["missing"] == ["video"]
    assert any("videos could not be drawn" in w for w in summary["warnings"])
    assert summary["report"]
