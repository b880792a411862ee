"""Association while cameras are still being worked on: early, cheap, and never in the way."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import threading
import time
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from structlog.testing import capture_logs

from crosscam_edge.associate import AssociationConfig, associate
from crosscam_edge.cli.progress import PlainProgress, RichProgress, people_so_far
from crosscam_edge.config import SiteConfig
from crosscam_edge.config.models import OutputConfig
from crosscam_edge.offline import ProcessOptions, SilentProgress, process
from crosscam_edge.offline import provisional as module
from crosscam_edge.offline.people import joined_tracklets
from crosscam_edge.offline.provisional import ProvisionalAssociation
from crosscam_edge.timers import StageTimers
from crosscam_edge.track.runner import CameraTracking
from crosscam_edge.track.summary import TrackSummary
from crosscam_edge.types import Tracklet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

DIM = 16
SECOND = 1_000_000_000
CAMERAS = ("door", "hall")
TABLES = ("mtmc.txt", "tracks.jsonl", "tracks.parquet", "embeddings.parquet", "identities.json")


class _Recorder(SilentProgress):
    """Remembers what was told, and how far the frames were then.

    A camera that gets to `hold_at` waits there for the first word of people: a busy machine may
    run any thread late.
    """

    def __init__(self, hold_at: int | None = None) -> None:
        self._hold_at = hold_at
        self._first = threading.Event()
        self.done: dict[str, int] = {}
        self.told: list[tuple[int, int, int]] = []

    def frames(self, camera_id: str, done: int, *, resumed: bool) -> None:
        self.done[camera_id] = done
        if done == self._hold_at:
            self._first.wait(timeout=30)

    def people(self, count: int, shared: int) -> None:
        self.told.append((count, shared, sum(self.done.values())))
        self._first.set()


def _person(camera: str, number: int, *, dim: int = DIM) -> tuple[Tracklet, TrackSummary]:
    """Somebody who crosses a camera for two seconds; the same number looks the same everywhere."""
    rng = np.random.default_rng(number)
    start = number * 4 + CAMERAS.index(camera) * 1000
    looks = rng.normal(size=dim) + 0.05 * rng.normal(size=(4, dim))
    looks = (looks / np.linalg.norm(looks, axis=1, keepdims=True)).astype(np.float32)
    boxes = np.array([[10, 10, 30, 60], [300, 10, 320, 60]], np.float32)
    times = np.linspace(start, start + 2, 21)
    summary = TrackSummary(start * 10, start * SECOND)
    for i, seconds in enumerate(times.tolist()):
        box = boxes[0] + (boxes[1] - boxes[0]) * np.float32(i / 20)
        summary.add(start * 10 + i, round(seconds * SECOND), box, 0.9)
    tracklet = Tracklet(
        camera,
        number,
        start * SECOND,
        (start + 2) * SECOND,
        start * 10,
        start * 10 + 20,
        21,
        boxes[0],
        boxes[1],
        (640, 480),
        looks,
        (times[::6] * SECOND).astype(np.int64),
        np.full(4, 0.8, np.float32),
    )
    return tracklet, summary


class _Site:
    """A provisional association with two cameras, fed by hand."""

    def __init__(self, *, most: int = 4096) -> None:
        self.progress = _Recorder()
        self.timers = StageTimers()
        self.provisional = ProvisionalAssociation(
            CAMERAS,
            dim=DIM,
            model_id="m",
            config=AssociationConfig(),
            progress=self.progress,
            timers=self.timers,
            most=most,
        )
        self.tracking = {name: CameraTracking(name, (640, 480), 10.0) for name in CAMERAS}
        self._add = {
            name: self.provisional.receiver(name, tracking.judge)
            for name, tracking in self.tracking.items()
        }
        self.given: dict[str, list[tuple[Tracklet, TrackSummary]]] = {name: [] for name in CAMERAS}

    def give(self, camera: str, number: int, *, dim: int = DIM) -> None:
        person = _person(camera, number, dim=dim)
        self.given[camera].append(person)
        self._add[camera](*person)

    def final(self) -> list[Tracklet]:
        """The tracklets as the end of a run makes them, of objects of their own."""
        out = []
        for name, tracking in self.tracking.items():
            people = [_person(name, t.track_id) for t, _ in self.given[name]]
            verdict = tracking.judge(
                {t.track_id: t for t, _ in people}, {t.track_id: s for t, s in people}
            )
            out += joined_tracklets(verdict, DIM)
        return out


def _wait(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_people_are_told_before_the_end_and_an_equal_end_is_not_solved_again() -> None:
    site = _Site()
    for number in range(1, 5):
        for camera in CAMERAS:
            site.give(camera, number)
    _wait(lambda: bool(site.progress.told))
    site.provisional.close()
    tracklets = site.final()
    solved = associate(tracklets, model_id="m", config=AssociationConfig())
    people = {a.global_id for a in solved.assignments}
    assert site.progress.told[0][0] == len(people)
    assert site.progress.told[0][1] == 8 - len(people)  # each seen once in each camera
    assert site.provisional.figures.solves == 1
    assert site.timers.seconds()["provisional"] > 0
    kept = site.provisional.reuse(tracklets, AssociationConfig())
    assert kept is not None
    assert repr(kept.assignments) == repr(solved.assignments)
    assert kept.transits == solved.transits
    assert kept.calibration.threshold == solved.calibration.threshold


@pytest.mark.parametrize("difference", ["one more", "one less", "looks", "end", "order", "config"])
def test_whatever_differs_is_solved_anew(difference: str) -> None:
    site = _Site()
    for number in range(1, 5):
        for camera in CAMERAS:
            site.give(camera, number)
    _wait(lambda: site.provisional.figures.solves > 0)
    site.provisional.close()
    tracklets, config = site.final(), AssociationConfig()
    if difference == "one more":
        tracklets.append(_person("hall", 9)[0])
    elif difference == "one less":
        tracklets.pop()
    elif difference == "looks":
        tracklets[3].embeddings[0, 0] += np.float32(1e-7)
    elif difference == "end":
        tracklets[3].end_ns += 1
    elif difference == "order":
        tracklets.reverse()
    else:
        config = AssociationConfig(clocks_agree=False)
    assert site.provisional.reuse(tracklets, config) is None


def test_it_rests_twenty_times_as_long_as_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    spans: list[tuple[float, float]] = []

    def slow(*args: object, **named: object) -> object:
        began = time.monotonic()
        time.sleep(0.03)
        out = associate(*args, **named)  # type: ignore[arg-type]
        spans.append((began, time.monotonic()))
        return out

    monkeypatch.setattr(module, "associate", slow)
    site = _Site()
    for number in range(1, 200):  # always enough for another solve
        for camera in CAMERAS:
            site.give(camera, number)
        time.sleep(0.01)
    site.provisional.close()
    assert len(spans) >= 2
    for (began, ended), (again, _) in itertools.pairwise(spans):
        assert again - ended >= 20 * (ended - began)


def test_a_failure_is_counted_and_told_and_the_next_solve_is_tried() -> None:
    site = _Site()
    with capture_logs() as logs:
        site.give("hall", 1, dim=DIM + 1)
        for number in range(2, 9):
            site.give("door", number)
        _wait(lambda: site.provisional.figures.failures > 0)
        for number in range(9, 18):
            site.give("hall", number)
        _wait(lambda: site.provisional.figures.failures > 1)
        site.provisional.close()
    assert site.provisional.figures.solves == 0
    assert site.provisional.reuse([], AssociationConfig()) is None
    warnings = [log for log in logs if log["log_level"] == "warning"]
    assert len(warnings) == site.provisional.figures.failures
    assert "embeddings of 2 lengths" in warnings[0]["reason"]


def test_more_tracks_than_it_may_hold_are_counted() -> None:
    site = _Site(most=10)
    for number in range(1, 11):
        for camera in CAMERAS:
            site.give(camera, number)
    site.provisional.close()
    assert site.provisional.figures.ignored == 10
    assert site.provisional.reuse(site.final(), AssociationConfig()) is None


def _piece(video: Path, out: Path, first: int, frames: int) -> Path:
    with av.open(str(video)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream("mpeg4", rate=10)
        picture = source.streams.video[0]
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuv420p"
        stream.bit_rate = 4_000_000
        for i, frame in enumerate(source.decode(video=0)):
            if i >= first + frames:
                break
            if i >= first:
                image = frame.to_ndarray(format="bgr24")
                target.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        target.mux(stream.encode(None))
    return out


@pytest.fixture(scope="module")
def pieces(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pieces")
    video = assets / "videos" / "vtest.avi"
    return [_piece(video, folder / f"{name}.avi", i * 300, 300) for i, name in enumerate(CAMERAS)]


def _process(
    videos: Sequence[Path], out: Path, progress: SilentProgress, *, provisional: bool
) -> dict[str, bytes]:
    settings = SiteConfig(
        detector="motion",
        process_fps=5,
        embedder="colour",
        outputs=OutputConfig(video=False, report=False, crops=False),
    )
    options = ProcessOptions(provisional=provisional)
    process(videos, out, settings, options=options, progress=progress)
    names = [*TABLES, *(f"mot/{name}.txt" for name in CAMERAS)]
    return {name: (out / name).read_bytes() for name in names}


def test_real_footage_is_associated_before_its_last_frame(
    pieces: list[Path], tmp_path: Path
) -> None:
    progress = _Recorder(hold_at=149)
    early = _process(pieces, tmp_path / "early", progress, provisional=True)
    assert progress.told
    people, shared, frames = progress.told[0]
    assert people >= 2
    assert 0 <= shared <= people
    assert frames < 300
    figures = json.loads((tmp_path / "early" / "run.json").read_text())["figures"]
    assert figures["provisional_solves"] == len(progress.told)
    assert figures["provisional_failures"] == 0
    assert 0 < figures["stage_seconds"]["provisional"] < figures["wall_seconds"]
    # The stored detections and embeddings, tracked again and associated at the end only.
    late = tmp_path / "late"
    shutil.copytree(tmp_path / "early" / "cache", late / "cache")
    silent = _Recorder()
    assert _process(pieces, late, silent, provisional=False) == early
    assert not silent.told
    figures = json.loads((late / "run.json").read_text())["figures"]
    assert figures["provisional_solves"] == 0


def test_lines_for_logs_are_few_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    often, rare = PlainProgress(every_s=0.0), PlainProgress(every_s=60)
    for progress in (often, rare):
        progress.start([("door", 10), ("hall", 30)])
        progress.frames("door", 4, resumed=True)
        progress.people(3, 1)
        progress.frames("hall", 6, resumed=False)
        progress.finished("door", None)
        progress.finished("hall", "RunError: the disk is full")
        progress.stage("associating")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("4/40 frames, 0.0 frames/s")
    assert re.fullmatch(
        r"10/40 frames, [\d.]+ frames/s, \d+ s left, 3 people so far, 1 in several cameras",
        lines[1],
    )
    assert lines[2:4] == ["hall failed: RunError: the disk is full", "associating …"]
    assert lines[4:] == ["hall failed: RunError: the disk is full"]


def test_bars_tell_of_people_from_any_thread() -> None:
    from rich.console import Console

    console = Console(record=True, width=160, force_terminal=True)
    with RichProgress(console) as progress:
        progress.start([("door", 10), ("hall", 30)])
        teller = threading.Thread(target=progress.people, args=(12, 3))
        teller.start()
        progress.frames("hall", 6, resumed=False)
        teller.join()
    last = [line for line in console.export_text().splitlines() if line.startswith("all")][-1]
    assert "6/40" in last
    assert "12 people so far, 3 in several cameras" in last
    assert people_so_far(1, 0, 1) == "1 person so far"
