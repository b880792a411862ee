"""Cameras that come, go and move while a run goes on, and configurations that are refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from camera_parts import until
from test_live_run import CLOCK, BarDetector, SameEmbedder

from crosscam_edge.associate import AssociationConfig
from crosscam_edge.config import CameraConfig, SiteConfig
from crosscam_edge.live.camera import CameraState
from crosscam_edge.live.open import live_cameras
from crosscam_edge.live.ring import Ring, Rings
from crosscam_edge.live.roster import Changes, with_former
from crosscam_edge.live.run import LiveRun
from crosscam_edge.opening import Models
from crosscam_kernels.errors import RunError, UsageError


def site(*cameras, **more):
    return SiteConfig(cameras=[CameraConfig(**each) for each in cameras], **more)


@pytest.fixture
def going():
    """Begins runs; returns each with what it has told so far."""
    ends = []

    def begin(settings, **models):
        told, runs = [], []
        sources = live_cameras(settings, CLOCK.now_ns, lambda: runs[0].wake() if runs else None)
        detector = models.get("detector", BarDetector())
        run = LiveRun(
            sources, settings, Models(detector, SameEmbedder(), {}, 1), site=AssociationConfig(),
            now_ns=CLOCK.now_ns, emit=told.append, tracks=True,
        )  # fmt: skip
        runs.append(run)
        stop = threading.Event()
        thread = threading.Thread(target=run.run, args=(stop,))
        thread.start()
        ends.append((stop, thread))
        return run, told

    yield begin
    for stop, thread in ends:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def seen(told, camera):
    """Return the tracks of a camera, in the order of their pictures."""
    return [
        person["track"]
        for record in list(told)
        if record["type"] == "tracks" and record["camera"] == camera
        for person in record["people"]
    ]


def states(told, camera):
    return [r["state"] for r in list(told) if r["type"] == "camera" and r["camera"] == camera]


def test_cameras_come_and_go_and_others_do_not_notice(large, going):
    hall = {"id": "hall", "video": str(large / "hall.mp4")}
    yard = {"id": "yard", "video": str(large / "yard.mp4")}
    run, told = going(site(hall, yard))
    until(lambda: seen(told, "hall") and seen(told, "yard"))
    before = max(seen(told, "yard"))
    changes = run.reconfigure(site(hall, {**yard, "id": "door"})).result(10)
    assert changes == Changes(added=("door",), removed=("yard",))
    assert [each.camera_id for each in run.health()] == ["hall", "door"]
    until(lambda: seen(told, "door") and states(told, "yard")[-1] == "stopped", 30)
    count = len(seen(told, "yard"))
    until(lambda: run.looked_at()["hall"] > 20)
    assert len(seen(told, "yard")) == count
    hall_now = run.health()[0]
    assert (hall_now.state, hall_now.connections) == (CameraState.RUNNING, 1)
    # Whoever was in the camera that went has ended, and so can be found again elsewhere.
    living = {key.camera_id for p in run.identities.online.people for key, member
              in p.members.items() if not member.ended}  # fmt: skip
    assert "yard" not in living
    # It comes back: its tracks have numbers that were never given.
    assert run.reconfigure(site(hall, yard)).result(10).added == ("yard",)
    until(lambda: len(seen(told, "yard")) > count, 30)
    assert min(seen(told, "yard")[count:]) > before
    assert "failed" not in states(told, "hall") + states(told, "door")


def test_another_address_connects_that_camera_alone(large, going):
    hall = {"id": "hall", "video": str(large / "hall.mp4")}
    yard = {"id": "yard", "video": str(large / "yard.mp4")}
    run, told = going(site(hall, yard))
    until(lambda: seen(told, "hall") and seen(told, "yard"))
    last = max(seen(told, "yard"))
    threads = {t.name: t for t in threading.enumerate() if t.name.startswith("camera-")}
    changes = run.reconfigure(site(hall, {**yard, "video": hall["video"]})).result(10)
    assert changes == Changes(reconnected=("yard",))
    until(lambda: run.health()[1].size == (320, 240))
    count = len(seen(told, "yard"))
    until(lambda: len(seen(told, "yard")) > count, 30)
    assert min(seen(told, "yard")[count:]) > last
    assert threads["camera-hall"].is_alive()
    assert run.health()[0].connections == 1
    assert "stopped" not in states(told, "yard")
    until(lambda: not threads["camera-yard"].is_alive())


def test_a_mask_counts_at_once_and_without_a_new_connection(large, going):
    hall = {"id": "hall", "video": str(large / "hall.mp4")}
    run, told = going(site(hall))
    until(lambda: seen(told, "hall"))
    everything = [[(-1, -1), (999, -1), (999, 999), (-1, 999)]]
    changes = run.reconfigure(site({**hall, "masks": everything}, process_fps=5)).result(10)
    assert changes == Changes(adjusted=("hall",))
    count, looked = len(seen(told, "hall")), run.looked_at()["hall"]
    until(lambda: run.looked_at()["hall"] > looked + 10)
    assert len(seen(told, "hall")) == count
    assert run.health()[0].connections == 1
    assert run.health()[0].look_rate == run.settings.process_fps == 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"detector": "motion"}, "detector cannot change"),
        ({"min_confidence": 0.5, "threads": 2}, "min_confidence, threads cannot"),
        ({"live": {"name": "other"}}, "live cannot change"),
        ({"cameras": []}, "no cameras"),
        ({"cameras": [CameraConfig(id="new", url="ftp://u:topsecret@h/x")]}, "not the address"),
    ],
)
def test_what_cannot_be_taken_over_is_refused_as_a_whole(large, change, words, going):
    settings = site({"id": "hall", "video": str(large / "hall.mp4")})
    run, told = going(settings)
    with pytest.raises(UsageError, match=words) as caught:
        run.reconfigure(SiteConfig.model_validate({**dict(settings), **change}))
    assert "topsecret" not in str(caught.value)
    until(lambda: run.looked_at()["hall"] > 3)
    assert [each.camera_id for each in run.health()] == ["hall"]
    assert states(told, "new") == []


def test_cameras_that_have_ended_are_told_of_and_a_run_that_has_refuses(large):
    settings = site({"id": "hall", "video": str(large / "hall.mp4")})
    sources = live_cameras(settings, CLOCK.now_ns, lambda: None)
    run = LiveRun(
        sources, settings, Models(BarDetector(), SameEmbedder(), {}, 1),
        site=AssociationConfig(), now_ns=CLOCK.now_ns, emit=lambda record: None,
    )  # fmt: skip
    stop = threading.Event()
    stop.set()
    run.run(stop)
    with pytest.raises(RunError, match="has ended"):
        run.reconfigure(settings)


def test_what_was_known_of_cameras_that_went_is_kept():
    before = AssociationConfig(
        overlapping=frozenset({frozenset("ab"), frozenset("bc")}),
        least_transit_s={("a", "c"): 5.0, ("a", "b"): 2.0},
        usual_transit_s={("a", "b"): 9.0},
    )
    now = AssociationConfig(separate=frozenset({frozenset("ab")}), least_transit_s={("b", "a"): 1})
    found = with_former(now, before, frozenset("ab"))
    assert found.overlapping == {frozenset("bc")}
    assert found.separate == {frozenset("ab")}
    assert found.least_transit_s == {("a", "c"): 5.0, ("b", "a"): 1}
    assert found.usual_transit_s == {("a", "b"): 9.0}


@pytest.fixture
def command(large, tmp_path):
    """A run of the command with one camera; gives the process, its site file and its folder."""
    path = tmp_path / "site.yaml"
    path.write_text(_yaml(large, "hall"))
    run = subprocess.Popen(
        [sys.executable, "-c", "from crosscam_edge.cli import main; main()", "run", str(path),
         "-o", str(tmp_path / "out"),
         "--watch", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield run, path, tmp_path / "out"
    run.kill()
    run.communicate()


def _yaml(folder, *names):
    cameras = "".join(f"  - {{id: {name}, video: {folder / 'hall.mp4'}}}\n" for name in names)
    return f"cameras:\n{cameras}detector: motion\nembedder: colour\n"


def test_the_command_takes_a_file_over_when_it_is_written_and_by_signal(command, large):
    run, path, out = command
    events = out / "events.jsonl"

    def told():
        assert run.poll() is None
        return [json.loads(line) for line in events.read_text().splitlines()]

    def running(name):
        return events.exists() and "running" in states(told(), name)

    until(lambda: running("hall"), 60)
    fresh = path.with_suffix(".new")
    fresh.write_text(_yaml(large, "hall", "door"))
    os.replace(fresh, path)  # as editors write
    until(lambda: running("door"), 30)
    path.write_text("cameras: [{id: hall, vidoe: x}]\n")
    time.sleep(2)
    path.write_text(_yaml(large, "hall"))
    run.send_signal(signal.SIGHUP)
    until(lambda: states(told(), "door")[-1] == "stopped", 30)
    run.send_signal(signal.SIGINT)
    printed, said = run.communicate(timeout=60)
    assert run.returncode == 0, said
    assert list(json.loads(printed)["cameras"]) == ["hall"]
    assert "added: door" in said
    assert "is refused, and all goes on as before" in said
    assert "did you mean 'video'?" in said
    assert "removed: door" in said
    assert (
        states([json.loads(x) for x in events.read_text().splitlines()], "hall").count("connecting")
        <= 1
    )


def test_a_camera_that_begins_anew_has_nothing_of_what_another_sent():
    rings = Rings(lambda offset_ns: Ring(10, 1 << 20, offset_ns))
    first = rings.begin("hall", 5)
    assert rings.of("hall") is first
    second = rings.begin("hall", 7)
    assert rings.of("hall") is second is not first
    assert second.offset_ns == 7
    rings.drop("hall")
    assert rings.of("hall") not in (first, second)
