"""The boxes that models are built for: what runs on each, declared and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from crosscam_kernels.errors import UsageError

if TYPE_CHECKING:
    from crosscam_deploy.manifest import GraphPrecision

TargetEngine = Literal["openvino", "onnxruntime", "tensorrt", "tensorrt-rtx"]


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of box.

    Attributes:
        name: What ``--target`` takes.
        about: In words.
        engines: That can run there, the best first.
        precisions: Of graphs that are worth building for it.
        cpu_flags: What its processor must know; graphs for a CPU are verified where they are
            built, so this machine must know it too.
        capability: CUDA compute capability; None for CPUs.
    """

    name: str
    about: str
    engines: tuple[TargetEngine, ...]
    precisions: tuple[GraphPrecision, ...]
    cpu_flags: tuple[str, ...] = ()
    capability: str | None = None


_CPU: tuple[TargetEngine, ...] = ("openvino", "onnxruntime")
TARGETS: tuple[Target, ...] = (
    Target("cpu", "this machine's processor", _CPU, ("f32", "f16", "int8")),
    Target(
        "cpu-avx512",
        "x86 processors with AVX-512 VNNI (Xeon since 2019, EPYC since Zen 4)",
        _CPU,
        ("f32", "f16", "int8"),
        cpu_flags=("avx512f", "avx512_vnni"),
    ),
    Target("jetson-orin", "Jetson AGX Orin, Orin NX", ("tensorrt",), ("f16", "int8"), (), "8.7"),
    Target("jetson-thor", "Jetson AGX Thor", ("tensorrt",), ("f16", "int8"), (), "11.0"),
    Target(
        "rtx-40",
        "GeForce RTX 40, RTX Ada",
        ("tensorrt-rtx", "tensorrt"),
        ("f16", "int8"),
        (),
        "8.9",
    ),
    Target(
        "rtx-50",
        "GeForce RTX 50, RTX PRO Blackwell",
        ("tensorrt-rtx", "tensorrt"),
        ("f16", "int8"),
        (),
        "12.0",
    ),
    Target("h200", "H100, H200", ("tensorrt",), ("f16", "int8"), (), "9.0"),
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
