"""The process in which one candidate lives: ``python -m crosscam_deploy.verify.probe``.

It reads one JSON request a line from standard input and answers each with one line on standard
output; `Worker` is the other end. Whatever an engine prints goes to standard error. It ends when
its input ends, so it never outlives who started it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.bundle import load_bundle
from crosscam_deploy.runtime import open_runtime
from crosscam_deploy.verify import memory
from crosscam_deploy.verify.answers import (
    Answers,
    Inputs,
    answers_to,
    difference,
    inputs_of,
    joined,
    spread,
)
from crosscam_deploy.verify.plain import PlainSession
from crosscam_deploy.verify.types import Candidate
from crosscam_kernels.errors import CrosscamError, RunError

if TYPE_CHECKING:
    from concurrent.futures import Future


class Probe:
    """A candidate, opened: answers questions about itself."""

    def __init__(self) -> None:
        self._engine: Any = None
        self._streams = 1
        self._kept: tuple[Inputs, Answers] | None = None
        self._spread = 0.0
        self._peak = 0

    def open(self, candidate: dict[str, Any]) -> dict[str, Any]:
        """Open the candidate; every file's hash is checked before an engine sees it."""
        asked = Candidate.model_validate(candidate)
        bundle = load_bundle(asked.bundle)
        self.bundle, self._streams = bundle, asked.streams
        began = time.perf_counter()
        if asked.runtime == "onnxruntime-plain":
            self._engine = PlainSession(bundle)
        else:
            self._engine = open_runtime(
                bundle,
                runtime=asked.runtime,
                precision=asked.precision,
                threads=asked.threads,
                streams=asked.streams,
                input_size=asked.input_size,
            )
        took = time.perf_counter() - began
        self._peak = memory.peak_bytes()
        memory.forget_peak()
        engine = getattr(self._engine, "engine", None)  # of TensorRT only
        return {
            "ms": took * 1e3,
            "precision": self._engine.precision,
            "engine": None if engine is None else str(engine.path),
        }

    def answer(self, files: str, out: str, batch: int, keep: int) -> dict[str, Any]:
        """Answer all pictures in order.

        Args:
            files: JSON file with the list of pictures.
            out: Where the answers go.
            batch: Pictures at a time.
            keep: So many, evenly spread, are kept prepared, with their answers, for `check`
                and `speed`.
        """
        paths = [Path(path) for path in json.loads(Path(files).read_text(encoding="utf-8"))]
        parts: list[Answers] = []
        for start in range(0, len(paths), batch):
            inputs = inputs_of(self.bundle, paths[start : start + batch], self._engine.input_size)
            parts.append(self._ask(inputs))
        answers = joined(parts)
        answers.save(Path(out))
        # Spread over all: a batch of other company shows whether pictures change each other.
        kept = np.linspace(0, len(paths) - 1, min(keep, len(paths))).round().astype(np.intp)
        inputs = inputs_of(self.bundle, [paths[k] for k in kept], self._engine.input_size)
        self._kept = inputs, answers.chosen(kept)
        self._spread = spread(answers)
        return {"pictures": len(paths)}

    def check(self, batch: int) -> dict[str, Any]:
        """Say whether a batch of this size gets the answers that its pictures got before."""
        inputs, expected = self._pictures(batch)
        return {"difference": self._changed(self._ask(inputs), expected)}

    def speed(self, batch: int, seconds: float, calls: int) -> dict[str, Any]:
        """Time one round: at least `seconds` and `calls`, after one call that is not counted.

        Returns:
            The milliseconds of each call, wall and processor seconds of all, and how the last
            answer differs from that of `answer`.
        """
        inputs, expected = self._pictures(batch)
        self._engine.infer(inputs.batch)
        busy, began = time.process_time(), time.perf_counter()
        if self._streams > 1:
            took, outputs = self._overlapping(inputs, seconds, calls)
        else:
            took, outputs = self._one_by_one(inputs, seconds, calls)
        wall, processor = time.perf_counter() - began, time.process_time() - busy
        return {
            "ms": [1e3 * each for each in took],
            "wall": wall,
            "processor": processor,
            "difference": self._changed(answers_to(self.bundle, inputs, outputs), expected),
        }

    def held(self) -> dict[str, Any]:
        """Return the most memory held: in all, and since the candidate was open."""
        now = memory.peak_bytes()
        return {"peak": max(self._peak, now), "running": now}

    def _pictures(self, batch: int) -> tuple[Inputs, Answers]:
        assert self._kept is not None, "answer() comes first"
        inputs, answers = self._kept
        return inputs.repeated(batch), answers.chosen(np.arange(batch) % len(answers))

    def _changed(self, now: Answers, before: Answers) -> str | None:
        return difference(now, before, self._spread)

    def _ask(self, inputs: Inputs) -> Answers:
        return answers_to(self.bundle, inputs, self._engine.infer(inputs.batch))

    def _one_by_one(self, inputs: Inputs, seconds: float, calls: int) -> tuple[list[float], Any]:
        took: list[float] = []
        outputs: Any = None
        end = time.perf_counter() + seconds
        while len(took) < calls or time.perf_counter() < end:
            began = time.perf_counter()
            outputs = self._engine.infer(inputs.batch)
            took.append(time.perf_counter() - began)
        return took, outputs

    def _overlapping(self, inputs: Inputs, seconds: float, calls: int) -> tuple[list[float], Any]:
        """Keep every stream busy, and one batch waiting for each."""
        took: list[float] = []
        waiting: list[tuple[float, Future[Any]]] = []
        outputs: Any = None
        end = time.perf_counter() + seconds

        def finish() -> None:
            nonlocal outputs
            _, future = waiting.pop(0)
            outputs = future.result()

        def submit() -> None:
            began = time.perf_counter()
            future = self._engine.submit(inputs.batch)
            future.add_done_callback(lambda _: took.append(time.perf_counter() - began))
            waiting.append((began, future))

        started = 0
        while started < calls or time.perf_counter() < end:
            submit()
            started += 1
            if len(waiting) >= 2 * self._streams:
                finish()
        while waiting:
            finish()
        return took, outputs


def main() -> None:
    """Serve requests until the input ends."""
    memory.be_the_first_to_go()
    replies = _own_output()
    probe = Probe()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(probe, request.pop("do"))(**request)
        except CrosscamError as error:
            answer = {"error": str(error)}
        except MemoryError:
            answer = {"error": "out of memory"}
        except Exception as error:  # an engine may raise anything: it is this candidate's failure
            answer = {"error": str(_unforeseen(error))}
        replies.write(json.dumps(answer) + "\n")
        replies.flush()
    sys.stderr.flush()
    os._exit(0)  # an engine that hangs or crashes while it is torn down has answered already


def _unforeseen(error: Exception) -> RunError:
    lines = str(error).strip().splitlines() or ["no reason given"]
    return RunError(f"{type(error).__name__}: {lines[0][:300]}")


def _own_output() -> IO[str]:
    """Return the real standard output; everybody else's prints go to standard error."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return replies


if __name__ == "__main__":
    main()
