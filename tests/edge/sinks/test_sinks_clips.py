"""Clips cut from what cameras sent: whole, bounded, and gone with whoever is in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest
from brokers import wait_for

sys.path.append(str(Path(__file__).parents[1] / "live"))
from rtsp_server import write_video

from crosscam_edge.live.connection import FileConnection
from crosscam_edge.live.ring import Ring, Rings
from crosscam_edge.sinks.base import Health
from crosscam_edge.sinks.clips import ClipsSink, write_clip
from crosscam_edge.sinks.forget import Seen
from crosscam_edge.sinks.shelf import Bounds, Shelf
from crosscam_edge.types import TrackletKey

SECOND = 1_000_000_000
ZERO = 1_800_000_000 * SECOND
WIDE = Bounds(100, 1 << 30, 1e9)


@pytest.fixture(scope="session")
def video(tmp_path_factory):
    """Six seconds, ten pictures each; a key picture at every second at least."""
    return write_video(tmp_path_factory.mktemp("clips") / "hall.mp4", seconds=6)


def fill(ring, video, *, start_ns=ZERO):
    """Play a recording into a ring as if it came from then on; returns the packets' times."""
    times = []
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        ring.begin(stream)
        for packet in container.demux(stream):
            if packet.size:
                times.append(start_ns + int(packet.pts * packet.time_base * SECOND))
                ring.put(packet, times[-1])
    return times


def event(n=1, kind="new", camera="hall", at_ns=ZERO + 3 * SECOND):
    return {"type": "identity", "kind": kind, "time_ns": at_ns, "global_id": n, "camera": camera}


class Clock:
    def __init__(self, now_ns):
        self.now_ns = now_ns

    def __call__(self):
        return self.now_ns


@pytest.fixture
def opened(tmp_path):
    sinks = []

    def make(rings, now_ns=ZERO + 3600 * SECOND, bounds=WIDE, folder=tmp_path / "clips"):
        sink = ClipsSink(
            folder, rings.of, Clock(now_ns), kinds=["new", "matched"], before_s=1, after_s=1,
            bounds=bounds,
        )  # fmt: skip
        sinks.append(sink)
        return sink

    yield make
    for each in sinks:
        each.close()


def rings_with(video, *cameras, seconds=60.0, most=1 << 30, offset_ns=0):
    rings = Rings(lambda _: Ring(seconds, most, offset_ns))
    for camera in cameras:
        fill(rings.of(camera), video)
    return rings


