"""A small simulated site, what serves it, what watches it, and what is read from its records."""

from __future__ import annotations

import json
import signal
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
    from collections.abc import Callable, Sequence

_BIN = Path(sys.executable).parent
_PATIENCE_S = 180.0
SETTLE_S = 1.5  # records are up to a second late
FPS = 10.0
Record = dict[str, Any]


@dataclass
class Setting:
    """Where it happens.

    Attributes:
        folder: Of the simulated site.
        work: Everything else is written there.
        hold_s: How long a fault lasts.
        cameras: Names.
    """

    folder: Path
    work: Path
    hold_s: float
    cameras: list[str] = field(default_factory=list)

    @classmethod
    def make(cls, work: Path, hold_s: float, cameras: int, seconds: float) -> Setting:
        """Simulate the site if it is not there; the first camera has two other videos too."""
        folder = work / f"site-{cameras}-{seconds:g}"
        if not (folder / "site.yaml").is_file():
            simulate(
                SiteConfig(
                    people=6, cameras=cameras, seconds=seconds, fps=FPS, width=320, height=240
                ),
                folder,
            )
        names = [c["id"] for c in yaml.safe_load((folder / "site.yaml").read_text())["cameras"]]
        first = folder / "videos" / f"{names[0]}.mp4"
        for name, size, codec in (("wide", (480, 270), "libx264"), ("h265", (320, 240), "libx265")):
            if not (target := folder / "videos" / f"{name}.mp4").is_file():
                transcode(first, target, size, codec)
        return cls(folder, work, hold_s, names)


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
            [_BIN / "crosscam", "simulate", "serve", self.folder, "--port", str(self.port)],
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
    """mosquitto, and somebody who listens to everything."""

    def __init__(self, work: Path) -> None:
        import paho.mqtt.client as mqtt

        self.port, self._work = free_port(), work
        self._process: subprocess.Popen[bytes] | None = None
        self.heard: set[str] = set()
        (work / "mosquitto.db").unlink(missing_ok=True)
        # It remembers who listens, so that nothing is missed by one who comes back second.
        (work / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 100000\n"
            f"user root\npersistence true\npersistence_location {work}/\nautosave_interval 1\n"
        )
        self.start()
        self._client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id="chaos", clean_session=False
        )
        self._client.on_connect = lambda c, *_: c.subscribe("crosscam/#", qos=1)
        self._client.on_message = lambda _c, _u, m: self._hear(m.topic, m.payload)
        self._client.connect("127.0.0.1", self.port)
        self._over = False
        threading.Thread(target=self._listen, daemon=True).start()

    def _hear(self, topic: str, payload: bytes) -> None:
        if "/identity/" in topic:
            self.heard.add(name_of(json.loads(payload)))

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


class Run:
    """One `crosscam run`.

    Args:
        out: Its folder.
        cameras: Of its site file.
        live: Block `live` of its site file.
    """

    def __init__(
        self, out: Path, cameras: Sequence[dict[str, Any]], live: dict[str, Any] | None = None
    ) -> None:
        self.out, self.began_ns = out, time.time_ns()
        site = out.with_suffix(".yaml")
        settings = {"detector": "motion", "embedder": "colour", "cameras": [*cameras]}
        site.write_text(yaml.safe_dump(settings | ({"live": live} if live else {})))
        self.log = out.with_suffix(".log")
        with self.log.open("a") as errors:
            self._process = subprocess.Popen(
                [_BIN / "crosscam", "run", site, "-o", out, "--tracks", "--json"],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    @property
    def alive(self) -> bool:
        """Whether it goes on."""
        return self._process.poll() is None

    def records(self, since_ns: int | None = None) -> list[Record]:
        """Return what it has told since it began, or since a time; half lines do not count yet."""
        since = self.began_ns if since_ns is None else since_ns
        return [each for each in read_lines(self.out)[0] if when(each) >= since]

    def pictures(self, camera: str, start_ns: int, end_ns: int) -> list[Record]:
        """Return the pictures of a time that were looked at."""
        return [
            each
            for each in self.records()
            if each["type"] == "tracks"
            and each["camera"] == camera
            and start_ns <= each["time_ns"] <= end_ns
        ]

    def arrived(self, camera: str, start_ns: int, end_ns: int) -> int:
        """Return how many pictures of a time arrived; those that nobody looked at count too."""
        found = [each["frame"] for each in self.pictures(camera, start_ns, end_ns)]
        return found[-1] - found[0] if found else 0

    def wait(self, cameras: Sequence[str], since_ns: int) -> dict[str, float]:
        """Wait for a picture of each camera since then; returns how long each took, seconds."""
        took: dict[str, float] = {}

        def all_there() -> bool:
            for each in self.records(since_ns):
                if each["type"] == "tracks":
                    took.setdefault(each["camera"], (each["time_ns"] - since_ns) / 1e9)
            return set(cameras) <= took.keys()

        wait_for(lambda: all_there() or not self.alive, f"pictures of {', '.join(cameras)}")
        if not self.alive:
            raise RuntimeError(f"crosscam run has ended:\n{self.log.read_text()[-3000:]}")
        return {camera: round(took[camera], 2) for camera in cameras}

    def told(self, camera: str, since_ns: int, end_ns: int) -> list[str]:
        """Return what `camera` records said of a time: states, and faults where there are any."""
        said = [
            each["state"] + (f" ({each['fault']})" if each["fault"] else "")
            for each in self.records()
            if each["type"] == "camera"
            and each["camera"] == camera
            and since_ns <= each["since_ns"] <= end_ns
        ]
        return [each for k, each in enumerate(said) if k == 0 or said[k - 1] != each]

    def kill(self) -> None:
        """As `kill -9`."""
        self._process.kill()
        self._process.wait()

    def end(self) -> Record:
        """End it as Ctrl-C does; returns its summary."""
        self._process.send_signal(signal.SIGINT)
        said, _ = self._process.communicate(timeout=60)
        if self._process.returncode != 0:
            raise RuntimeError(f"crosscam run failed:\n{self.log.read_text()[-3000:]}")
        summary: Record = json.loads(said)
        return summary


def when(record: Record) -> int:
    """Return when a record was true, UTC."""
    return int(record.get("time_ns") or record.get("since_ns") or 0)


def read_lines(out: Path) -> tuple[list[Record], int]:
    """Return the whole lines of all event files, oldest first, and how many are broken."""
    files = sorted(out.glob("events*.jsonl"), key=lambda f: f.stat().st_mtime_ns)
    found, broken = [], 0
    for file in files:
        *lines, rest = file.read_bytes().split(b"\n")
        broken += bool(rest)
        for line in lines:
            try:
                found.append(json.loads(line))
            except ValueError:
                broken += 1
    return found, broken


def name_of(record: Record) -> str:
    """Return what tells one event of an identity from all others."""
    return json.dumps({k: record[k] for k in ("kind", "time_ns", "global_id", "camera", "track")})


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


def track_ids(records: Sequence[Record]) -> set[tuple[str, int]]:
    """Return all tracks that were told."""
    return {
        (each["camera"], person["track"])
        for each in records
        if each["type"] == "tracks"
        for person in each["people"]
    }


def ids_of(records: Sequence[Record]) -> set[int]:
    """Return whose boxes were told."""
    return {
        person["global_id"]
        for each in records
        if each["type"] == "tracks"
        for person in each["people"]
        if person["global_id"]
    }
