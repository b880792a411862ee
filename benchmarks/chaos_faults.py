"""A site that is watched, how a fault is measured in it, and faults of cameras and the network.

Pictures of other cameras are counted where they are sent and where they arrive: `chaos_relay.py`
counts what it passed on, the run's own figures what it received. What is sent and not received is
lost, and nothing else is: a picture under way arrives within the second for which both are asked.
"Skipped" are those that arrived and were replaced by a newer one before they were looked at, which
is what a machine with too little time does. Both are counted without a fault too, in as long a
time before.
"""

from __future__ import annotations

import shutil
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from chaos_relay import Relay
from chaos_run import Run
from chaos_site import Server, left_after, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from chaos_site import Broker, Record, Setting

SETTLE_S = 1.5  # records are up to a second late
_COUNT_S = 1.0


class Count(NamedTuple):
    """Pictures of one camera until now.

    Attributes:
        missing: Sent and not received; from an offset that stays.
        skipped: Received, and replaced by a newer one.
        connections: Times that the camera was connected.
    """

    missing: int
    skipped: int
    connections: int


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

    def watch(self, out: Path) -> Run:
        """Begin a run, and wait until it sees all cameras."""
        began_ns = time.time_ns()
        run = Run(out, self.cameras, self.live)
        run.wait(self.setting.cameras, began_ns)
        return run

    def close(self) -> None:
        """End everything."""
        if self.run.alive:
            self.run.kill()
        for each in self.relays.values():
            each.close()
        self.server.kill()

    def count(self, cameras: Sequence[str]) -> dict[str, Count]:
        """Count the pictures of cameras; takes a second."""
        found: dict[str, Count] = {}

        def ask() -> None:
            for each in cameras:
                sent = self.relays[each].pictures
                got = self.run.figures(each)
                if self.relays[each].pictures != sent:
                    continue  # one was sent while the run was asked
                missing = sent - got.received
                if each in found:
                    missing = min(missing, found[each].missing)  # else one is under way
                found[each] = Count(missing, got.dropped, got.connections)

        ends = time.monotonic() + _COUNT_S

        def is_over() -> bool:
            ask()
            return time.monotonic() > ends and found.keys() >= set(cameras)

        wait_for(is_over, "pictures to be counted")
        return found

    def one(self, hit: Sequence[str], begin: Callable[[], None], end: Callable[[], None]) -> Record:
        """Let a fault happen to some cameras, and measure it."""
        hold_s, run = self.setting.hold_s, self.run
        others = [each for each in self.setting.cameras if each not in hit]
        first = self.count(others)
        time.sleep(hold_s + SETTLE_S)
        calm = self.count(others)
        repeated = self.broker.repeated if self.broker else 0
        start_ns = time.time_ns()
        begin()
        time.sleep(hold_s)
        end()
        end_ns = time.time_ns()
        recovery = run.wait(self.setting.cameras, end_ns)
        time.sleep(SETTLE_S)
        found: Record = {"recovery_s": max((recovery[each] for each in hit), default=None)}
        found |= between(first, calm, self.count(others))
        found |= self.delivered(start_ns, time.time_ns())
        if self.broker:
            found["duplicates"] = self.broker.repeated - repeated
        found["told"] = {each: run.told(each, start_ns, time.time_ns()) for each in hit}
        return found

    def delivered(self, start_ns: int, end_ns: int) -> Record:
        """Wait for what happened in a time to be heard at the broker; count what is not."""
        broker = self.broker
        if broker is None:
            return {"events": None, "events_lost": None}
        events = self.run.events(start_ns, end_ns)
        return {"events": len(events), "events_lost": left_after(lambda: events - broker.heard())}


def between(first: dict[str, Count], calm: dict[str, Count], after: dict[str, Count]) -> Record:
    """Return what other cameras lost by a fault, and in the time before it.

    Args:
        first: Counts before that time.
        calm: Counts after it, before the fault.
        after: Counts after the fault.
    """
    if not first:
        return {"others_lost": None}

    def grown(a: dict[str, Count], b: dict[str, Count], field: str) -> int:
        return sum(max(0, getattr(b[each], field) - getattr(a[each], field)) for each in a)

    return {
        "others_lost": grown(calm, after, "missing"),
        "others_lost_before": grown(first, calm, "missing"),
        "others_skipped": grown(calm, after, "skipped"),
        "others_skipped_before": grown(first, calm, "skipped"),
        "others_reconnected": grown(calm, after, "connections"),
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
    before = len(f.run.records())
    found = f.one(
        [name],
        lambda: relay.change("videos/wide.mp4"),
        lambda: relay.change(f"videos/{name}.mp4"),
    )
    sizes = [
        each["size"]
        for each in f.run.records()[before:]
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
    times = [each["time_ns"] for each in f.run.pictures(name, begun)]
    now = time.time_ns()
    return {
        **found,
        "times_that_do_not_grow": sum(b <= a for a, b in pairwise(times)),
        "times_off_s": round(max(0.0, *((each - now) / 1e9 for each in times)), 2),
    }


def broker_killed(f: Faults) -> Record:
    """The MQTT broker is killed, and started again."""
    broker = f.broker
    if broker is None:
        return {"skipped": "mosquitto is not installed"}
    back_ns = 0

    def start() -> None:
        nonlocal back_ns
        back_ns = time.time_ns()
        broker.start()

    found = f.one([], broker.kill, start)
    wait_for(lambda: broker.last_ns > back_ns, "a message after the break")
    return {**found, "recovery_s": round((broker.first_after(back_ns) - back_ns) / 1e9, 2)}
