"""One `crosscam run` of the benchmark of faults: started, killed, asked, and what it told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml
from chaos_site import BIN, free_port, name_of, wait_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from chaos_site import Record


class Figures(NamedTuple):
    """What a run has counted of one camera since the run began.

    Attributes:
        received: Pictures that came.
        dropped: Those that a newer one replaced before anybody looked at them.
        connections: Times that it was connected.
    """

    received: int
    dropped: int
    connections: int


class Used(NamedTuple):
    """What the process of a run takes of the machine.

    Attributes:
        memory_mib: Resident.
        threads: Of it.
        cpu_s: Processor time so far, seconds.
        log_bytes: Standard error so far.
    """

    memory_mib: float
    threads: int
    cpu_s: float
    log_bytes: int


class Run:
    """One `crosscam run`.

    Args:
        out: Its folder.
        cameras: Of its site file.
        live: Block `live` of its site file.
    """

    def __init__(
        self, out: Path, cameras: Sequence[Record], live: dict[str, Any] | None = None
    ) -> None:
        self.out, self._live = out, live
        self._site, self._port = out.with_suffix(".yaml"), free_port()
        self._lines = _Lines(out / "events.jsonl")
        self.log = out.with_suffix(".log")
        self._configure(cameras)
        with self.log.open("a") as errors:
            self._process = subprocess.Popen(
                [
                    *(BIN / "crosscam", "run", self._site, "-o", out, "--tracks", "--json"),
                    *("--listen", f"127.0.0.1:{self._port}"),
                ],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def _configure(self, cameras: Sequence[Record]) -> None:
        settings = {"detector": "motion", "embedder": "colour", "cameras": [*cameras]}
        part = self._site.with_suffix(".part")
        part.write_text(yaml.safe_dump(settings | ({"live": self._live} if self._live else {})))
        part.replace(self._site)

    def watch(self, cameras: Sequence[Record]) -> None:
        """Watch these cameras from now on."""
        self._configure(cameras)
        self._process.send_signal(signal.SIGHUP)

    @property
    def alive(self) -> bool:
        """Whether it goes on."""
        return self._process.poll() is None

    def lives(self) -> bool:
        """Return True while it goes on; raises `RuntimeError` when it has ended by itself."""
        if not self.alive:
            raise RuntimeError(f"crosscam run has ended:\n{self.log.read_text()[-3000:]}")
        return True

    def records(self, since_ns: int = 0) -> list[Record]:
        """Return what was told in its folder since a time; half lines do not count yet."""
        return [each for each in self._lines.read() if when(each) >= since_ns]

    def events(self, start_ns: int, end_ns: int) -> set[str]:
        """Return the names of what happened to identities in a time."""
        return {
            name_of(each)
            for each in self.records(start_ns)
            if each["type"] == "identity" and each["time_ns"] <= end_ns
        }

    def pictures(self, camera: str, start_ns: int) -> list[Record]:
        """Return the pictures since a time that were looked at."""
        return [
            each
            for each in self.records(start_ns)
            if each["type"] == "tracks" and each["camera"] == camera
        ]

    def wait(self, cameras: Sequence[str], since_ns: int) -> dict[str, float]:
        """Wait for a picture of each camera since then; returns how long each took, seconds."""
        took: dict[str, float] = {}

        def all_there() -> bool:
            for each in self.records(since_ns):
                if each["type"] == "tracks":
                    took.setdefault(each["camera"], (each["time_ns"] - since_ns) / 1e9)
            return set(cameras) <= took.keys()

        wait_for(lambda: self.lives() and all_there(), f"pictures of {', '.join(cameras)}")
        return {camera: round(took[camera], 2) for camera in cameras}

    def told(self, camera: str, since_ns: int, end_ns: int) -> list[str]:
        """Return what `camera` records said of a time: states, and faults where there are any."""
        said = [
            each["state"] + (f" ({each['fault']})" if each["fault"] else "")
            for each in self.records(since_ns)
            if each["type"] == "camera" and each["camera"] == camera and each["since_ns"] <= end_ns
        ]
        return [each for k, each in enumerate(said) if k == 0 or said[k - 1] != each]

    def figures(self, camera: str) -> Figures:
        """Ask the run what it has counted of a camera."""
        url = f"http://127.0.0.1:{self._port}/api/v1/cameras/{camera}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            found = json.load(answer)
        return Figures(**{each: found[each] for each in Figures._fields})

    def used(self) -> Used:
        """Return what its process takes; Linux."""
        pid = self._process.pid
        with open(f"/proc/{pid}/status") as file:
            status = dict(line.split(":", 1) for line in file)
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        memory = int(status["VmRSS"].split()[0]) / 1024
        return Used(memory, int(status["Threads"]), cpu_s, self.log.stat().st_size)

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


class _Lines:
    """The whole lines of a file that grows; each is read once."""

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, 0
        self._found: list[Record] = []

    def read(self) -> list[Record]:
        """Return all so far."""
        if self._path.is_file():
            with self._path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._at += len(whole)
            self._found += map(json.loads, whole.splitlines())
        return self._found


def when(record: Record) -> int:
    """Return when a record was true, UTC."""
    return int(record.get("time_ns") or record.get("since_ns") or 0)


def broken_lines(out: Path) -> int:
    """Return how many lines of the event files are not whole."""
    broken = 0
    for file in out.glob("events*.jsonl"):
        *lines, rest = file.read_bytes().split(b"\n")
        broken += bool(rest)
        for line in lines:
            try:
                json.loads(line)
            except ValueError:
                broken += 1
    return broken


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
