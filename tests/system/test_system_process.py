"""`crosscam process` as users and accidents meet it: real processes, real signals, real files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from crosscam_edge import cli
from crosscam_edge.config import load_config
from crosscam_edge.offline import SilentProgress, process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COMMAND = [sys.executable, "-c", "from crosscam_edge.cli import main; main()", "process"]
FAST = ["--detector", "motion", "--embedder", "colour", "--no-video", "--no-report", "--no-crops"]
SITE = "checkpoint_seconds: 0.05\n"


def _walkers(path: Path, frames: int, *, seed: int, size: tuple[int, int] = (320, 240)) -> Path:
    """A fixed camera with people (upright two-coloured shapes) who walk through it."""
    rng = np.random.default_rng(seed)
    width, height = size
    ground = rng.integers(80, 120, (height, width, 3)).astype(np.uint8)
    people = [
        (rng.integers(0, 256, 3).tolist(), rng.integers(0, 256, 3).tolist(), 30 + 45 * k, 70 * k)
        for k in range(3)
    ]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 2_000_000
        for i in range(frames):
            image = ground.copy()
            for shirt, trousers, y, late in people:
                x = (4 * i - late) % (width + 120) - 40
                if i > 15:
                    cv2.rectangle(image, (x, y), (x + 26, y + 45), shirt, -1)
                    cv2.rectangle(image, (x + 2, y + 45), (x + 24, y + 90), trousers, -1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    return [_walkers(folder / f"cam{k}.avi", 300, seed=k) for k in (1, 2)]


@pytest.fixture
def site(tmp_path: Path) -> list[str]:
    file = tmp_path / "site.yaml"
    file.write_text(SITE)
    return ["--config", str(file)]


def _run(*args: object) -> subprocess.CompletedProcess[str]:
    """Run the command in this process: starting another costs seconds of imports."""
    words = ["process", *map(str, args)]
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as left:
        cli.main(words)
    code = int(left.value.code or 0)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def _results(out: Path) -> dict[str, bytes]:
    names = ["mtmc.txt", "tracks.jsonl", "identities.json"]
    names += [f"mot/{p.name}" for p in sorted((out / "mot").iterdir())]
    files = {name: (out / name).read_bytes() for name in names}
    for name in ("tracks.parquet", "embeddings.parquet"):
        files[name] = repr(pq.read_table(out / name).to_pydict()).encode()
    return files


def _wait_for_parts(process: subprocess.Popen[bytes], out: Path, parts: int) -> None:
    end = time.monotonic() + 60
    while len(list(out.glob("cache/*/part-*.parquet"))) < parts:
        assert process.poll() is None, "the run ended before it could be disturbed"
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="module")
def undisturbed(videos: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    done = _run(*videos, "-o", out, *FAST, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["status"] == "complete"
    assert summary["frames"] == 600
    assert summary["people"] >= 2
    return out


def test_tables_agree_and_no_id_is_twice_in_a_frame(undisturbed: Path) -> None:
    table = pq.read_table(undisturbed / "tracks.parquet")
    rows = list(
        zip(
            *(table.column(c).to_pylist() for c in ("camera_id", "frame", "global_id")), strict=True
        )
    )
    assert rows
    assert len(set(rows)) == len(rows)
    identities = json.loads((undisturbed / "identities.json").read_text())["identities"]
    assert {i["global_id"] for i in identities} >= {row[2] for row in rows}
    embeddings = pq.read_table(undisturbed / "embeddings.parquet")
    vectors = np.array(embeddings.column("embedding").to_pylist())
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    assert len((undisturbed / "mtmc.txt").read_text().splitlines()) == len(rows)
    run = json.loads((undisturbed / "run.json").read_text())
    assert run["figures"]["stage_seconds"].keys() >= {"decode", "detect", "track", "embed"}
    assert run["models"]["detector"]["name"] == "motion"


def test_two_runs_give_the_same_results(
    videos: list[Path], undisturbed: Path, tmp_path: Path
) -> None:
    assert _run(*videos, "-o", tmp_path, *FAST).returncode == 0
    assert _results(tmp_path) == _results(undisturbed)


def test_kill_9_and_resume_give_the_results_of_an_undisturbed_run(
    videos: list[Path], undisturbed: Path, tmp_path: Path, site: list[str]
) -> None:
    out = tmp_path / "out"
    args = [*map(str, videos), "-o", str(out), *FAST, *site]
    for parts in (2, 6):
        with subprocess.Popen([*COMMAND, *args], stderr=subprocess.DEVNULL) as process:
            _wait_for_parts(process, out, parts)
            process.kill()
        assert not (out / "tracks.parquet").exists()
    done = _run(*args)
    assert done.returncode == 0, done.stderr
    assert _results(out) == _results(undisturbed)
    # and once more: everything is stored, nothing is decoded again
    assert _run(*args).returncode == 0
    assert _results(out) == _results(undisturbed)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_an_interrupted_run_keeps_what_is_done_and_resumes(
    videos: list[Path], undisturbed: Path, tmp_path: Path, site: list[str], number: signal.Signals
) -> None:
    out = tmp_path / "out"
    args = [*map(str, videos), "-o", str(out), *FAST, *site]
    with subprocess.Popen([*COMMAND, *args], stderr=subprocess.PIPE) as process:
        _wait_for_parts(process, out, 4)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    run = json.loads((out / "run.json").read_text())
    assert run["status"] == "interrupted"
    assert 0 < run["figures"]["frames"] < 600
    assert (out / "tracks.parquet").exists()
    done = _run(*args)
    assert done.returncode == 0, done.stderr
    assert _results(out) == _results(undisturbed)


class _Killed(BaseException):
    """Stands for a death of the process: nothing in it may catch that."""


class _Disturbed(SilentProgress):
    """Does something when a stage begins."""

    def __init__(self, stage: str, action: Callable[[], None]) -> None:
        self._stage, self._action = stage, action

    def stage(self, text: str) -> None:
        if text == self._stage:
            self._action()


@pytest.mark.parametrize("how", ["interrupted", "killed"])
@pytest.mark.parametrize("stage", ["associating", "writing", "drawing videos"])
def test_a_run_disturbed_after_the_last_frame_is_completed_by_the_same_command(
    videos: list[Path], undisturbed: Path, tmp_path: Path, stage: str, how: str
) -> None:
    drawn = ["--video"] if stage.startswith("drawing") else []
    clips = videos if not drawn else [_walkers(tmp_path / "short.avi", 40, seed=3)]
    out, stop = tmp_path / "out", threading.Event()
    site = tmp_path / "site.yaml"
    site.write_text(
        "{detector: motion, embedder: colour, "
        f"outputs: {{video: {str(bool(drawn)).lower()}, report: false, crops: false}}}}"
    )

    def kill() -> None:
        raise _Killed

    disturbed = _Disturbed(stage, stop.set if how == "interrupted" else kill)
    try:
        first = process(clips, out, load_config(site), progress=disturbed, stop=stop)
    except _Killed:
        assert how == "killed"
    else:
        # whoever interrupts the drawing gets whole tables already
        assert first.run.status == ("complete" if drawn else "interrupted")
        assert (out / "tracks.parquet").exists()
    done = _run(*clips, "-o", out, *FAST, *drawn)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "run.json").read_text())["status"] == "complete"
    if drawn:
        assert (out / "video" / "short.mp4").exists()
    else:
        assert _results(out) == _results(undisturbed)


def test_other_settings_do_not_mix_with_stored_work(tmp_path: Path) -> None:
    clip = _walkers(tmp_path / "short.avi", 40, seed=3)
    out = tmp_path / "out"
    assert _run(clip, "-o", out, *FAST).returncode == 0
    other = _run(clip, "-o", out, *FAST, "--min-confidence", "0.3")
    assert other.returncode == 2
    assert "min_confidence (was 0.1, now 0.3)" in other.stderr
    assert "--overwrite" in other.stderr
    assert _run(clip, "-o", out, *FAST, "--min-confidence", "0.3", "--overwrite").returncode == 0


def test_results_of_others_are_not_overwritten(tmp_path: Path) -> None:
    clip = _walkers(tmp_path / "short.avi", 10, seed=3)
    (tmp_path / "video").mkdir()
    (tmp_path / "video" / "holiday.mp4").write_text("mine")
    refused = _run(clip, "-o", tmp_path, *FAST)
    assert refused.returncode == 2
    assert "already holds video" in refused.stderr
    assert (tmp_path / "video" / "holiday.mp4").read_text() == "mine"


def test_two_processes_in_one_folder(videos: list[Path], tmp_path: Path, site: list[str]) -> None:
    out = tmp_path / "out"
    args = [*map(str, videos), "-o", str(out), *FAST, *site]
    with subprocess.Popen([*COMMAND, *args], stderr=subprocess.DEVNULL) as first:
        _wait_for_parts(first, out, 1)
        first.send_signal(signal.SIGSTOP)  # it holds the folder however long the second one takes
        second = _run(*args, "--json")
        first.kill()
    assert second.returncode == 4
    error = json.loads(second.stderr.splitlines()[-1])
    assert f"process {first.pid}" in error["found"]
    assert error["fix"]


def test_a_damaged_camera_does_not_stop_the_others(videos: list[Path], tmp_path: Path) -> None:
    cut = tmp_path / "cut.avi"
    cut.write_bytes(videos[0].read_bytes()[: videos[0].stat().st_size // 3])
    done = _run(cut, videos[1], "-o", tmp_path / "out", *FAST, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert any("'cut': the source ends early" in w for w in summary["warnings"])
    assert summary["frames"] > 330


def test_bad_videos_are_all_named_before_any_work(videos: list[Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    out = tmp_path / "out"
    refused = _run(videos[0], empty, tmp_path / "none.mp4", "-o", out, *FAST)
    assert refused.returncode == 3
    for text in ("2 of 3 videos", "empty (0 bytes)", "does not exist", "--keep-going"):
        assert text in refused.stderr
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_disk_is_told_and_finished_work_stays(
    videos: list[Path], undisturbed: Path, tmp_path: Path, site: list[str]
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no permission to mount")
    try:
        full = _run(*videos, "-o", small / "out", *FAST, *site)
        assert full.returncode == 4, full.stderr
        assert "no space left" in full.stderr
        assert "resumes" in full.stderr
        grow = ["mount", "-o", "remount,size=64m", str(small)]
        subprocess.run(grow, capture_output=True, check=True)
        done = _run(*videos, "-o", small / "out", *FAST, *site)
        assert done.returncode == 0, done.stderr
        assert _results(small / "out") == _results(undisturbed)
    finally:
        subprocess.run(["umount", str(small)], check=True)  # fails where a file was left open


def test_unwritable_output(tmp_path: Path) -> None:
    clip = _walkers(tmp_path / "short.avi", 10, seed=3)
    refused = _run(clip, "-o", clip, *FAST)
    assert refused.returncode == 3
    assert "is a file" in refused.stderr
    refused = _run(clip, "-o", clip / "out", *FAST)
    assert refused.returncode == 3
    assert "-o" in refused.stderr


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    peaks = []
    for frames in (600, 6000):
        clip = _walkers(tmp_path / f"{frames}.avi", frames, seed=4)
        out = tmp_path / str(frames)
        # a process of its own: the peak of this one is older than the run
        subprocess.run([*COMMAND, str(clip), "-o", str(out), *FAST], check=True, timeout=600)
        figures = json.loads((out / "run.json").read_text())["figures"]
        assert figures["frames"] == frames
        peaks.append(figures["peak_memory_bytes"])
    assert peaks[1] < 1.15 * peaks[0]


def test_real_footage_end_to_end(assets: Path, tmp_path: Path) -> None:
    """Some seconds of two real cameras with real networks."""
    clips = []
    for name in ("vtest.avi", "people-detection.264"):
        folder = tmp_path / name.split(".")[0]
        folder.mkdir()
        with av.open(str(assets / "videos" / name)) as container:
            for i, frame in enumerate(container.decode(video=0)):
                if i >= 30:
                    break
                cv2.imwrite(str(folder / f"{i}.jpg"), frame.to_ndarray(format="bgr24"))
        clips.append(folder)
    out = tmp_path / "out"
    models = ["--detector", "yolox-nano", "--embedder", "person-reidentification-retail-0287"]
    done = _run(*clips, "-o", out, *models, *FAST[4:], "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["people"] >= 4
    assert summary["frames"] == 60
