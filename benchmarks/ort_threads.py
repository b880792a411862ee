"""How ONNX Runtime's threads should wait: spin always, only while a batch runs, or sleep.

A thread that spins is there at once for the next operator, and takes a core while it waits. One
that sleeps must be woken, once for each operator that is shared out. What is better depends on the
model, the batch and what else the box does, so it is measured with and without other work: threads
that decode nothing but keep a core busy half of the time, as decoding does.

Answers are compared before anything is timed. Ways take turns, and ratios are taken inside a round,
between neighbours in time. Nothing else should run on the machine.

    python benchmarks/ort_threads.py crosscam-reid crosscam-detector --batch 1 --batch 8
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from crosscam_deploy.bundle import Bundle
from crosscam_deploy.runtime.onnxruntime_engine import session_options, usable_cores
from crosscam_deploy.zoo import resolve

SPIN, STOP = "session.intra_op.allow_spinning", "session.force_spinning_stop"
WAYS: dict[str, dict[str, str]] = {
    "sleep": {SPIN: "0", STOP: "0"},
    "spin while it runs": {SPIN: "1", STOP: "1"},
    "spin": {SPIN: "1", STOP: "0"},
}
FIRST = "sleep"  # what crosscam does; ratios are told against it
TOLERANCE = 1e-4  # of the largest number
HALF_BUSY = """
import time
while True:
    end = time.perf_counter() + 0.02
    while time.perf_counter() < end:
        pass
    time.sleep(0.02)
"""


class Turn(NamedTuple):
    """Milliseconds of a call, and of the processor for it, each the median of a turn."""

    ms: float
    cpu_ms: float


def opened(bundle: Bundle, settings: dict[str, str], threads: int) -> Any:
    import onnxruntime as ort

    options = session_options(threads=threads)
    for key, value in settings.items():
        options.add_session_config_entry(key, value)
    path = str(bundle.model_path)
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def turn(session: Any, feeds: dict[str, Any], seconds: float) -> Turn:
    session.run(None, feeds)
    took, busy, began = [], time.process_time(), time.perf_counter()
    while time.perf_counter() - began < seconds or len(took) < 5:
        start = time.perf_counter()
        session.run(None, feeds)
        took.append(time.perf_counter() - start)
    return Turn(1e3 * float(np.median(took)), 1e3 * (time.process_time() - busy) / len(took))


def compare(
    bundle: Bundle, batch: int, threads: int, rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """Time all ways on one batch size; the answers of all must be the same."""
    prep = bundle.manifest.preprocessing
    images = np.random.default_rng(0).normal(size=(batch, 3, prep.height, prep.width))
    feeds = {bundle.manifest.input_name: images.astype(np.float32)}
    sessions = {way: opened(bundle, settings, threads) for way, settings in WAYS.items()}
    answers = {way: session.run(None, feeds) for way, session in sessions.items()}
    for way, found in answers.items():
        for mine, first in zip(found, answers[FIRST], strict=True):
            worst = float(np.abs(mine - first).max() / (np.abs(first).max() or 1))
            assert worst <= TOLERANCE, f"{way} answers something else: {worst}"
    turns: dict[str, list[Turn]] = {way: [] for way in WAYS}
    order = list(WAYS)
    for number in range(rounds):
        for k in range(len(order)):
            way = order[(k + number) % len(order)]
            time.sleep(0.05)  # threads of the one before may still be spinning
            turns[way].append(turn(sessions[way], feeds, seconds))
    rows = []
    for way, found in turns.items():
        ratios = [first.ms / mine.ms for mine, first in zip(found, turns[FIRST], strict=True)]
        rows.append(
            {
                "model": bundle.manifest.name,
                "batch": batch,
                "way": way,
                "ms": float(np.median([each.ms for each in found])),
                "cpu_ms": float(np.median([each.cpu_ms for each in found])),
                "times_as_fast": float(np.median(ratios)),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--batch", type=int, action="append")
    parser.add_argument("--threads", type=int, default=0, help="0: one a core")
    parser.add_argument("--others", type=int, default=1, help="threads of other work, beside none")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.5, help="of a turn")
    parser.add_argument("--json", type=Path, help="also write the figures")
    args = parser.parse_args()
    threads, rows = args.threads or usable_cores(), []
    print(f"load before: {os.getloadavg()[0]:.1f}; {threads} threads")
    for others in sorted({0, args.others}):
        busy = [subprocess.Popen([sys.executable, "-c", HALF_BUSY]) for _ in range(others)]
        try:
            for name in args.models:
                for batch in args.batch or [1, 8]:
                    found = compare(resolve(name), batch, threads, args.rounds, args.seconds)
                    for row in found:
                        rows.append({"others": others, **row})
                        print(
                            f"{name:20} batch {batch:3} beside {others}: {row['way']:18} "
                            f"{row['ms']:8.2f} ms, {row['cpu_ms']:8.2f} ms of the processor, "
                            f"{row['times_as_fast']:.2f} x"
                        )
        finally:
            for process in busy:
                process.kill()
                process.wait()
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
