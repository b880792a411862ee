"""What a build will do, told before it does anything."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crosscam_deploy.verify.settings import engines_for, precisions_of
from crosscam_kernels.errors import RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscam_deploy.building.targets import Target, TargetEngine
    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.manifest import GraphPrecision
    from crosscam_deploy.runtime import Precision
    from crosscam_deploy.verify.types import Engine

_CPU_INFO = Path("/proc/cpuinfo")
_GRAPHS: dict[GraphPrecision, str] = {
    "f32": "as it is",
    "f16": "weights in float16, computed in float32 or bf16",
    "int8": "convolutions and products in int8, calibrated; nodes that break it stay float",
}
_NAMES = {
    "openvino": "OpenVINO",
    "onnxruntime": "ONNX Runtime",
    "tensorrt": "TensorRT",
    "tensorrt-rtx": "TensorRT for RTX",
}


@dataclass(frozen=True, slots=True)
class Step:
    """A graph to be built and the ways in which it is tried.

    Attributes:
        precision: Of the graph.
        ways: Engine, and what it computes in where the graph is float.
    """

    precision: GraphPrecision
    ways: tuple[tuple[Engine, Precision], ...]

    def line(self) -> str:
        """Return it in words."""
        ways = ", ".join(f"{_NAMES[engine]} {precision}" for engine, precision in self.ways)
        return f"{self.precision:5s} {_GRAPHS[self.precision]}; tried in {ways}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done.

    Attributes:
        bundle: The model.
        target: What for.
        steps: In order.
        left_out: What the target could have and is not done, with the reason.
    """

    bundle: Bundle
    target: Target
    steps: tuple[Step, ...]
    left_out: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the plan in words."""
        name, target = self.bundle.manifest.name, self.target
        return [
            f"{name} for {target.name} ({target.about})",
            *(f"  {step.line()}" for step in self.steps),
            *(f"  not: {reason}" for reason in self.left_out),
        ]

    def check(self) -> None:
        """Refuse a plan that cannot be carried out here.

        Raises:
            RunError: There is nothing that can be built, or the processor is another one.
        """
        missing = [flag for flag in self.target.cpu_flags if flag not in _cpu_flags()]
        if missing:
            raise RunError(
                f"this machine's processor lacks {', '.join(missing)}",
                expected=f"one like the target {self.target.name}: builds for CPUs are measured "
                "where they are made",
                fix="run the same command on such a machine, or give --target cpu",
            )
        if not self.steps:
            raise RunError(
                f"nothing can be built for {self.target.name} here: {'; '.join(self.left_out)}",
                expected=f"{' or '.join(_NAMES[engine] for engine in self.target.engines)}",
                fix="give --target cpu, or run the ONNX model as it is on the target",
            )


def make_plan(bundle: Bundle, target: Target, precisions: Sequence[GraphPrecision] = ()) -> Plan:
    """Plan a build.

    Args:
        bundle: The model, in float32.
        target: What for.
        precisions: Of graphs; all that the target offers if none is given.

    Raises:
        UsageError: The target has no use for a precision.
    """
    unknown = [each for each in precisions if each not in target.precisions]
    if unknown:
        raise UsageError(
            f"{', '.join(unknown)} is not built for {target.name}",
            expected=", ".join(target.precisions),
            fix="leave --precision out to build all of them",
        )
    left_out = [reason for engine in target.engines if (reason := _why_not(engine, target))]
    usable = [engine for engine in engines_for(bundle) if engine in target.engines]
    steps = []
    for precision in precisions or target.precisions:
        if precision != "f32" and bundle.manifest.format != "onnx":
            left_out.append(f"{precision}: only ONNX graphs can be written anew")
            continue
        ways = [(engine, numbers) for engine in usable for numbers in precisions_of(engine)]
        if ways:
            steps.append(Step(precision, tuple(ways)))
    return Plan(bundle, target, tuple(steps), tuple(left_out))


def _why_not(engine: TargetEngine, target: Target) -> str | None:
    """Return why an engine of a target is not tried; None when it is."""
    name = _NAMES[engine]
    if engine in ("openvino", "onnxruntime"):
        installed = importlib.util.find_spec(engine) is not None
        return None if installed else f"{name} is not installed (pip install {engine})"
    # Said whether it is installed or not: to install it would not help.
    where = f"{name} engines for compute capability {target.capability}"
    return f"{where}: `crosscam build` does not make them yet"


def _cpu_flags() -> set[str]:
    """Return what the processor says that it knows; nothing where the system does not tell."""
    try:
        text = _CPU_INFO.read_text(encoding="utf-8")
    except OSError:  # not Linux: unknown counts as lacking
        return set()
    line = next((each for each in text.splitlines() if each.startswith(("flags", "Features"))), "")
    return set(line.partition(":")[2].split())
