"""A real run with real pictures, and its interface on a real port."""

from __future__ import annotations

import socket
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

sys.path.append(str(Path(__file__).parents[1] / "live"))
from rtsp_server import write_video
from test_live_run import BarDetector, SameEmbedder

from crosscam_edge.associate import AssociationConfig
from crosscam_edge.config import CameraConfig, SiteConfig
from crosscam_edge.config.live import LiveConfig
from crosscam_edge.gallery import Gallery, Pictures
from crosscam_edge.live.clocks import UtcClock
from crosscam_edge.live.open import live_cameras
from crosscam_edge.live.outputs import open_outputs
from crosscam_edge.live.run import LiveRun
from crosscam_edge.opening import Models
from crosscam_edge.server.app import make_app
from crosscam_edge.server.hub import Hub
from crosscam_edge.server.serve import Server, bind
from crosscam_edge.sinks.fanout import Fanout

SECRET = "topsecret"  # of a camera that is not there
HOLDERS = ("viewer", "operator", "admin", "hall")


def write_people(folder, hall=220, yard=220):
    write_video(folder / "hall.mp4", size=(320, 240), seconds=8, bar=70, colour=hall)
    write_video(folder / "yard.mp4", size=(480, 240), seconds=8, bar=70, colour=yard)


@dataclass
class Live:
    """A run that is watched, its gallery and its records."""

    run: LiveRun
    gallery: Gallery
    path: Path
    hub: Hub
    outputs: Fanout

    def until(self, condition, seconds=20.0):
        ends = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < ends, "it did not come to that"
            time.sleep(0.02)


@contextmanager
def running(videos, folder, models=None):
    cameras = [
        {"id": "hall", "video": str(videos / "hall.mp4")},
        {"id": "yard", "video": str(videos / "yard.mp4")},
        {"id": "dead", "url": f"rtsp://admin:{SECRET}@127.0.0.1:1/x"},
    ]
    settings = SiteConfig(cameras=[CameraConfig(**each) for each in cameras])
    clock, hub, runs = UtcClock(), Hub(), []
    path = folder / "gallery.db"
    outputs = open_outputs(folder, LiveConfig(), tracks=True)

    def emit(record):
        outputs.put(record)
        hub.put(record)

    models = models or Models(BarDetector(), SameEmbedder(), {}, 1)
    known = models.embedder
    gallery = Gallery(path, model_id=known.model_id, dim=known.dim, now_ns=clock.now_ns)
    sources = live_cameras(settings, clock.now_ns, lambda: runs[0].wake() if runs else None)
    run = LiveRun(
        sources, settings, models, site=AssociationConfig(),
        now_ns=clock.now_ns, emit=emit, gallery=gallery, tracks=True,
    )  # fmt: skip
    runs.append(run)
    pictures = Pictures(gallery, run.identities.id_of, run.identities.online.ignores)
    run.watchers.append(pictures.look)
    stop = threading.Event()
    thread = threading.Thread(target=run.run, args=(stop,))
    thread.start()
    try:
        yield Live(run, gallery, path, hub, outputs)
    finally:
        stop.set()
        thread.join(20)
        outputs.close()
        gallery.close()
    assert not thread.is_alive()


@contextmanager
def serving(site, keyring, tls=None, **settings):
    server = Server(make_app(site, keyring, loopback=True, **settings), bind("127.0.0.1", 0), tls)
    server.start()
    try:
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.address[1]}"
    finally:
        server.stop()


def deaf(base, path, token):
    """Return a socket that has asked for something, and takes hardly any of the answer."""
    parts = urlsplit(base)
    asked = socket.socket()
    asked.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    asked.connect((parts.hostname, parts.port))
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    asked.sendall(head.encode())
    return asked
