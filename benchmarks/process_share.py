"""Share of `crosscam process` that is neither model inference nor decoding.

Whole commands are measured, from the start of the process to its end: imports, opening the models,
tracking, association, and writing the tables are all in it. Nothing is drawn (``--no-video
--no-report --no-crops``). Two shares, for stages overlap in threads:

* ``wall``: part of the wall time in which no inference and no decode call was under way in any
  thread (what is outside of the union of their intervals);
* ``cpu``: part of the CPU seconds that was spent neither inside such calls nor in the threads that
  the engines keep for their own. The engines' work while models are opened is not inference.

Inference is the call of the engine alone: resizing pictures for it, cutting crops and decoding its
answers count as other work. Decoding is what yields the next picture, conversion to BGR included.
Threads of libraries that cannot be told to be an engine's count as other work. Modules are compiled
before, as after anyone's first run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bytecode import compiled_env

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS = {
    "yolox-nano + 0277": ("yolox-nano", "person-reidentification-retail-0277"),
    "yolov8n-int8 + osnet-x0.25": ("yolov8n_int8", "osnet_x0_25_msmt17"),
}
VIDEOS = ("vtest.avi", "people-detection.264")
_SETTLED = 64  # calls after which an engine has all its threads


def _union(intervals: list[tuple[float, float]]) -> float:
    """Return the seconds that are covered by at least one interval."""
    total, reach = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reach))
        reach = max(reach, end)
    return total


class _Engines:
    """CPU seconds of the threads that engines keep, as far as Python can tell them apart."""

    def __init__(self) -> None:
        self._foreign = set(os.listdir("/proc/self/task"))  # of numpy, OpenCV, Arrow
        self._opened: dict[str, float] = {}
        self._threads: set[str] = set()
        self._seen = 0

    def opened(self) -> None:
        """Models are open: what their threads did until now was no inference."""
        self.look()
        self._opened = {thread: self._cpu(thread) for thread in self._threads}

    def look(self) -> None:
        """Look for new threads (called by every early inference)."""
        self._seen += 1
        if self._seen > _SETTLED:
            return
        there = set(os.listdir("/proc/self/task"))
        python = {str(thread.native_id) for thread in threading.enumerate()}
        self._threads |= there - python - self._foreign

    def seconds(self) -> float:
        """Return the CPU seconds since the models were opened."""
        return sum(self._cpu(t) - self._opened.get(t, 0.0) for t in self._threads)

    def _cpu(self, thread: str) -> float:
        try:
            fields = Path(f"/proc/self/task/{thread}/schedstat").read_text().split()
        except FileNotFoundError:
            return 0.0
        return int(fields[0]) / 1e9


def _child(report: Path, words: list[str]) -> None:
    """Run the command in this process and note when and where it inferred and decoded."""
    from crosscam_deploy.runtime.base import PooledRuntime
    from crosscam_edge.cli import main as crosscam
    from crosscam_edge.offline import opening
    from crosscam_edge.timers import StageTimers

    calls: dict[str, list[tuple[float, float, float]]] = {"inference": [], "decode": []}
    marks: dict[str, tuple[float, float]] = {}
    engines = _Engines()
    engine_cpu = 0.0

    @contextmanager
    def noted(kind: str) -> Iterator[None]:
        marks.setdefault("first", (time.perf_counter(), time.process_time()))
        cpu, start = time.thread_time(), time.perf_counter()
        try:
            yield
        finally:
            calls[kind].append((start, time.perf_counter(), time.thread_time() - cpu))

    infer, close = PooledRuntime.infer, PooledRuntime.close
    measure, choose = StageTimers.measure, opening.choose_embedder

    def noted_infer(self: PooledRuntime, batch: Any) -> Any:
        with noted("inference"):
            out = infer(self, batch)
        engines.look()
        return out

    @contextmanager
    def noted_measure(self: StageTimers, stage: str) -> Iterator[None]:
        if stage != "decode":
            with measure(self, stage):
                yield
            return
        with measure(self, stage), noted("decode"):
            yield

    def noted_choose(*args: Any, **named: Any) -> Any:
        out = choose(*args, **named)  # the second of the two models
        engines.opened()
        return out

    def noted_close(self: PooledRuntime) -> None:
        nonlocal engine_cpu
        if engine_cpu == 0.0:
            engine_cpu = engines.seconds()
        close(self)

    PooledRuntime.infer, PooledRuntime.close = noted_infer, noted_close  # type: ignore[method-assign]
    StageTimers.measure = noted_measure  # type: ignore[method-assign]
    opening.choose_embedder = noted_choose  # type: ignore[attr-defined]
    try:
        crosscam(["process", *words])
    finally:
        note = {"calls": calls, "engine_cpu": engine_cpu, "first": marks["first"]}
        report.write_text(json.dumps(note))


def _measure(words: list[str], scratch: Path, env: dict[str, str]) -> dict[str, Any]:
    """Run one command and return its shares."""
    report, out = scratch / "report.json", scratch / "out"
    command = [sys.executable, str(Path(__file__).resolve()), "--child", str(report), "--"]
    command += [*words, "-o", str(out), "--overwrite", "--json"]
    command += ["--no-video", "--no-report", "--no-crops"]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    end, after = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    wall = end - start
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    note = json.loads(report.read_text())
    figures = json.loads((out / "run.json").read_text())["figures"]
    calls = {kind: [(a, b) for a, b, _ in rows] for kind, rows in note["calls"].items()}
    inside = {kind: sum(c for _, _, c in rows) for kind, rows in note["calls"].items()}
    busy = [span for spans in calls.values() for span in spans]
    first, last = min(a for a, _ in busy), max(b for _, b in busy)
    idle = wall - _union(busy)
    other = cpu - inside["inference"] - inside["decode"] - note["engine_cpu"]
    return {
        "frames": figures["frames"],
        "wall_seconds": wall,
        "wall_share": idle / wall,
        "wall_other_seconds": idle,
        # of these before the first such call, between, and after the last
        "wall_before_seconds": first - start,
        "wall_between_seconds": idle - (first - start) - (end - last),
        "wall_after_seconds": end - last,
        "wall_no_inference_share": (wall - _union(calls["inference"])) / wall,
        "cpu_seconds": cpu,
        "cpu_share": other / cpu,
        "cpu_other_seconds": other,
        "cpu_before_seconds": note["first"][1],
        "cpu_inference_seconds": inside["inference"] + note["engine_cpu"],
        "cpu_decode_seconds": inside["decode"],
        "stage_seconds": figures["stage_seconds"],
    }


def _median(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the run of the median share of wall time, with the shares of all."""
    middle = statistics.median_low(row["wall_share"] for row in rows)
    row = next(row for row in rows if row["wall_share"] == middle)
    shares = {f"{kind}_shares": [r[f"{kind}_share"] for r in rows] for kind in ("wall", "cpu")}
    return row | shares


