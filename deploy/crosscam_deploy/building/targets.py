"""The boxes that models are built for: what runs on each, declared and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from crosscam_deploy.engines.device import find_device
from crosscam_kernels.errors import RunError, UsageError

if TYPE_CHECKING:
    from crosscam_deploy.manifest import GraphPrecision

TargetEngine = Literal["openvino", "onnxruntime", "tensorrt", "tensorrt-rtx"]
# What is asked for at a time: frames of a box's cameras, crops of the people in them.
_SMALL = ((1, 4, 8, 16, 32), (1, 2, 4))
_USUAL = ((1, 4, 8, 16, 32, 64), (1, 2, 4, 8))
_HAS_FP8 = (8, 9)
_LARGE = ((1, 8, 16, 32, 64, 128, 256), (1, 4, 8, 16, 32))


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of box.

    Attributes:
        name: What ``--target`` takes.
        about: In words.
        engines: That can run there, the best first.
        precisions: Of graphs that are built for it if nothing else is said.
        cpu_flags: What its processor must know; graphs for a CPU are verified where they are
            built, so this machine must know it too.
        capability: CUDA compute capability; None for CPUs, and for `gpu` until `located`.
        buckets: Numbers of crops, and of frames, that an engine has profiles for.
    """

    name: str
    about: str
    engines: tuple[TargetEngine, ...]
    precisions: tuple[GraphPrecision, ...]
    cpu_flags: tuple[str, ...] = ()
    capability: str | None = None
    buckets: tuple[tuple[int, ...], tuple[int, ...]] = _USUAL

    @property
    def is_gpu(self) -> bool:
        """Whether it is one for TensorRT."""
        return "openvino" not in self.engines

    @property
    def on_request(self) -> tuple[GraphPrecision, ...]:
        """Further precisions that it computes in, which are built where they are asked for."""
        if self.capability is None:
            return ()
        major, minor = map(int, self.capability.split("."))
        return (("bf16", "fp8") if (major, minor) >= _HAS_FP8 else ("bf16",)) if major >= 8 else ()

    def buckets_for(self, task: Literal["embed", "detect"]) -> tuple[int, ...]:
        """Return the numbers of pictures that engines of a task have profiles for."""
        crops, frames = self.buckets
        return crops if task == "embed" else frames


_CPU: tuple[TargetEngine, ...] = ("openvino", "onnxruntime")
_JETSON: tuple[TargetEngine, ...] = ("tensorrt",)
_RTX: tuple[TargetEngine, ...] = ("tensorrt-rtx", "tensorrt")
_ALL: tuple[GraphPrecision, ...] = ("f32", "f16", "int8")


def _gpu(
    name: str,
    about: str,
    engines: tuple[TargetEngine, ...],
    capability: str | None,
    buckets: tuple[tuple[int, ...], tuple[int, ...]] = _USUAL,
) -> Target:
    return Target(name, about, engines, _ALL, capability=capability, buckets=buckets)


TARGETS: tuple[Target, ...] = (
    Target("cpu", "this machine's processor", _CPU, _ALL),
    Target(
        "cpu-avx512",
        "x86 processors with AVX-512 VNNI (Xeon since 2019, EPYC since Zen 4)",
        _CPU,
        _ALL,
        cpu_flags=("avx512f", "avx512_vnni"),
    ),
    _gpu("gpu", "this machine's GPU", ("tensorrt", "tensorrt-rtx"), None),
    _gpu("jetson-orin", "Jetson AGX Orin, Orin NX", _JETSON, "8.7", _SMALL),
    _gpu("jetson-thor", "Jetson AGX Thor", _JETSON, "11.0"),
    _gpu("rtx-30", "GeForce RTX 30, RTX A series", _RTX, "8.6"),
    _gpu("rtx-40", "GeForce RTX 40, RTX Ada", _RTX, "8.9"),
    _gpu("rtx-50", "GeForce RTX 50, RTX PRO Blackwell", _RTX, "12.0"),
    _gpu("h200", "H100, H200", _JETSON, "9.0", _LARGE),
)


def find_target(name: str) -> Target:
    """Return a target by name.

    Raises:
        UsageError: There is none of that name.
    """
    for target in TARGETS:
        if target.name == name:
            return target
    raise UsageError(
        f"there is no target {name!r}",
        expected=", ".join(target.name for target in TARGETS),
        fix="--target cpu builds for this machine's processor",
    )


def located(target: Target) -> Target:
    """Return a target whose GPU is known: of `gpu` that of this machine.

    Raises:
        RunError: It has none.
    """
    if not target.is_gpu or target.capability is not None:
        return target
    device = find_device()
    if device is None:
        others = ", ".join(each.name for each in TARGETS if each.capability)
        raise RunError(
            "this machine has no CUDA device",
            expected="one, with its driver and cuda-python, for --target gpu",
            fix=f"look at `crosscam doctor`, or name the GPU that it is for: {others}",
        )
    return replace(target, about=device.name, capability=device.capability)
