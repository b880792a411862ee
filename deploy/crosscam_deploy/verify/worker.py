"""The handle of a candidate's process: asks, waits with a limit, and says why there is no answer.

A candidate may crash, hang or take all memory. Its process is lost then, the command is not.
"""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_deploy.verify.types import Candidate

_MODULE = "crosscam_deploy.verify.probe"
_LAST_WORDS = 300


class UnusableError(Exception):
    """A candidate gave no answer; the text says why."""


class Worker:
    """A process with one candidate in it.

    Args:
        candidate: What to open in it.
        errors: File for what it prints.
        limit_s: Longest wait for any answer in seconds; the process is ended then.
    """

    def __init__(self, candidate: Candidate, errors: Path, limit_s: float) -> None:
        self.candidate = candidate
        self._errors, self._limit = errors, limit_s
        with errors.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-m", _MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self._replies: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True, name="verify-replies").start()

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    def ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Have the probe do something.

        Args:
            what: Name of a method of `Probe`.
            arguments: Its arguments.

        Returns:
            What it returned.

        Raises:
            UnusableError: It failed, ended or took too long.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": what, **arguments}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise UnusableError(self._end()) from None
        try:
            line = self._replies.get(timeout=self._limit)
        except queue.Empty:
            self.close()
            raise UnusableError(f"no answer within {self._limit:g} s") from None
        if not line:
            raise UnusableError(self._end())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise UnusableError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # bytes for a process that is gone
                    continue

    def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                self._replies.put(line)
        except ValueError:  # closed by `close`
            return
        self._replies.put(b"")

    def _end(self) -> str:
        """Say how the process ended."""
        code = self._process.wait()
        words = self._errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        said = f"; it said: {words[-1][:_LAST_WORDS]}" if words else ""
        if code == -signal.SIGKILL:
            return f"its process was killed, most likely because memory ran out{said}"
        if code < 0:
            return f"its process crashed with {signal.Signals(-code).name}{said}"
        return f"its process ended with status {code}{said}"