def _tell(name: str, row: dict[str, Any]) -> None:
    print(
        f"{name}: {row['wall_seconds']:.1f} s, neither inference nor decode "
        f"{row['wall_share']:.1%} of wall time, {row['cpu_share']:.1%} of CPU time",
        flush=True,
    )


def run(assets: Path, repeats: int) -> dict[str, Any]:
    """Measure every pair of models on every video; the run of the median share is kept."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        env = compiled_env(scratch / "bytecode") | {"CROSSCAM_MODELS": str(assets / "models")}
        for models, (detector, embedder) in MODELS.items():
            chosen = ["--detector", detector, "--embedder", embedder]
            # compiles modules and finds out what is found out once about a model
            _measure([str(assets / "videos" / VIDEOS[-1]), "--fps", "1", *chosen], scratch, env)
            for name in VIDEOS:
                words = [str(assets / "videos" / name), *chosen]
                results[f"{models}, {name}"] = _median(
                    [_measure(words, scratch, env) for _ in range(repeats)]
                )
                _tell(f"{models}, {name}", results[f"{models}, {name}"])
    return results


def main() -> None:
    """Parse the command line, run, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", type=Path, default=os.environ.get("CROSSCAM_ASSETS"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        _child(args.child, args.words)
        return
    if args.assets is None:
        parser.error("--assets or CROSSCAM_ASSETS must name a folder with models/ and videos/")
    load = os.getloadavg()[0]
    results = run(Path(args.assets), args.repeats)
    environment = {
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": load,
        "python": platform.python_version(),
    }
    if args.output:
        text = json.dumps({"environment": environment, "results": results}, indent=2)
        args.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
