"""`crosscam-nightly` on real recordings: what is done, what is left alone, how it stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crosscam_edge.simulate import SiteConfig, simulate

SCRIPT = Path(__file__).parents[2] / "packaging" / "bin" / "crosscam-nightly"
SITE = """\
detector: motion
embedder: colour
outputs: {video: false, report: false, crops: false}
cameras: [{id: lobby}, {id: yard}]
"""


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    """Folders as the service has them, and this environment's `crosscam` as the installed one."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "crosscam"
    command.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'from crosscam_edge.cli import main; main()' \"$@\"\n"
    )
    command.chmod(0o755)
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "shop.yaml").write_text(SITE)
    return {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "CROSSCAM_RECORDINGS": str(tmp_path / "recordings"),
        "CROSSCAM_RESULTS": str(tmp_path / "results"),
        "CROSSCAM_SITES": str(tmp_path / "sites"),
        "CROSSCAM_CACHE": str(tmp_path / "cache"),
        "CROSSCAM_MODELS": "",
    }


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    config = SiteConfig(people=2, cameras=2, seconds=2.0, width=160, height=120)
    site = simulate(config, tmp_path_factory.mktemp("site"))
    return sorted((site.days[0] / "videos").iterdir())


def _record(place: dict[str, str], day: str, videos: list[Path]) -> Path:
    folder = Path(place["CROSSCAM_RECORDINGS"], "shop", day)
    folder.mkdir(parents=True)
    for name, video in zip(("lobby", "yard"), videos, strict=True):
        (folder / f"{name}{video.suffix}").symlink_to(video)
    return Path(place["CROSSCAM_RESULTS"], "shop", day, "run.json")


def _run(place: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPT), *args], env=place, capture_output=True, text=True, check=False, timeout=200
    )


def test_days_that_are_over_are_processed_once(place: dict[str, str], videos: list[Path]) -> None:
    done = _record(place, "2026-05-01", videos)
    broken = _record(place, "2026-05-02", videos)
    today = _record(place, time.strftime("%Y-%m-%d"), videos)
    for name in ("lobby", "yard"):
        video = next(broken.parents[3].glob(f"recordings/shop/2026-05-02/{name}.*"))
        video.unlink()
        video.write_bytes(b"no video")

    first = _run(place, "shop")
    run = json.loads(done.read_text())
    assert run["status"] == "complete"
    assert [camera["id"] for camera in run["config"]["cameras"]] == ["lobby", "yard"]
    assert run["config"]["detector"] == "motion"  # from the site file
    assert not today.exists()
    # the day that cannot be processed is told of, and did not stop the one before
    assert first.returncode == 3, first.stderr
    assert "2026-05-02: exit status 3" in first.stderr

    written = done.stat().st_mtime_ns
    _run(place, "shop")
    assert done.stat().st_mtime_ns == written


@pytest.mark.slow
def test_sigterm_ends_cleanly_and_the_next_night_goes_on(
    place: dict[str, str], videos: list[Path]
) -> None:
    done = _record(place, "2026-05-01", videos)
    later = _record(place, "2026-05-02", videos)
    with subprocess.Popen([str(SCRIPT), "shop"], env=place) as running:
        deadline = time.monotonic() + 100
        while not done.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        running.send_signal(signal.SIGTERM)  # to the shell alone, as PID 1 gets it
        assert running.wait(timeout=100) == 130
    assert json.loads(done.read_text())["status"] in ("interrupted", "complete")
    assert not later.exists()
    assert _run(place, "shop").returncode == 0
    assert json.loads(done.read_text())["status"] == "complete"
    assert json.loads(later.read_text())["status"] == "complete"


@pytest.mark.parametrize("site", ["", "../etc", "a/b", ".hidden"])
def test_names_that_lead_elsewhere_are_refused(place: dict[str, str], site: str) -> None:
    refused = _run(place, site)
    assert refused.returncode == 2
    assert "expected" in refused.stderr


def test_a_site_without_recordings_is_bad_input(place: dict[str, str]) -> None:
    missing = _run(place, "shop")
    assert missing.returncode == 3
    assert "recordings/shop" in missing.stderr
