"""A small simulated site, what serves it, and the broker that is told of it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import yaml

from crosscam_edge.simulate import SiteConfig, simulate

if TYPE_CHECKING:
    from collections.abc import Callable

BIN = Path(sys.executable).parent
_PATIENCE_S = 180.0
FPS = 10.0
_PEOPLE = 12
_NAME = ("kind", "time_ns", "global_id", "camera", "track", "other_id")
Record = dict[str, Any]


@dataclass
class Setting:
    """Where it happens.

    Attributes:
        folder: Of the simulated site.
        work: Everything else is written there.
        hold_s: How long a fault lasts.
        seconds: Of the recordings, which begin anew when they end.
        cameras: Names.
    """

    folder: Path
    work: Path
    hold_s: float
    seconds: float
    cameras: list[str] = field(default_factory=list)

    @classmethod
    def make(cls, work: Path, hold_s: float, cameras: int, seconds: float) -> Setting:
        """Simulate the site if it is not there; the first camera has two other videos too."""
        folder = work / f"site-{_PEOPLE}-{cameras}-{seconds:g}"
        if not (folder / "site.yaml").is_file():
            simulate(
                SiteConfig(
                    people=_PEOPLE, cameras=cameras, seconds=seconds, fps=FPS, width=320, height=240
                ),
                folder,
            )
        names = [c["id"] for c in yaml.safe_load((folder / "site.yaml").read_text())["cameras"]]
        first = folder / "videos" / f"{names[0]}.mp4"
        for name, size, codec in (("wide", (480, 270), "libx264"), ("h265", (320, 240), "libx265")):
            if not (target := folder / "videos" / f"{name}.mp4").is_file():
                transcode(first, target, size, codec)
        return cls(folder, work, hold_s, seconds, names)


def transcode(video: Path, target: Path, size: tuple[int, int], codec: str) -> None:
    """Write a video anew with another size or codec; a key picture each second."""
    part = target.with_suffix(".part.mp4")
    with av.open(str(video)) as source, av.open(str(part), "w") as out:
        quiet = (
            {"x265-params": "log-level=error:pools=1:frame-threads=1", "preset": "ultrafast"}
            if codec == "libx265"
            else {}
        )
        stream = out.add_stream(codec, rate=round(FPS), options=quiet)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = 10, 0
        for number, frame in enumerate(source.decode(video=0)):
            made = frame.reformat(*size, format="yuv420p")
            made.pts, made.time_base, made.pict_type = number, 1 / Fraction(FPS), 0
            out.mux(stream.encode(made))
        out.mux(stream.encode())
    part.replace(target)


class Server:
    """`crosscam simulate serve` in a process of its own; always at the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(
            [BIN / "crosscam", "simulate", "serve", self.folder, "--port", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        wait_for(lambda: listens(self.port), "the RTSP server")

    def kill(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Broker:
    """mosquitto, and somebody who listens to everything.

    It remembers who listens, so that nothing is missed by one who comes back second.

    Args:
        work: Gets its files.

    Attributes:
        port: Of it.
        last_ns: When a message came last, UTC.
        repeated: Events of identities that came although they had come before.
    """

    def __init__(self, work: Path) -> None:
        import paho.mqtt.client as mqtt

        self.port, self._work = free_port(), work
        self.last_ns = self.repeated = 0
        self._times: list[int] = []
        self._heard: set[str] = set()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        (work / "mosquitto.db").unlink(missing_ok=True)
        (work / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 100000\n"
            f"user root\npersistence true\npersistence_location {work}/\nautosave_interval 1\n"
        )
        self.start()
        self._client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id="chaos", clean_session=False
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda c, *_: c.subscribe("crosscam/#", qos=1)
        self._client.on_message = lambda _c, _u, m: self._hear(m.topic, m.payload)
        self._client.connect("127.0.0.1", self.port)
        self._over = False
        threading.Thread(target=self._listen, daemon=True).start()

    def heard(self) -> set[str]:
        """Return the names of all events of identities that came."""
        with self._lock:
            return set(self._heard)

    def first_after(self, start_ns: int) -> int:
        """Return when the first message after a time came; one did."""
        with self._lock:
            return next(each for each in self._times if each > start_ns)

    def _hear(self, topic: str, payload: bytes) -> None:
        now = time.time_ns()
        with self._lock:
            self._times.append(now)
            if "/identity/" in topic:
                name = name_of(json.loads(payload))
                self.repeated += name in self._heard
                self._heard.add(name)
        self.last_ns = now

    def _listen(self) -> None:
        while True:
            self._client.loop_forever(retry_first_connection=True)
            if self._over:
                return

    def start(self) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            ["mosquitto", "-c", self._work / "mosquitto.conf"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: listens(self.port), "the broker")

    def kill(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """End both."""
        self._over = True
        self._client.disconnect()
        self.kill()


def name_of(record: Record) -> str:
    """Return what tells one event of an identity from all others."""
    return json.dumps({k: record[k] for k in _NAME})


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Tell whether somebody answers there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: Callable[[], bool], what: str, seconds: float = _PATIENCE_S) -> None:
    """Wait until something is so."""
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.1)


def left_after(missing: Callable[[], set[str]]) -> int:
    """Wait until nothing is missing; returns how much is in the end."""
    with suppress(TimeoutError):
        wait_for(lambda: not missing(), "events", 45.0)
    return len(missing())


def since(start_ns: int) -> float:
    """Return seconds since then."""
    return round((time.time_ns() - start_ns) / 1e9, 2)
