"""Measuring on a device: times of a call, its peak memory, and what the hardware can do at most."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from typing import Any

import torch

PACKAGES = (
    "crosscam",
    "torch",
    "triton",
    "numpy",
    "pytorch-metric-learning",
    "flashlib",
    "faiss-gpu",
    "faiss-gpu-cu12",
)
WARMUP_MS, REPEAT_MS = 10, 60


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def samples_ms(
    side: Callable[[], Any], device: torch.device, *, graph: bool = False
) -> list[float]:
    """Milliseconds of single calls; on CUDA with a cold L2 cache unless captured."""
    if device.type != "cuda":
        side()
        samples = []
        for _ in range(3):
            start = time.perf_counter()
            side()
            samples.append((time.perf_counter() - start) * 1e3)
        return samples
    from triton import testing

    if graph:
        stream = torch.cuda.Stream(device)
        with torch.cuda.stream(stream):
            found = testing.do_bench_cudagraph(side, rep=REPEAT_MS, return_mode="all")
        return [float(ms) for ms in found]
    found = testing.do_bench(side, warmup=WARMUP_MS, rep=REPEAT_MS, return_mode="all")
    return [float(ms) for ms in found]


def peak_megabytes(side: Callable[[], Any], device: torch.device) -> float | None:
    """Memory that torch's allocator hands out during one call beyond what was in use before."""
    if device.type != "cuda":
        return None
    synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    side()
    synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 1e6


@dataclass(frozen=True)
class Roofs:
    """What this device did at most, measured in this run.

    Attributes:
        copy_gb_per_s: Bytes read and written per second by a large copy, 1e9.
        matmul_tflop_per_s: Operations per second of a large square product, by dtype, 1e12.
    """

    copy_gb_per_s: float
    matmul_tflop_per_s: dict[str, float] = field(default_factory=dict)

    def floor_ms(self, bytes_moved: int, flops: int, rate: str) -> float:
        """No solution can be faster than this on this device."""
        memory = bytes_moved / self.copy_gb_per_s / 1e6
        best = self.matmul_tflop_per_s.get(rate)
        return max(memory, flops / best / 1e9 if best else 0.0)

    def as_json(self) -> dict[str, Any]:
        """The fields as they go into the result file."""
        return asdict(self)


def measured_roofs(device: torch.device, tiny: bool) -> Roofs:
    size = 1 << 16 if tiny else 1 << 30
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy_ms = statistics.median(samples_ms(partial(target.copy_, source), device))
    side = 64 if tiny else 8192
    rates = {}
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.int8):
        a = torch.randn(side, side, device=device).to(dtype)
        product = torch._int_mm if dtype == torch.int8 else torch.matmul
        ms = statistics.median(samples_ms(partial(product, a, a.t()), device))
        rates[str(dtype).removeprefix("torch.")] = 2 * side**3 / ms / 1e9
    return Roofs(2 * size / copy_ms / 1e6, rates)


def environment(device: torch.device) -> dict[str, Any]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    found: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "versions": versions,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "device": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "cuda": torch.version.cuda,
        }
    return found
