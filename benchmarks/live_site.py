"""A live site on this machine: cameras over RTSP, one `crosscam run`, and what came of it.

Simulates a site, serves its videos with a real RTSP server in a process of its own (which costs
processor time too, and is told apart), watches them with `crosscam run` for a while, and then
scores the boxes and ids of every picture that was looked at:

* *live*: ids as they are known in the end, after all corrections;
* *told at once*: ids as they stood in the record of each picture; none counts as missed;
* *process*: `crosscam process` on the recordings, on every k-th picture, as often as live looked
  on average.

Latency is from capture to result; memory is sampled once a second, and its slope is that of the
second half. Recordings begin again when they end; only the first time is scored. With `--fps` at
several rates it tells how many pictures this machine holds.

    python benchmarks/live_site.py --cameras 8 --seconds 600 --fps 2 5 10 \
        --output benchmarks/results/live_site.json
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from process_identities import brief

from crosscam_edge.config import load_config
from crosscam_edge.evaluate import evaluate_mtmc
from crosscam_edge.evaluate.load import load_cameras
from crosscam_edge.offline import ProcessOptions, process
from crosscam_edge.simulate import SiteConfig, simulate
from crosscam_edge.sinks.mot import MotSequence

_BIN = Path(sys.executable).parent
NATIVE = 10.0  # pictures a second of the recordings
Tracks = dict[str, MotSequence]


class Server:
    """Serves a simulated site over RTSP, each video over and over."""

    def __init__(self, folder: Path, site: Path) -> None:
        command = [_BIN / "crosscam", "simulate", "serve", folder, "--port", "0", "--site", site]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while not site.is_file():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise TimeoutError("the RTSP server did not start")
            time.sleep(0.1)

    def cpu_s(self) -> float:
        """Return the processor time that it has taken."""
        return cpu_s(self._process.pid)

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def cpu_s(pid: int) -> float:
    """Return processor time of a process in seconds, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """Return the memory of a process that is in use."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def watch(site: Path, out: Path, fps: float, seconds: float) -> dict[str, Any]:
    """Run `crosscam run`; returns its summary, its memory and its processor time."""
    command = [
        *(_BIN / "crosscam", "run", site, "-o", out, "--tracks", "--json"),
        *("--fps", str(fps), "--seconds", str(seconds)),
    ]
    log = out.with_suffix(".log")
    with log.open("w") as errors:
        running = subprocess.Popen(
            [str(each) for each in command], stdout=subprocess.PIPE, stderr=errors, text=True
        )
        memory, used, began = [], 0.0, time.monotonic()
        while running.poll() is None:
            try:
                used, mib = cpu_s(running.pid), resident_mib(running.pid)
            except (OSError, IndexError):
                break  # it has just ended
            if mib:  # what has ended and was not waited for has none
                memory.append((time.monotonic() - began, mib))
            if time.monotonic() - began > 2 * seconds + 120:
                running.send_signal(signal.SIGKILL)
            time.sleep(1)
        said, _ = running.communicate()
    if running.returncode != 0:
        sys.exit(f"crosscam run ended with {running.returncode}:\n{log.read_text()[-3000:]}")
    late = np.array([each for each in memory if each[0] > memory[-1][0] / 2])
    slope = float(np.polyfit(late[:, 0], late[:, 1], 1)[0]) if len(late) > 2 else float("nan")
    summary = json.loads(said)
    del summary["output"]  # where it is on this machine
    return {
        "summary": summary,
        "cpu_share": round(used / memory[-1][0], 3),
        "memory_mib": round(memory[-1][1], 1),
        "memory_mib_each_30_s": [round(mib) for _, mib in memory[::30]],
        "memory_mib_an_hour": round(3600 * slope, 1),
    }


def read(out: Path, frames: int) -> tuple[Tracks, Tracks, dict[str, np.ndarray]]:
    """Return boxes with final ids, with ids as told at once, and the frames that were looked at.

    Args:
        out: Folder of the run.
        frames: In a recording; a camera that began it again counts no further.
    """
    looked: dict[str, set[int]] = defaultdict(set)
    boxes: dict[str, list[tuple[int, int, int | None, list[float]]]] = defaultdict(list)
    owner: dict[tuple[str, int], int] = {}
    into: dict[int, int] = {}
    for file in sorted(out.glob("events*.jsonl"), key=lambda f: f.stat().st_mtime):
        for line in file.read_text().splitlines():
            record = json.loads(line)
            if record["type"] == "identity":
                if record["track"] is not None:
                    owner[record["camera"], record["track"]] = record["global_id"]
                if record["kind"] == "merged":
                    into[record["other_id"]] = record["global_id"]
            elif record["type"] == "tracks" and record["frame"] < frames:
                looked[record["camera"]].add(record["frame"])
                boxes[record["camera"]] += [
                    (record["frame"], each["track"], each["global_id"], each["xyxy"])
                    for each in record["people"]
                ]

    def final(camera: str, track: int) -> int | None:
        found = owner.get((camera, track))
        while found in into:
            found = into[found]
        return found

    resolved = {
        camera: sequence([(f, t, final(camera, t), b) for f, t, _, b in rows])
        for camera, rows in boxes.items()
    }
    at_once = {camera: sequence(rows) for camera, rows in boxes.items()}
    return resolved, at_once, {c: np.array(sorted(f), np.int64) for c, f in looked.items()}


def sequence(rows: list[tuple[int, int, int | None, list[float]]]) -> MotSequence:
    """Return the boxes that have an id; of two with one id in a picture the first."""
    best = {(f, i): (t, b) for f, t, i, b in reversed(rows) if i is not None}
    return MotSequence.of(
        np.array([f for f, _ in best], np.int64),
        np.array([i for _, i in best], np.int64),
        np.array([b for _, b in best.values()], np.float64),
        track_id=np.array([t for t, _ in best.values()], np.int64),
    )


def only(tracks: Tracks, frames: dict[str, np.ndarray]) -> Tracks:
    """Return what is in some frames of each camera."""
    return {
        camera: each[np.isin(each.frame, frames.get(camera, np.zeros(0, np.int64)))]
        for camera, each in tracks.items()
    }


def measure(folder: Path, work: Path, fps: float, seconds: float) -> dict[str, Any]:
    """Watch a simulated site at one rate, and score it."""
    truth = load_cameras(folder, ground_truth=True).tracks
    last = max(int(each.frame.max()) for each in truth.values()) + 1
    site, out = work / f"live-{fps:g}.yaml", work / f"live-{fps:g}"
    site.unlink(missing_ok=True)
    shutil.rmtree(out, ignore_errors=True)  # a run goes on with what an older one knew
    server = Server(folder, site)
    try:
        run = watch(site, out, fps, seconds)
        run["server_cpu_share"] = round(server.cpu_s() / seconds, 3)
    finally:
        server.stop()
    resolved, at_once, looked = read(out, last)
    span = max(int(each.max()) for each in looked.values()) + 1
    rates = {camera: len(each) / span * NATIVE for camera, each in looked.items()}
    return {
        "fps_asked": fps,
        "fps": {camera: round(rate, 2) for camera, rate in sorted(rates.items())},
        **run,
        "live": brief(evaluate_mtmc(only(truth, looked), resolved)),
        "told at once": brief(evaluate_mtmc(only(truth, looked), at_once)),
        "process": offline(folder, work, float(np.mean(list(rates.values()))), truth),
    }


def offline(folder: Path, work: Path, fps: float, truth: Tracks) -> dict[str, Any]:
    """Process the recordings about as often as live looked, and score what was looked at."""
    step = max(1, round(NATIVE / fps))
    settings = load_config(folder / "site.yaml")
    quiet = settings.outputs.model_copy(update={"video": False, "report": False, "crops": False})
    out = work / f"process-every-{step}"
    process(
        [],
        out,
        settings.model_copy(update={"outputs": quiet, "process_fps": NATIVE / step}),
        options=ProcessOptions(overwrite=True),
    )
    last = max(int(each.frame.max()) for each in truth.values()) + 1
    looked = dict.fromkeys(truth, np.arange(0, last, step))
    found = only(load_cameras(out).tracks, looked)  # in between boxes are filled in
    return {"fps": NATIVE / step, **brief(evaluate_mtmc(only(truth, looked), found))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cameras", type=int, default=8)
    parser.add_argument("--people", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=600.0, help="that it is watched")
    parser.add_argument("--recorded", type=float, help="seconds of the recordings, if fewer")
    parser.add_argument("--fps", type=float, nargs="+", default=[2.0, 5.0, 10.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("build/live-site"))
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    recorded = args.recorded or args.seconds
    folder = args.work / f"site-{args.cameras}-{args.people}-{recorded:g}-{args.seed}"
    if not (folder / "site.yaml").is_file():
        config = SiteConfig(
            people=args.people,
            cameras=args.cameras,
            seconds=recorded,
            seed=args.seed,
            fps=NATIVE,
        )
        simulate(config, folder)
    table = []
    for fps in args.fps:
        table.append(measure(folder, args.work, fps, args.seconds))
        print(json.dumps(table[-1]), flush=True)
        if args.output:
            args.output.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
