"""A live site in trouble: one fault after the other, and what each of them costs.

Simulates a small site, serves it with a real RTSP server in a process of its own, watches it with
`crosscam run` as users do, and then breaks things: the server, the network, a camera, its clock,
the broker, crosscam itself, the disk. Every camera is reached through a relay (`chaos_relay.py`),
which loses packets (UDP, without `tc`), falls silent or changes what it sends. Told of each fault:

* *recovery*: from its end to the first picture of the camera that was hit, seconds;
* *others' frames lost*: pictures that the other cameras should have sent meanwhile, by their own
  rate in as long a time before, and that did not arrive;
* *events lost*: records dropped, half written, or not delivered although that is promised;
* *told*: states and faults of the camera in `camera` records.

    python benchmarks/chaos.py --output chaos.json --table chaos.md
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos_relay import Relay
from chaos_site import (
    FPS,
    SETTLE_S,
    Broker,
    Record,
    Run,
    Server,
    Setting,
    ids_of,
    left_after,
    name_of,
    read_lines,
    since,
    track_ids,
    wait_for,
    when,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Faults:
    """A site that is watched, and the faults that one run goes through.

    Args:
        setting: Where.
        broker: Gets what happens.
    """

    def __init__(self, setting: Setting, broker: Broker | None) -> None:
        self.setting, self.broker = setting, broker
        self.server = Server(setting.folder)
        self.server.start()
        self.relays = {
            name: Relay(self.server.port, f"videos/{name}.mp4", seed)
            for seed, name in enumerate(setting.cameras)
        }
        self.cameras: list[dict[str, Any]] = [
            {"id": name, "url": relay.url} for name, relay in self.relays.items()
        ]
        self.cameras[1]["transport"] = "udp"
        self.live = {"mqtt": {"host": "127.0.0.1", "port": broker.port}} if broker else None
        self.out = setting.work / "out"
        shutil.rmtree(self.out, ignore_errors=True)
        self.run = self.watch(self.out)

    def watch(self, out: Path, more: Sequence[dict[str, Any]] = ()) -> Run:
        """Begin a run, and wait until it sees all good cameras."""
        run = Run(out, [*self.cameras, *more], self.live)
        run.wait(self.setting.cameras, run.began_ns)
        return run

    def close(self) -> None:
        """End everything."""
        if self.run.alive:
            self.run.kill()
        for each in self.relays.values():
            each.close()
        self.server.kill()

    def one(self, hit: Sequence[str], begin: Callable[[], None], end: Callable[[], None]) -> Record:
        """Let a fault happen to some cameras, and measure it."""
        hold_s, run = self.setting.hold_s, self.run
        others = [each for each in self.setting.cameras if each not in hit]
        time.sleep(hold_s)  # what the others send without a fault
        start_ns = time.time_ns()
        begin()
        time.sleep(hold_s)
        end()
        end_ns = time.time_ns()
        recovery = run.wait(self.setting.cameras, end_ns)
        time.sleep(SETTLE_S)
        before_ns = start_ns - round(hold_s * 1e9)
        lost = 0.0
        for each in others:
            rate = run.arrived(each, before_ns, start_ns) / (start_ns - before_ns)
            lost += max(0.0, rate * (end_ns - start_ns) - run.arrived(each, start_ns, end_ns))
        return {
            "recovery_s": max((recovery[each] for each in hit), default=None),
            "others_frames_lost": round(lost, 1) if others else None,
            "told": {each: run.told(each, start_ns, time.time_ns()) for each in hit},
        }


def server_killed(f: Faults) -> Record:
    """The RTSP server is killed, and started again."""
    return f.one(f.setting.cameras, f.server.kill, f.server.start)


def packets_lost(f: Faults) -> Record:
    """5 % of the packets of a camera over UDP do not arrive."""
    name = f.setting.cameras[1]
    relay = f.relays[name]
    lost, passed = relay.lost, relay.passed
    found = f.one([name], lambda: setattr(relay, "loss", 0.05), lambda: setattr(relay, "loss", 0.0))
    lost, passed = relay.lost - lost, relay.passed - passed
    return {**found, "packets_lost": lost, "packets": lost + passed}


def camera_frozen(f: Faults) -> Record:
    """A camera says nothing any more; it accepts connections."""
    name = f.setting.cameras[0]
    relay = f.relays[name]
    return f.one(
        [name], lambda: setattr(relay, "frozen", True), lambda: setattr(relay, "frozen", False)
    )


def resolution_changed(f: Faults) -> Record:
    """A camera sends another resolution in the middle of a stream, and the first one again."""
    name = f.setting.cameras[0]
    relay = f.relays[name]
    found = f.one(
        [name],
        lambda: relay.change("videos/wide.mp4"),
        lambda: relay.change(f"videos/{name}.mp4"),
    )
    sizes = [
        each["size"]
        for each in f.run.records()
        if each["type"] == "camera" and each["camera"] == name and each["size"]
    ]
    return {**found, "sizes_told": [s for k, s in enumerate(sizes) if k == 0 or sizes[k - 1] != s]}


def codec_changed(f: Faults) -> Record:
    """A camera hangs up, and sends H.265 from then on; later H.264 again."""
    name = f.setting.cameras[0]
    relay = f.relays[name]

    def send(video: str) -> None:
        relay.video = video
        relay.hang_up()

    return f.one([name], lambda: send("videos/h265.mp4"), lambda: send(f"videos/{name}.mp4"))


def clock_jumps(f: Faults) -> Record:
    """The clock of a camera jumps an hour ahead, and back."""
    name = f.setting.cameras[0]
    relay = f.relays[name]
    begun = time.time_ns()
    found = f.one(
        [name], lambda: setattr(relay, "shift_s", 3600.0), lambda: setattr(relay, "shift_s", 0.0)
    )
    times = [each["time_ns"] for each in f.run.pictures(name, begun, 2**63)]
    now = time.time_ns()
    return {
        **found,
        "times_that_do_not_grow": sum(b <= a for a, b in pairwise(times)),
        "times_off_s": round(max(0.0, *((each - now) / 1e9 for each in times)), 2),
    }


def broker_killed(f: Faults) -> Record:
    """The MQTT broker is killed, and started again."""
    assert f.broker is not None
    begun = time.time_ns()
    found = f.one([], f.broker.kill, f.broker.start)
    ended = time.time_ns()

    def missing() -> set[str]:
        told = {
            name_of(each)
            for each in f.run.records(begun)
            if each["type"] == "identity" and each["time_ns"] <= ended
        }
        return told - f.broker.heard if f.broker else told

    return {**found, "events_lost": left_after(missing), "recovery_s": since(ended)}


def run_killed(f: Faults) -> Record:
    """`kill -9` of crosscam, and the same command again in the same folder; three times over."""
    reused: set[int] = set()
    tracks: set[tuple[str, int]] = set()
    resumed, recovery, sound = [], [], True
    for _ in range(3):
        time.sleep(f.setting.hold_s)
        f.run.kill()
        before = read_lines(f.out)[0]
        with closing(sqlite3.connect(f.out / "gallery.db")) as gallery:
            sound &= gallery.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        start_ns = time.time_ns()
        f.run = f.watch(f.out)
        recovery.append(max(f.run.wait(f.setting.cameras, start_ns).values()))
        time.sleep(f.setting.hold_s)
        after = f.run.records()
        known = {each["global_id"] for each in before if each["type"] == "identity"}
        if f.broker is not None:
            known |= {json.loads(each)["global_id"] for each in f.broker.heard
                      if json.loads(each)["time_ns"] < start_ns}  # fmt: skip
        new = {each["global_id"] for each in after
               if each["type"] == "identity" and each["kind"] == "new"}  # fmt: skip
        reused |= new & known
        tracks |= track_ids(before) & track_ids(after)
        resumed.append(bool(known & ids_of(after)))
    return {
        "recovery_s": max(recovery),
        "others_frames_lost": None,
        "broken_lines": read_lines(f.out)[1],
        "gallery_sound": sound,
        "ids_given_twice": sorted(reused),
        "tracks_given_twice": sorted(tracks),
        "identities_resumed": all(resumed),
    }


def disk_full(f: Faults) -> Record:
    """The disk of the run is full for a while; a small file system in memory stands for it."""
    f.run.end()
    small = f.setting.work / "small"
    small.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        return {"skipped": "no permission to mount a small file system"}
    try:
        f.run = f.watch(small / "out")
        filler = small / "filler"

        def fill() -> None:
            with filler.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    return

        begun = time.time_ns()
        found = f.one([], fill, filler.unlink)
        ended = time.time_ns()
        time.sleep(3)
        missing = None
        if f.broker is not None:
            broker = f.broker
            told = {name_of(e) for e in f.run.records(begun) if e["type"] == "identity"}
            missing = left_after(lambda: told - broker.heard)
        alive = f.run.alive
        written_again = any(when(each) > ended for each in f.run.records())
        summary = f.run.end()
        lines = summary["outputs"]["events.jsonl"]
        with closing(sqlite3.connect(small / "out" / "gallery.db")) as gallery:
            sound = gallery.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {
            **found,
            "others_frames_lost": None,  # they are counted by lines, of which the disk took none
            "alive": alive,
            "written_again": written_again,
            "lines_dropped_and_counted": lines["dropped"],
            "broken_lines": read_lines(small / "out")[1],
            "gallery_sound": sound,
            "events_lost": missing,
        }
    finally:
        if f.run.alive:
            f.run.kill()
        subprocess.run(["umount", str(small)], check=False)


def bad_urls(f: Faults) -> Record:
    """100 addresses where nothing is to be had, beside the good ones."""
    if f.run.alive:
        f.run.end()
    with ExitStack() as opened:
        silent = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=200))
        port = silent.getsockname()[1]
        kinds = {
            "refused": "rtsp://127.0.0.1:1/{}",
            "not_found": f"rtsp://127.0.0.1:{f.server.port}/none/{{}}.mp4",
            "unreachable": "rtsp://no-such-host-{}.invalid/x",
            "timeout": f"rtsp://127.0.0.1:{port}/{{}}",
        }
        bad = [
            {"id": f"{kind}{k}", "url": url.format(k)}
            for kind, url in kinds.items()
            for k in range(25)
        ]
        begun = time.time_ns()
        f.run = f.watch(f.setting.work / "bad", bad)
        took = since(begun)

        def told() -> dict[str, dict[str, int]]:
            out: dict[str, dict[str, int]] = {kind: {} for kind in kinds}
            last = {e["camera"]: e for e in f.run.records()
                    if e["type"] == "camera" and e["fault"]}  # fmt: skip
            for each in last.values():
                kind = each["camera"].rstrip("0123456789")
                if kind in out:
                    out[kind][each["fault"]] = out[kind].get(each["fault"], 0) + 1
            return out

        wait_for(lambda: sum(sum(each.values()) for each in told().values()) == 100, "all faults")
        time.sleep(SETTLE_S)
        rates = {}
        end_ns = time.time_ns() - round(SETTLE_S * 1e9)
        start_ns = end_ns - round(f.setting.hold_s * 1e9)
        for each in f.setting.cameras:
            rates[each] = f.run.arrived(each, start_ns, end_ns) / f.setting.hold_s
        lost = sum(max(0.0, FPS - rate) * f.setting.hold_s for rate in rates.values())
        found = told()
        f.run.end()
    return {"recovery_s": took, "others_frames_lost": round(lost, 1), "told": found}


FAULTS: dict[str, Callable[[Faults], Record]] = {
    each.__name__: each
    for each in (
        server_killed,
        packets_lost,
        camera_frozen,
        resolution_changed,
        codec_changed,
        clock_jumps,
        broker_killed,
        run_killed,
        disk_full,
        bad_urls,
    )
}
"""In this order: the last ones end the run that the first ones share."""


def chaos(setting: Setting, faults: Sequence[str]) -> Iterator[tuple[str, Record]]:
    """Let some faults happen; yields each with what came of it."""
    broker = None
    if shutil.which("mosquitto"):
        broker = Broker(setting.work)
    elif "broker_killed" in faults:
        sys.exit("mosquitto is not installed")
    site = Faults(setting, broker)
    try:
        for name, fault in FAULTS.items():
            if name in faults:
                yield name, {"what": (fault.__doc__ or "").strip(), **fault(site)}
        if site.run.alive:
            outputs = site.run.end()["outputs"]
            yield "in the end", {"what": "What the outputs say at the end.", **outputs}
    finally:
        site.close()
        if broker is not None:
            broker.close()


def table(found: dict[str, Record]) -> str:
    """Return it as Markdown."""
    rows = [
        "| fault | recovery, s | frames of others lost | what else | told |",
        "|---|---|---|---|---|",
    ]
    for record in found.values():
        shown = ("what", "recovery_s", "others_frames_lost", "told")
        more = "; ".join(f"{k}: {v}" for k, v in record.items() if k not in shown)
        told = "; ".join(
            f"{k}: {', '.join(v) if isinstance(v, list) else v}"
            for k, v in record.get("told", {}).items()
        )
        cells = (record["what"], record.get("recovery_s"), record.get("others_frames_lost"))
        shown_cells = ["-" if each is None else str(each) for each in cells]
        rows.append(f"| {' | '.join(shown_cells)} | {more or '-'} | {told or '-'} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faults", nargs="*", choices=[*FAULTS, []], help="All if none is named.")
    parser.add_argument("--cameras", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=40.0, help="Length of the recordings.")
    parser.add_argument("--hold", type=float, default=6.0, help="How long a fault lasts, seconds.")
    parser.add_argument("--work", type=Path, default=Path("build/chaos"))
    parser.add_argument("--output", type=Path, help="JSON.")
    parser.add_argument("--table", type=Path, help="Markdown.")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    setting = Setting.make(args.work.resolve(), args.hold, args.cameras, args.seconds)
    found: dict[str, Record] = {}
    for name, record in chaos(setting, args.faults or [*FAULTS]):
        found[name] = record
        print(json.dumps({name: record}), flush=True)
        if args.output:
            args.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        if args.table:
            args.table.write_text(table(found), encoding="utf-8")


if __name__ == "__main__":
    main()
