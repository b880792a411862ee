"""Recordings as cameras: what is served, where, and a real client that looks at it."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
import yaml

from crosscam_edge.cli import main
from crosscam_edge.live.address import parse_address
from crosscam_edge.live.connection import connect
from crosscam_edge.simulate import serve as module
from crosscam_edge.simulate.serve import addresses, cameras_of, serve, write_site
from crosscam_edge.simulate.writers import VideoWriter
from crosscam_kernels.errors import InputError, MissingExtraError, RunError


def _video(path, *, codec="libx264", size=(160, 120), frames=10):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for shade in range(frames):
            image = np.full((size[1], size[0], 3), 20 * shade % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "recordings"
    _video(root / "hall.mp4")
    _video(root / "first floor" / "hall.mkv", size=(320, 180))
    _video(root / "old.avi", codec="mpeg4")
    _video(root / "mpeg4.mp4", codec="mpeg4")
    (root / "broken.mp4").write_bytes(b"no video")
    (root / "notes.txt").write_text("x")
    return root


def test_any_folder_of_recordings(folder):
    found, left = cameras_of(folder)
    assert {name: path.name for name, path in found.items()} == {
        "hall": "hall.mkv", "hall-2": "hall.mp4",
    }  # fmt: skip
    assert sorted(each.split(":")[0] for each in left) == ["broken.mp4", "mpeg4.mp4", "old.avi"]
    urls = addresses(found, folder, "::1", 8554)
    assert urls["hall"] == "rtsp://[::1]:8554/first%20floor/hall.mkv?play_count=0"


def test_a_site_file_names_the_cameras_and_keeps_what_else_it_says(folder, tmp_path):
    settings = {
        "detector": "motion",
        "cameras": [
            {
                "id": "door", "video": "hall.mp4", "start_time": "2026-01-05T09:00:00Z",
                "region": [[0, 0], [9, 0], [9, 9]],
            },
        ],
    }  # fmt: skip
    (folder / "site.yaml").write_text(yaml.safe_dump(settings))
    found, left = cameras_of(folder)
    assert ([*found], left) == (["door"], [])
    write_site(tmp_path / "live.yaml", folder, {"door": "rtsp://h/x"})
    written = yaml.safe_load((tmp_path / "live.yaml").read_text())
    door = {"id": "door", "url": "rtsp://h/x", "region": [[0, 0], [9, 0], [9, 9]]}
    assert written == {"detector": "motion", "cameras": [door]}


@pytest.mark.parametrize(
    ("site", "words"),
    [
        ("cameras: [{id: a, video: ../outside.mp4}]", "has no video in that folder"),
        ("cameras: [{id: a, url: 'rtsp://h/x'}]", "has no video in that folder"),
        ("cameras: 3", "no site file"),
        ("cameras: [", "cannot be read"),
    ],
)
def test_site_files_that_cannot_be_served(folder, site, words):
    _video(folder.parent / "outside.mp4")
    (folder / "site.yaml").write_text(site)
    with pytest.raises(InputError, match=words):
        cameras_of(folder)


def test_nothing_to_serve(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        cameras_of(tmp_path / "none")
    (tmp_path / "old.avi").write_bytes(b"x")
    with pytest.raises(InputError, match=r"old.avi: neither .mp4 nor .mkv"):
        cameras_of(tmp_path)


def test_without_the_extra_it_says_how_to_get_it(folder, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"extra 'rtsp'"):
        serve(folder, "127.0.0.1", 0, threading.Event())


def test_a_port_that_is_taken_is_told(folder):
    pytest.importorskip("aio_rtsp_toolkit")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(RunError, match=f"127.0.0.1:{port}"):
            serve(folder, "127.0.0.1", port, threading.Event())


def test_the_command_serves_until_it_is_told_to_stop(folder, tmp_path):
    pytest.importorskip("aio_rtsp_toolkit")
    site = tmp_path / "live.yaml"
    program = Path(sys.executable).with_name("crosscam")
    running = subprocess.Popen(
        [program, "simulate", "serve", folder, "--port", "0", "--site", site],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        told = [running.stdout.readline() for _ in range(3)]
        assert told[2].startswith("next: crosscam run "), told
        cameras = yaml.safe_load(site.read_text())["cameras"]
        assert [f"{each['id']}: {each['url']}\n" for each in cameras] == told[:2]
        sizes, began = set(), time.monotonic()
        for each in cameras:
            connection = connect(parse_address(each["url"]), time.time_ns)
            for number, arrived in enumerate(connection.pictures()):
                sizes.add((arrived.raw.width, arrived.raw.height))
                if number == 14:  # a recording has ten: it began again
                    break
            connection.close()
        assert sizes == {(320, 180), (160, 120)}
        assert time.monotonic() - began > 2  # in real time
    finally:
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=20)
    assert running.returncode == 0, err
    assert "left out: old.avi" in err
    assert "Traceback" not in out + err


def test_what_the_simulator_writes_comes_in_the_order_of_its_times(tmp_path):
    pytest.importorskip("aio_rtsp_toolkit")
    rng = np.random.default_rng(3)
    ground = rng.integers(0, 255, (120, 400, 3), np.uint8)
    with VideoWriter(tmp_path / "hall.mp4", 160, 120, 20, 23) as writer:
        for shift in range(60):  # moves evenly: an encoder would look ahead
            writer.write(np.ascontiguousarray(ground[:, 2 * shift : 2 * shift + 160]))
    stop, ports = threading.Event(), queue.Queue()
    server = threading.Thread(target=serve, args=(tmp_path, "127.0.0.1", 0, stop, ports.put))
    server.start()
    try:
        cameras, _ = cameras_of(tmp_path)
        (url,) = addresses(cameras, tmp_path, "127.0.0.1", ports.get(timeout=20)).values()
        connection = connect(parse_address(url), time.time_ns)
        times = [each.stream_ns for each in islice(connection.pictures(), 1, 40)]
        connection.close()
    finally:
        stop.set()
        server.join(timeout=20)
    steps = np.diff(times) / 1e9  # of those after the first, which comes without a time
    assert abs(steps - 0.05).max() < 0.005, steps


def test_the_command_refuses_a_folder_that_is_not_there(tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        main(["simulate", "serve", str(tmp_path / "none")])
    assert left.value.code == InputError.exit_code
    assert "is no folder" in capsys.readouterr().err


def _put_all(put, items, every_s):
    """Have a thread put items into a short queue that is read in time; returns what was read."""
    stop, read = threading.Event(), []

    async def reading():
        loop, waiting = asyncio.get_running_loop(), asyncio.Queue(1)

        def putting():
            return all(put(None, loop, waiting, item, stop) for item in items)

        job = loop.run_in_executor(None, putting)
        while not job.done() or not waiting.empty():
            await asyncio.sleep(every_s)
            while not waiting.empty():
                read.append(waiting.get_nowait())
        assert await job

    asyncio.run(reading())
    return read


@pytest.mark.parametrize("every_s", [0.0, 0.05, module._POLL_S])
def test_every_packet_is_sent_once(every_s):
    assert _put_all(module.put_once, range(40), every_s) == [*range(40)]


def test_nobody_waits_for_a_reader_who_has_left():
    stop, waiting = threading.Event(), asyncio.Queue(1)
    waiting.put_nowait("one")

    async def left():
        loop = asyncio.get_running_loop()
        job = loop.run_in_executor(None, module.put_once, None, loop, waiting, "two", stop)
        await asyncio.sleep(0.05)
        stop.set()
        return await job

    assert asyncio.run(left()) is False
    assert waiting.qsize() == 1


def test_more_may_watch_than_there_are_processors(tmp_path, monkeypatch):
    pytest.importorskip("aio_rtsp_toolkit")
    _video(tmp_path / "hall.mp4", frames=600)  # longer than what the server reads ahead
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # of which a pool of threads takes its size
    stop, ports = threading.Event(), queue.Queue()
    server = threading.Thread(target=serve, args=(tmp_path, "127.0.0.1", 0, stop, ports.put))
    server.start()
    connections = []
    try:
        cameras, _ = cameras_of(tmp_path)
        url = addresses(cameras, tmp_path, "127.0.0.1", ports.get(timeout=20))["hall"]
        connections.extend(connect(parse_address(url), time.time_ns) for _ in range(7))
        assert [len(list(islice(each.pictures(), 3))) for each in connections] == [3] * 7
    finally:
        for each in connections:
            each.close()
        stop.set()
        server.join(20)
