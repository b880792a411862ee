"""The page: complete, self-contained, safe against what users type, bounded, and it works."""

from __future__ import annotations

import json
import os
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from fake_run import START_NS, painted_run, vtest_run

from crosscam_edge.evaluate.load import load_cameras
from crosscam_edge.evaluate.mtmc import evaluate_mtmc
from crosscam_edge.evaluate.save import save_scores
from crosscam_edge.report import render_videos, write_report
from crosscam_edge.report.journeys import Span, Stay, duration, stays_of, timeline
from crosscam_edge.report.mosaic import clock
from crosscam_edge.sinks.run_file import (
    IdentitiesFile,
    IdentityRecord,
    TrackletRecord,
    read_identities,
    read_run,
    write_identities,
    write_run,
)
from crosscam_edge.sinks.schema import CameraInfo
from crosscam_kernels.errors import InputError, UsageError

S = 10**9
EVIL = "\"><script>alert(1)</script>'{{7*7}}"


class _Tags(HTMLParser):
    """All tags and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def urls(self) -> list[str]:
        return [
            v or "" for _, a in self.tags for k, v in a.items() if k in ("src", "href", "poster")
        ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "run"
    render_videos(out, painted_run(out, people=4, frames=20))
    return out


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def test_the_page_is_whole_and_needs_nothing_outside(run: Path) -> None:
    text = write_report(run).read_text()
    page = _Tags(text)
    assert "4 people in 2 cameras" in text
    assert sum(tag == "article" for tag, _ in page.tags) == 4
    for url in page.urls():
        inside = url.startswith(("data:image/jpeg;base64,", "#"))
        assert inside or (run / url.replace("%20", " ")).is_file(), url
    assert not re.search(r"https?://", text)
    for what in ("Transits", "Calibration", "false match rate", "yolox-nano", "Apache-2.0",
                 "Why this id", "joined to", "decode"):  # fmt: skip
        assert what in text, what
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), tag


def test_what_users_type_is_text(copy: Path) -> None:
    run, identities = read_run(copy), read_identities(copy)
    old = run.cameras[0].camera_id
    clean = len(_Tags(write_report(copy).read_text()).tags)
    run.cameras[0].camera_id = EVIL
    run.inputs[0].path = f"rtsp://me:secret@cam/{EVIL}"
    run.warnings = []
    run.models["detector"].name = EVIL
    run.transits = [t.model_copy(update={"from_camera": EVIL}) if t.from_camera == old else t
                    for t in run.transits]  # fmt: skip
    for identity in identities.identities:
        identity.cameras = [EVIL if c == old else c for c in identity.cameras]
        for t in identity.tracklets:
            t.camera_id = EVIL if t.camera_id == old else t.camera_id
            if t.matched_to and t.matched_to.camera_id == old:
                t.matched_to.camera_id = EVIL
    write_run(copy, run)
    write_identities(copy, identities)
    text = write_report(copy).read_text()
    page = _Tags(text)
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert not any(name.startswith("on") for _, a in page.tags for name in a)
    assert "alert(1)</script>" not in text
    assert "secret" not in text
    assert "7*7" in text
    # Pictures and links of the renamed camera are gone, nothing has come in.
    assert len(page.tags) <= clean


def test_hundreds_of_people_stay_bounded(copy: Path) -> None:
    run = read_run(copy)
    names = [c.camera_id for c in run.cameras]
    people = []
    for gid in range(1, 901):
        tracklets = [
            TrackletRecord(
                camera_id=names[k % 2], track_id=gid * 100 + k,
                start_ns=START_NS + (gid + 9 * k) * S,
                end_ns=START_NS + (gid + 9 * k + 4) * S, start_frame=0, end_frame=9,
                observations=9, reason="created",
            )
            for k in range(60)
        ]  # fmt: skip
        people.append(
            IdentityRecord(global_id=gid, cameras=names, start_ns=tracklets[0].start_ns,
                           end_ns=tracklets[-1].end_ns, tracklets=tracklets)
        )  # fmt: skip
        if gid > 4:
            shutil.copytree(copy / "crops" / "1", copy / "crops" / str(gid))
    write_identities(copy, IdentitiesFile(identities=people))
    page = write_report(copy)
    assert page.stat().st_size < 40_000_000
    text = page.read_text()
    assert "are shown with fewer pictures" in text
    assert text.count("data:image/jpeg") <= 60 * 8 + 180 * 3 + 460
    assert "more stays" in text
    assert "shortest stays are not drawn" in text


def test_a_run_that_was_cut_short_says_so(copy: Path) -> None:
    run = read_run(copy)
    run.status = "interrupted"
    run.calibration = None
    run.transits = []
    write_run(copy, run)
    write_identities(copy, IdentitiesFile())
    shutil.rmtree(copy / "video")
    text = write_report(copy).read_text()
    assert "This run is <b>interrupted</b>" in text
    assert "0 people in 2 cameras" in text
    assert "<video" not in text


def test_scores_are_shown_where_there_are_any(copy: Path) -> None:
    tracks = load_cameras(copy).tracks
    save_scores(copy, evaluate_mtmc(tracks, tracks))
    text = (copy / "report.html").read_text()
    assert "Scores against ground truth" in text
    assert "IDF1 100.0" in text
    json.loads((copy / "eval.json").read_text())
    (copy / "eval.json").write_text("[]")
    with pytest.raises(InputError, match=r"eval\.json"):
        write_report(copy)
    with pytest.raises(UsageError):
        save_scores(copy / "mot", evaluate_mtmc(tracks, tracks))


def test_identities_of_an_unknown_camera_are_refused(copy: Path) -> None:
    run = read_run(copy)
    run.cameras = run.cameras[:1]
    write_run(copy, run)
    with pytest.raises(InputError, match="was in camera 'Hall'"):
        write_report(copy)


def test_stays_join_tracklets_that_follow_closely() -> None:
    def t(camera: str, a: float, b: float) -> TrackletRecord:
        return TrackletRecord(camera_id=camera, track_id=1, start_ns=int(a * S), end_ns=int(b * S),
                              start_frame=0, end_frame=1, observations=2,
                              reason="created")  # fmt: skip

    parts = [t("a", 0, 5), t("b", 5.5, 6), t("a", 6, 9), t("a", 20, 21)]
    person = IdentityRecord(
        global_id=1, cameras=["a", "b"], start_ns=0, end_ns=21 * S, tracklets=parts
    )
    stays = [(s.camera_id, s.seconds) for s in stays_of(person)]
    assert stays == [("a", 9.0), ("b", 0.5), ("a", 1.0)]


def test_bars_of_one_lane_never_overlap() -> None:
    camera = CameraInfo("a", 1, "a.mp4", 10, 10, 10.0, 1000, 0)
    stays = {g: [Stay("a", (g * 7 % 40) * S, (g * 7 % 40 + 1 + g % 9) * S)] for g in range(60)}
    lane = timeline(stays, [camera], Span(0, 100 * S))["lanes"][0]
    assert len(lane["bars"]) == 60
    rows: dict[int, list[tuple[float, float]]] = {}
    for bar in lane["bars"]:
        rows.setdefault(bar["y"], []).append((bar["x"], bar["x"] + bar["width"]))
    for bars in rows.values():
        bars.sort()
        assert all(a[1] <= b[0] for a, b in pairwise(bars))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4 s"), (38, "38 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (3840, "1 h 4 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.slow
def test_the_page_works_in_a_browser(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    assets = Path(os.environ.get("CROSSCAM_ASSETS", ""))
    if browser_path is None:
        pytest.skip("no chromium on PATH")
    if not (assets / "videos" / "vtest.avi").is_file():
        pytest.skip("CROSSCAM_ASSETS has no videos/vtest.avi")
    out = tmp_path / "run"
    render_videos(out, vtest_run(out, assets, frames=300))
    page_path = write_report(out)
    flags = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
    flags += " --disable-background-networking --disable-component-update"
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=browser_path, args=flags.split())
        for width in (1280, 360):
            page = browser.new_page(viewport={"width": width, "height": 800})
            problems: list[str] = []
            page.on("console", lambda m, to=problems: to.append(m.text))
            page.on("pageerror", lambda e, to=problems: to.append(str(e)))
            page.on("request", lambda r, to=problems: to.append(r.url) if "http" in r.url else None)
            page.goto(page_path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            everyone = page.locator(".card:visible").count()
            page.fill("#f-seconds", "10")
            some = page.locator(".card:visible").count()
            assert 0 < some < everyone
            page.fill("#f-seconds", "0")
            page.check("#f-crossing")
            assert 0 < page.locator(".card:visible").count() < everyone
            page.uncheck("#f-crossing")
            page.fill("#f-text", "9")
            assert page.locator(".card:visible").get_attribute("id") == "person-9"
            page.fill("#f-text", "")
            page.wait_for_function("document.querySelector('video').readyState >= 1")
            assert page.evaluate("document.querySelector('video').duration") > 29
            assert problems == []
        browser.close()


def test_recordings_without_a_date_count_from_their_start() -> None:
    assert not Span(0, 90 * S).dated
    assert Span(0, 90 * S).text == "1 min 30 s, counted from the start"
    assert "UTC" in Span(START_NS, START_NS + 90 * S).text
    assert clock(3_723_450_000_000) == "1:02:03.4"
    assert clock(START_NS + S // 2) == "2026-03-14 12:00:00.5 UTC"
