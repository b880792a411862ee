"""How many cameras this machine holds at a rate: real runs, one camera more or less until it gives.

A site of simulated cameras is served over RTSP (`live_site.py`); of more cameras than it has, the
same videos come again under other names. A number of cameras is held when each of them is looked at
at least .95 times as often as asked for; the first seconds do not count. From a guess it goes up or
down by one camera; each run is kept in the result.

    python benchmarks/live_capacity.py --fps 2 5 10 --output benchmarks/results/live_capacity.json
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from live_site import NATIVE, Server, watch

from crosscam_edge.simulate import SiteConfig, simulate

_HELD = 0.95
_SETTLING_S = 15.0  # models are opened, cameras connected, rates found


def rates(out: Path, cameras: list[str], seconds: float) -> dict[str, float]:
    """Return how often each camera was looked at after the first seconds, pictures a second."""
    times: dict[str, list[int]] = {each: [] for each in cameras}
    for file in out.glob("events*.jsonl"):
        for line in file.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if record["type"] == "tracks":
                times[record["camera"]].append(record["time_ns"])
    first = min(each[0] for each in times.values() if each) + round(_SETTLING_S * 1e9)
    span_s = seconds - 2 * _SETTLING_S  # the first picture came later than the run began
    counted = {c: sum(first <= t < first + span_s * 1e9 for t in each) for c, each in times.items()}
    return {camera: round(count / span_s, 2) for camera, count in counted.items()}


def attempt(served: list[dict[str, Any]], work: Path, fps: float, seconds: float) -> dict[str, Any]:
    """Watch some cameras, and tell whether the machine holds them.

    Args:
        served: Of the site; as many as are to be watched.
        work: Gets the run's folder.
        fps: Pictures a second of each.
        seconds: How long.
    """
    site, out = work / "tried.yaml", work / "tried"
    site.write_text(yaml.safe_dump({"cameras": served}), encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    run = watch(site, out, fps, seconds)
    cameras = [each["id"] for each in served]
    found = rates(out, cameras, seconds)
    summary = run["summary"]["cameras"]
    return {
        "fps": fps,
        "cameras": len(cameras),
        "held": min(found.values()) >= _HELD * fps,
        "slowest": min(found.values()),
        "pictures_a_second": round(sum(found.values()), 1),
        "cpu_share": run["cpu_share"],
        "memory_mib": run["memory_mib"],
        "latency_p95_s": max(summary[each]["latency_s"]["p95"] for each in cameras),
        "paces": dict(Counter(summary[each]["pace"] for each in cameras)),
    }


def named(cameras: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Return so many cameras; when there are fewer they come again under other names."""
    turns = [divmod(k, len(cameras)) for k in range(count)]
    return [
        cameras[k] | ({"id": f"{cameras[k]['id']}-{turn + 1}"} if turn else {}) for turn, k in turns
    ]


def largest(cameras: list[dict[str, Any]], work: Path, fps: float, args: Any) -> list[Any]:
    """Look for the most cameras that are held at a rate; returns all that was tried."""
    tried: list[Any] = []
    held, given_up = 0, None
    count = max(1, round(args.pictures / fps))
    while count > 0 and held + 1 != given_up:
        tried.append(attempt(named(cameras, count), work, fps, args.seconds))
        print(json.dumps(tried[-1]), flush=True)
        if tried[-1]["held"]:
            held = count
        else:
            given_up = count
        count = held + 1 if tried[-1]["held"] else count - 1
    return tried


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cameras", type=int, default=8, help="that are simulated")
    parser.add_argument("--people", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each run")
    parser.add_argument("--fps", type=float, nargs="+", default=[2.0, 5.0, 10.0])
    parser.add_argument("--pictures", type=float, default=45.0, help="a second in all, a guess")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("build/live-site"))
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    folder = args.work / f"site-{args.cameras}-{args.people}-{args.seconds:g}-{args.seed}"
    if not (folder / "site.yaml").is_file():
        config = SiteConfig(
            people=args.people,
            cameras=args.cameras,
            seconds=args.seconds,
            seed=args.seed,
            fps=NATIVE,
        )
        simulate(config, folder)
    site = args.work / "served.yaml"
    site.unlink(missing_ok=True)
    server = Server(folder, site)
    table: list[Any] = []
    try:
        cameras = yaml.safe_load(site.read_text(encoding="utf-8"))["cameras"]
        for fps in args.fps:
            table += largest(cameras, args.work, fps, args)
            if args.output:
                args.output.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    finally:
        server.stop()


if __name__ == "__main__":
    main()
