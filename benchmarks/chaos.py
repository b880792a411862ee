"""A live site in trouble: one fault after the other, and what each of them costs.

Simulates a small site, serves it with a real RTSP server in a process of its own, watches it with
`crosscam run` as users do, and then breaks things: the server, the network, a camera, its clock,
the broker, crosscam itself, the disk; and names it a hundred addresses where nothing is to be had.
Every camera is reached through a relay (`chaos_relay.py`), which loses packets (UDP, without `tc`),
falls silent or changes what it sends. Told of each fault:

* *recovery*: from its end to the first picture of the camera that was hit, or to the first message
  of a broker, seconds;
* *events lost*: what happened to identities from its begin until the recovery, by `events.jsonl`,
  and was not heard at the broker, and how many there were; *duplicates* were heard again;
* *frames of others lost*: pictures that were sent by cameras that were not hit and that `crosscam`
  did not receive; *skipped* are those that it received and had no time for. Both also in as long a
  time before, without a fault;
* *told*: states and faults of the camera that was hit, in `camera` records.

All faults take about eight minutes on two cores::

    python benchmarks/chaos.py --output benchmarks/results/chaos.json --table chaos.md
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from chaos_addresses import bad_addresses
from chaos_ends import disk_full, run_killed
from chaos_faults import (
    Faults,
    broker_killed,
    camera_frozen,
    clock_jumps,
    codec_changed,
    packets_lost,
    resolution_changed,
    server_killed,
)
from chaos_site import Broker, Record, Setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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
        bad_addresses,
    )
}
"""In this order: the last ones end the run that the first ones share."""
_COLUMNS = {
    "recovery_s": "recovery, s",
    "events": "events",
    "events_lost": "events lost",
    "duplicates": "duplicates",
    "others_lost": "frames of others lost",
    "others_lost_before": "without the fault",
    "others_skipped": "skipped",
    "others_skipped_before": "without the fault",
}


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


def environment() -> Record:
    """Return where and with what this was measured."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "processors": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "crosscam": version("crosscam"),
        "av": version("av"),
        "load_before": round(os.getloadavg()[0], 2),
    }


def table(found: Record) -> str:
    """Return all that was found as Markdown."""
    where, how = found["environment"], found["setting"]
    text = f"{where['processors']} processors, {where['system']}, Python {where['python']}; "
    text += f"{how['cameras']} cameras, each fault for {how['hold_s']:g} s.\n\n"
    text += f"| fault | {' | '.join(_COLUMNS.values())} | told |\n"
    text += "|---" * (len(_COLUMNS) + 2) + "|\n"
    rest = ""
    for record in found["faults"].values():
        cells = [record.get(each) for each in _COLUMNS]
        told = "; ".join(
            f"{name}: {', '.join(map(str, said))}" for name, said in record.get("told", {}).items()
        )
        shown = " | ".join("-" if each is None else str(each) for each in cells)
        if any(each is not None for each in cells):
            text += f"| {record['what']} | {shown} | {told or '-'} |\n"
        more = [f"{k} {v}" for k, v in record.items() if k not in (*_COLUMNS, "what", "told")]
        if more:
            rest += f"* {record['what']} {', '.join(more)}\n"
    return f"{text}\n{rest}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faults", nargs="*", choices=[*FAULTS, []], help="All if none is named.")
    parser.add_argument("--cameras", type=int, default=3, help="At least two.")
    parser.add_argument("--seconds", type=float, default=40.0, help="Length of the recordings.")
    parser.add_argument("--hold", type=float, default=6.0, help="How long a fault lasts, seconds.")
    parser.add_argument("--work", type=Path, default=Path("build/chaos"))
    parser.add_argument("--output", type=Path, help="JSON.")
    parser.add_argument("--table", type=Path, help="Markdown.")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    setting = Setting.make(args.work.resolve(), args.hold, args.cameras, args.seconds)
    found: Record = {
        "environment": environment(),
        "setting": {"cameras": args.cameras, "seconds": args.seconds, "hold_s": args.hold},
        "faults": {},
    }
    for name, record in chaos(setting, args.faults or [*FAULTS]):
        found["faults"][name] = record
        print(json.dumps({name: record}), flush=True)
        if args.output:
            args.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        if args.table:
            args.table.write_text(table(found), encoding="utf-8")


if __name__ == "__main__":
    main()
