"""Checks of the machine: Python, processor, memory, disk, GPU."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from crosscam_deploy.health.check import Check, Status
from crosscam_deploy.paths import cache_dir
from crosscam_kernels.errors import CrosscamError

if TYPE_CHECKING:
    from collections.abc import Iterator

_AREA = "machine"
_OLDEST_PYTHON = (3, 11)
_LOW_MEMORY = 2 << 30
_LOW_DISK = 2 << 30


def checks() -> Iterator[Check]:
    """Yield the findings about the machine."""
    yield _python()
    yield _processor()
    yield _simd()
    yield _memory()
    yield _cache()
    yield _gpu()


def _python() -> Check:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < _OLDEST_PYTHON:
        fix = "install Python 3.11 or newer and make a new environment with it"
        return Check(_AREA, "Python", Status.PROBLEM, found, fix)
    return Check(_AREA, "Python", Status.OK, found)


def processor_name() -> str:
    """Return what the processor calls itself."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), model)
    return model


def _processor() -> Check:
    model = processor_name()
    cores = psutil.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    note = f", {usable} of them usable by this process" if usable != cores else ""
    return Check(_AREA, "processor", Status.OK, f"{model}, {cores} logical cores{note}")


def _simd() -> Check:
    try:
        from crosscam_kernels import simd_level, simd_levels

        level, levels = simd_level(), simd_levels()
    except ImportError as error:
        fix = "install crosscam again: pip install --force-reinstall crosscam"
        found = f"the native library does not load ({error})"
        return Check(_AREA, "native kernels", Status.PROBLEM, found, fix)
    except CrosscamError as error:
        return Check(_AREA, "native kernels", Status.PROBLEM, error.found, error.fix)
    found = f"{level} (this processor has {', '.join(levels)})"
    if level == "scalar":
        fix = "unset CROSSCAM_SIMD" if len(levels) > 1 else "use a processor with AVX2 or NEON"
        return Check(_AREA, "native kernels", Status.WARNING, found, fix)
    return Check(_AREA, "native kernels", Status.OK, found)


def _memory() -> Check:
    memory = psutil.virtual_memory()
    found = f"{memory.available / 2**30:.1f} GiB free of {memory.total / 2**30:.1f} GiB"
    if memory.available < _LOW_MEMORY:
        fix = "close other programs, or process fewer videos at once"
        return Check(_AREA, "memory", Status.WARNING, found, fix)
    return Check(_AREA, "memory", Status.OK, found)


def _cache() -> Check:
    folder = cache_dir()
    fix = "make it writable, or set CROSSCAM_CACHE to a folder that is"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as probe:
            probe.write(b"x")
        free = shutil.disk_usage(folder).free
    except OSError as error:
        found = f"{folder} cannot be written ({error.strerror or error})"
        return Check(_AREA, "cache", Status.PROBLEM, found, fix)
    found = f"{folder}, {free / 2**30:.1f} GiB free"
    if free < _LOW_DISK:
        return Check(_AREA, "cache", Status.WARNING, found, "free some disk space")
    return Check(_AREA, "cache", Status.OK, found)


def _gpu() -> Check:
    parts = []
    driver = _nvidia_driver()
    if driver:
        parts.append(driver)
    render = sorted(Path("/dev/dri").glob("renderD*")) if Path("/dev/dri").is_dir() else []
    if render:
        parts.append(f"{len(render)} render device(s) in /dev/dri")
    if importlib.util.find_spec("tensorrt"):
        parts.append("TensorRT installed")
    found = ", ".join(parts) or "none found: everything runs on the processor"
    if driver and not importlib.util.find_spec("tensorrt"):
        fix = "pip install 'crosscam[tensorrt]' to use it"
        return Check(_AREA, "GPU", Status.INFO, f"{found}, TensorRT not installed", fix)
    return Check(_AREA, "GPU", Status.INFO, found)


def _nvidia_driver() -> str:
    """Ask the driver library for its CUDA version; empty when there is none."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ""
    version = ctypes.c_int()
    if library.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return "NVIDIA driver that does not answer"
    devices = ctypes.c_int()
    if library.cuInit(0) != 0 or library.cuDeviceGetCount(ctypes.byref(devices)) != 0:
        return "NVIDIA driver without a usable GPU"
    cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return f"{devices.value} NVIDIA GPU(s), driver for CUDA {cuda}"