def pictures(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [float(frame.pts * frame.time_base) for frame in container.decode(stream)]


def names(folder):
    return sorted(each.name for each in folder.iterdir())


def test_a_clip_holds_what_came_around_the_event_from_a_key_picture_on(opened, video, tmp_path):
    sink = opened(rings_with(video, "hall", "yard"))
    sink.put(event())
    sink.put(event(kind="merged"))
    sink.put(event() | {"camera": None})
    sink.put({"type": "camera", "camera": "hall"})
    wait_for(lambda: sink.written == 1)
    (path,) = (tmp_path / "clips").iterdir()
    stamp, camera, kind, who, start, end = path.stem.split("_")
    assert (stamp, camera, kind, who) == ("20270115T080002Z", "hall", "new", "1")
    assert ZERO + SECOND < int(start) <= ZERO + 2 * SECOND
    assert int(end) == ZERO + 4 * SECOND
    times = pictures(path)
    assert times[0] == 0
    assert len(times) == (int(end) - int(start)) // 100_000_000 + 1
    assert path.read_bytes().index(b"moov") < path.read_bytes().index(b"mdat")
    assert sink.dropped == 0


def test_a_clip_waits_until_its_end_has_come(opened, video, tmp_path):
    sink = opened(rings_with(video, "hall"), now_ns=ZERO + 3 * SECOND)
    sink.put(event())
    time.sleep(0.3)
    assert names(tmp_path / "clips") == []
    sink._now.now_ns = ZERO + 5 * SECOND + 1
    sink.put(event(2, at_ns=ZERO + 4 * SECOND))
    wait_for(lambda: sink.written == 1)
    sink.close()  # no more will come: what there is will do
    assert (sink.written, sink.dropped) == (2, 0)


def test_a_lone_event_is_cut_as_soon_as_its_end_has_come(opened, video, tmp_path):
    """Nobody comes after it to wake the sink, and what it is cut from does not stay for long."""
    sink = opened(rings_with(video, "hall"))
    began = time.monotonic_ns()
    sink._now = lambda: ZERO + 3 * SECOND + time.monotonic_ns() - began
    sink.put(event())  # its end is two seconds off
    wait_for(lambda: sink.written == 1)
    assert 2 * SECOND <= time.monotonic_ns() - began < 30 * SECOND


def test_times_are_those_of_the_camera(opened, video, tmp_path):
    sink = opened(rings_with(video, "hall", offset_ns=-7200 * SECOND))
    sink.put(event())
    wait_for(lambda: sink.written == 1)
    (name,) = names(tmp_path / "clips")
    assert name.startswith("20270115T060002Z_hall_new_1_")


def test_a_ring_is_bounded_in_seconds_and_bytes(video):
    ring = Ring(2.0, 1 << 30)
    times = fill(ring, video)
    _, kept = ring.between(0, times[-1], times[-1])
    assert kept[0].key
    assert times[-1] - kept[0].time_ns < 3.1 * SECOND
    assert len(ring) == sum(len(each.data) for each in kept)
    small = Ring(60.0, len(ring) // 2)
    fill(small, video)
    assert 0 < len(small) <= len(ring) // 2
    tiny = Ring(60.0, 10)
    fill(tiny, video)
    assert len(tiny) == 0
    assert tiny.between(0, times[-1], times[-1]) is None


def test_what_does_not_go_on_is_no_part_of_a_clip(video):
    ring = Ring(1e6, 1 << 30)
    first = fill(ring, video)
    second = fill(ring, video, start_ns=ZERO + 7 * SECOND)  # it was connected anew
    everything = (0, 2 * ZERO)
    for at, times in ((first[30], first), (second[30], second)):
        _, kept = ring.between(everything[0], at, everything[1])
        assert [each.time_ns for each in kept] == times
    late = Ring(1e6, 1 << 30)
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        late.begin(stream)
        for k, packet in enumerate(container.demux(stream)):
            if packet.size:
                late.put(packet, ZERO + k * SECOND // 10 + (20 * SECOND if k >= 35 else 0))
    _, kept = late.between(0, ZERO, 2 * ZERO)
    assert len(kept) == 35
    _, kept = late.between(0, ZERO + 30 * SECOND, 2 * ZERO)
    assert kept[0].key
    assert kept[0].time_ns >= ZERO + 23 * SECOND


def test_raw_pictures_are_not_kept(tmp_path):
    path = tmp_path / "raw.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        frame = av.VideoFrame(32, 32, "yuv420p")
        container.mux(stream.encode(frame))
    ring = Ring(60.0, 1 << 30)
    fill(ring, path)
    assert len(ring) == 0


def test_a_camera_fills_its_ring(video):
    ring = Ring(60.0, 1 << 30)
    found = FileConnection(str(video), time.time_ns, lambda seconds: False, ring)
    for count, _ in enumerate(found.pictures()):
        if count == 70:  # ten pictures into the second turn
            break
    found.close()
    now = time.time_ns()
    _, kept = ring.between(0, now, now)
    assert 10 <= len(kept) <= 13
    write_clip(video.with_name("again.mp4"), *ring.between(0, now, now))
    assert len(pictures(video.with_name("again.mp4"))) == len(kept)


def test_who_is_erased_is_in_no_clip(opened, video, tmp_path):
    rings = rings_with(video, "hall", "yard")
    sink = opened(rings)
    sink.put(event(1))
    sink.put(event(2))
    sink.put(event(2, camera="yard"))
    sink.put(event(3, camera="yard"))
    wait_for(lambda: sink.written == 4)
    (tmp_path / "clips" / "mine.mp4").touch()
    sink._now.now_ns = ZERO
    sink.put(event(4))
    sink.put(event(4, camera="yard"))
    seen = [Seen(TrackletKey("hall", 9), ZERO + 3 * SECOND, ZERO + 4 * SECOND)]
    assert sink.erase([3], seen) == 3  # all of the hall, and of 3 in the yard
    left = names(tmp_path / "clips")
    assert len(left) == 2
    assert "_yard_new_2_" in left[0]
    assert left[1] == "mine.mp4"
    assert len(rings.of("hall")) == 0
    assert len(rings.of("yard")) > 0
    assert [each.camera for each in sink._waiting] == ["yard"]
    assert sink.dropped == 1
    far = [Seen(TrackletKey("yard", 9), ZERO + 100 * SECOND, ZERO + 101 * SECOND)]
    assert sink.erase([77], far) == 0
    near = [Seen(TrackletKey("yard", 9), ZERO + 10 * SECOND, ZERO + 11 * SECOND)]
    assert sink.erase([77], near) == 1


def test_the_oldest_clips_make_room(opened, video, tmp_path):
    rings = rings_with(video, "hall")
    sink = opened(rings, bounds=Bounds(3, 1 << 30, 1e9))
    for n in range(1, 6):
        sink.put(event(n, at_ns=ZERO + n * SECOND))
        wait_for(lambda n=n: sink.written == n)
    kept = [name.split("_")[3] for name in names(tmp_path / "clips")]
    assert kept == ["3", "4", "5"]
    size = max(each.stat().st_size for each in (tmp_path / "clips").iterdir())
    bounds = Bounds(100, size * 3 + size // 8 + 65_536, 1e9)
    small = opened(rings, bounds=bounds, folder=tmp_path / "small")
    for n in range(1, 6):
        small.put(event(n, at_ns=ZERO + n * SECOND))
        wait_for(lambda n=n: small.written == n)
    found = list((tmp_path / "small").iterdir())
    assert sum(each.stat().st_size for each in found) <= bounds.most_bytes
    assert 0 < len(found) < 5
    tiny = opened(rings, bounds=Bounds(100, 1000, 1e9), folder=tmp_path / "tiny")
    tiny.put(event())
    wait_for(lambda: tiny.dropped == 1)


def test_old_files_go_and_so_do_those_of_a_crash(tmp_path):
    (tmp_path / ".a.00.part.mp4").touch()
    for name, age in (("a.mp4", 200), ("b.mp4", 10), ("c.txt", 200)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    shelf = Shelf(tmp_path, ".mp4", Bounds(10, 1000, 100.0))
    assert shelf.tidy() == 1
    assert names(tmp_path) == ["b.mp4", "c.txt"]


def test_whoever_puts_never_waits_and_too_many_are_dropped(opened, video):
    sink = opened(rings_with(video, "hall"), now_ns=ZERO)
    began = time.monotonic()
    for camera in ("hall", *(f"c{k}" for k in range(100))):
        for n in range(20):
            sink.put(event(n, camera=camera))
    assert time.monotonic() - began < 2
    assert len(sink._waiting) == 200
    assert sink.dropped == 2020 - 200
    sink.close()
    assert (sink.written, sink.dropped) == (8, 2012)  # nothing was kept of the others


def test_a_place_that_fails_is_told_until_it_does_not(opened, video, tmp_path):
    sink = opened(rings_with(video, "hall"))
    folder = tmp_path / "clips"
    folder.rmdir()
    folder.touch()
    sink.put(event())
    wait_for(lambda: sink.health is Health.FAILING)
    assert (sink.written, sink.dropped) == (0, 1)
    folder.unlink()
    sink.put(event())
    wait_for(lambda: sink.written == 1)
    assert sink.health is Health.OK


def test_a_full_disk_leaves_no_half_clip(video, tmp_path):
    """In a process of its own, whose files may have 2000 bytes: a real error of writing."""
    code = f"""
import resource, signal, sys, time
from pathlib import Path
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1] / "live")]!r}
from test_sinks_clips import *
video, folder = Path({str(video)!r}), Path({str(tmp_path / "clips")!r})
rings = rings_with(video, "hall")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
sink = ClipsSink(folder, rings.of, Clock(2 * ZERO), kinds=["new"], before_s=1, after_s=1,
                 bounds=WIDE)
sink.put(event())
wait_for(lambda: sink.dropped == 1)
print(json.dumps([sink.health, names(folder)]))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
sink.put(event())
wait_for(lambda: sink.written == 1)
print(json.dumps([sink.health, len(pictures(next(folder.iterdir())))]))
sink.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    full, well = (json.loads(line) for line in done.stdout.splitlines())
    assert full == ["failing", []]
    assert well[0] == "ok"
    assert well[1] > 20
