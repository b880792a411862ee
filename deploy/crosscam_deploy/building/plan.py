"""What a build will do, told before it does anything."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crosscam_deploy.building.engine_ways import RUN, engine_ways
from crosscam_deploy.building.targets import located
from crosscam_deploy.manifest import EngineFor
from crosscam_deploy.verify.settings import engines_for, precisions_of
from crosscam_deploy.verify.types import NAMES
from crosscam_kernels.errors import RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscam_deploy.building.engine_ways import EngineWay
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
_GPU_GRAPHS: dict[GraphPrecision, str] = {
    "f32": "as it is",
    "f16": "computed in float16; norms, softmax and what it cannot hold in float32",
    "bf16": "computed in bfloat16; norms and softmax in float32",
    "int8": "convolutions and products in int8, calibrated; all else, and what breaks, as in f16",
    "fp8": "convolutions and products in fp8, calibrated; all else, and what breaks, as in f16",
}


@dataclass(frozen=True, slots=True)
class Step:
    """A graph to be built and the ways in which it is tried.

    Attributes:
        precision: Of the graph.
        ways: Engine, and what it computes in where the graph is float.
        for_gpu: Whether it is written for TensorRT.
        emulated: Whether it is compared on this processor, which computes what 16 bits make of
            the answers, and nothing is timed.
    """

    precision: GraphPrecision
    ways: tuple[tuple[Engine, Precision], ...]
    for_gpu: bool = False
    emulated: bool = False

    def line(self) -> str:
        """Return it in words."""
        graph = (_GPU_GRAPHS if self.for_gpu else _GRAPHS)[self.precision]
        ways = ", ".join(
            NAMES[engine] if precision == "auto" else f"{NAMES[engine]} {precision}"
            for engine, precision in self.ways
        )
        if self.emulated:
            rounds = "" if self.precision == "f32" else ", its 16 bits emulated"
            return f"{self.precision:5s} {graph}; answers compared in {ways}{rounds}"
        return f"{self.precision:5s} {graph}; tried in {ways}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done.

    Attributes:
        bundle: The model.
        target: What for.
        steps: In order.
        left_out: What the target could have and is not done, with the reason.
        engines: How TensorRT's engines come about, the best first; none for processors.
        told: What the target must know to build engines of its own; None for processors.
    """

    bundle: Bundle
    target: Target
    steps: tuple[Step, ...]
    left_out: tuple[str, ...]
    engines: tuple[EngineWay, ...] = ()
    told: EngineFor | None = None

    @property
    def timed(self) -> bool:
        """Whether the target's own engines run here, so that speed decides."""
        return not self.target.is_gpu or any(way.where == RUN for way in self.engines)

    def lines(self) -> list[str]:
        """Return the plan in words."""
        name, target = self.bundle.manifest.name, self.target
        capability = f", compute capability {target.capability}" if target.capability else ""
        task = self.bundle.manifest.task
        engines = [way.line(task) for way in self.engines if self.steps]
        return [
            f"{name} for {target.name} ({target.about}{capability})",
            *(f"  {step.line()}" for step in self.steps),
            *(f"  {line}" for line in engines),
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
                expected=f"{' or '.join(NAMES[engine] for engine in self.target.engines)}"
                + (", and a model in ONNX" if self.target.is_gpu else ""),
                fix="install what is named, or give --target cpu",
            )


def make_plan(
    bundle: Bundle,
    target: Target,
    precisions: Sequence[GraphPrecision] = (),
    told: EngineFor | None = None,
) -> Plan:
    """Plan a build.

    Args:
        bundle: The model, in float32.
        target: What for.
        precisions: Of graphs; all that the target offers if none is given.
        told: How TensorRT shall make engines; as the target has it if not given.

    Raises:
        RunError: The target is this machine's GPU, and there is none.
        UsageError: The target has no use for a precision.
    """
    target = located(target)
    known = (*target.precisions, *target.on_request)
    unknown = [each for each in precisions if each not in known]
    if unknown:
        raise UsageError(
            f"{', '.join(unknown)} is not built for {target.name}",
            expected=", ".join(known),
            fix="leave --precision out to build all of them",
        )
    wanted = precisions or target.precisions
    if target.is_gpu:
        return _for_gpu(bundle, target, wanted, told)
    left_out = [reason for engine in target.engines if (reason := _why_not(engine))]
    usable = [engine for engine in engines_for(bundle) if engine in target.engines]
    steps = []
    for precision in wanted:
        if precision != "f32" and bundle.manifest.format != "onnx":
            left_out.append(f"{precision}: only ONNX graphs can be written anew")
            continue
        ways = [(engine, numbers) for engine in usable for numbers in precisions_of(engine)]
        if ways:
            steps.append(Step(precision, tuple(ways)))
    return Plan(bundle, target, tuple(steps), tuple(left_out))


def _for_gpu(
    bundle: Bundle,
    target: Target,
    precisions: Sequence[GraphPrecision],
    told: EngineFor | None,
) -> Plan:
    told = told or EngineFor(buckets=target.buckets_for(bundle.manifest.task))
    engines = engine_ways(target, told)
    if bundle.manifest.format != "onnx":
        reason = f"{bundle.manifest.name} is in the format {bundle.manifest.format}"
        return Plan(bundle, target, (), (f"{reason}: TensorRT reads ONNX only",), engines, told)
    ways: list[tuple[Engine, Precision]]
    ways = [(way.flavour, "auto") for way in engines if way.where == RUN]
    timed = bool(ways)
    if not timed:
        ways = [(engine, "f32") for engine in engines_for(bundle)[:1]]
    steps = [Step(each, tuple(ways), True, not timed) for each in precisions] if ways else []
    left_out = [] if ways else [f"answers cannot be compared: {_why_not('onnxruntime')}"]
    if ways and not timed:
        left_out.append("speed, and answers of the engines themselves: none of them runs here")
    return Plan(bundle, target, tuple(steps), tuple(left_out), engines, told)


def _why_not(engine: TargetEngine) -> str | None:
    """Return why a processor's engine is not tried; None when it is."""
    installed = importlib.util.find_spec(engine) is not None
    return None if installed else f"{NAMES[engine]} is not installed (pip install {engine})"


def _cpu_flags() -> set[str]:
    """Return what the processor says that it knows; nothing where the system does not tell."""
    try:
        text = _CPU_INFO.read_text(encoding="utf-8")
    except OSError:  # not Linux: unknown counts as lacking
        return set()
    line = next((each for each in text.splitlines() if each.startswith(("flags", "Features"))), "")
    return set(line.partition(":")[2].split())
