"""Handles on the compiling processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from crosscam_kernels.aot import worker
from crosscam_kernels.errors import RunError


class Worker:
    """A process that compiles one kernel after another, see `crosscam_kernels.aot.worker`.

    Args:
        modules: Modules whose kernels it offers; None for every family.
        errors: File that takes what the process prints beside its answers.

    Attributes:
        triton_version: Version of Triton in the process.
        kernels: Description of each kernel, by name.
    """

    def __init__(self, modules: Sequence[str] | None, errors: IO[bytes]) -> None:
        environment = {k: v for k, v in os.environ.items() if k not in worker.UNSET}
        environment |= worker.ENVIRONMENT
        self._errors = errors
        self._process = subprocess.Popen(  # noqa: S603  # our own module
            [sys.executable, "-m", worker.__name__, json.dumps(modules and list(modules))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            text=True,
        )
        try:
            hello = self._answer()
        except BaseException:
            self._close()
            raise
        self.triton_version: str = hello["triton_version"]
        self.kernels: dict[str, dict[str, Any]] = hello["kernels"]

    def compile(self, kernel: str, architecture: str, folder: Path) -> str:
        """Compiles into `folder` and returns the log of ptxas.

        Raises:
            RunError: It does not compile; the message ends with the end of the log.
        """
        assert self._process.stdin is not None
        job = {"kernel": kernel, "architecture": architecture, "folder": str(folder)}
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the process is gone: reading its answer says why
        answer = self._answer()
        if answer["error"]:
            raise RunError(
                f"kernel {kernel!r} does not compile for {architecture}: {answer['error']}\n"
                + _end_of(answer["log"])
            )
        return str(answer["log"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            self._errors.flush()
            text = Path(self._errors.name).read_text(encoding="utf-8", errors="replace")
            raise RunError(
                f"the process that compiles kernels ended with status {status}\n" + _end_of(text)
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.terminate()  # whatever it is at: nobody waits for the answer
        self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()


def _end_of(log: str, lines: int = 12) -> str:
    return "\n".join(log.strip().splitlines()[-lines:])
