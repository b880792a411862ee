"""The machine that figures are of, and how busy others kept it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from typing import TYPE_CHECKING

import psutil

from crosscam_deploy.health.machine import processor_name
from crosscam_deploy.runtime.onnxruntime_engine import usable_cores
from crosscam_deploy.verify.types import Machine

if TYPE_CHECKING:
    from collections.abc import Iterable

_PACKAGES = ("crosscam", "openvino", "onnxruntime", "numpy")


class Busyness:
    """How much of the processor others take, from its making on.

    Others' work makes every figure worse and less certain, so it is told beside them.
    """

    def __init__(self) -> None:
        self._began, self._all = time.monotonic(), _busy_seconds()
        self._own_before = _own_seconds(())

    def share(self, workers: Iterable[int]) -> float | None:
        """Return what others took of all cores, in [0, 1]; None where the time was too short.

        Args:
            workers: Process ids whose work is ours, alive and started since.
        """
        wall = time.monotonic() - self._began
        if wall < 1:
            return None
        own = _own_seconds(workers) - self._own_before
        others = _busy_seconds() - self._all - own
        return min(max(others / (wall * (psutil.cpu_count() or 1)), 0.0), 1.0)


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))


def _own_seconds(workers: Iterable[int]) -> float:
    mine = psutil.Process().cpu_times()
    total = float(mine.user + mine.system)
    for number in workers:
        try:
            times = psutil.Process(number).cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def load() -> float | None:
    """Return how many tasks ran or waited to, as a mean of the last minute."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def describe(busy: float | None, before: float | None) -> Machine:
    """Return this machine.

    Args:
        busy: From `Busyness.share`.
        before: From `load`, before the run.
    """
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return Machine(
        processor=processor_name(),
        cores=usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.machine()}",
        versions=versions,
        busy=busy,
        load=before,
    )
