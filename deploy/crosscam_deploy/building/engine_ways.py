"""How the engines of a target come about: built and run here, built here for it, or built there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from crosscam_deploy.engines.api import find_tensorrt, is_installed
from crosscam_deploy.engines.device import find_device
from crosscam_deploy.engines.options import options_told
from crosscam_deploy.verify.types import NAMES
from crosscam_kernels.errors import CrosscamError

if TYPE_CHECKING:
    from crosscam_deploy.building.targets import Target
    from crosscam_deploy.engines.api import Flavour
    from crosscam_deploy.engines.device import Device
    from crosscam_deploy.engines.options import EngineOptions
    from crosscam_deploy.manifest import EngineFor

Where = Literal["run", "not run", "there"]
RUN: Where = "run"
"""Built here, on a GPU like the target's, and run."""
NOT_RUN: Where = "not run"
"""Built here for the target's GPU, which is not at hand."""
THERE: Where = "there"
"""Built by the target itself, when it first uses the model."""


@dataclass(frozen=True, slots=True)
class EngineWay:
    """How engines of one TensorRT come about.

    Attributes:
        flavour: Which TensorRT.
        where: They are built and run.
        options: How they are built.
        why: What is missing here, where they are not run.
    """

    flavour: Flavour
    where: Where
    options: EngineOptions
    why: str = ""

    def line(self, task: Literal["embed", "detect"]) -> str:
        """Return it in words."""
        things = "crops" if task == "embed" else "frames"
        sizes = ", ".join(map(str, self.options.buckets))
        done = {
            RUN: f"engines for {sizes} {things} are built and run here",
            NOT_RUN: f"engines for {sizes} {things} are built here and not run: {self.why}",
            THERE: f"engines for {sizes} {things} are built on the box, on first use: {self.why}",
        }[self.where]
        return f"{NAMES[self.flavour]}: {done}"


def engine_ways(target: Target, told: EngineFor) -> tuple[EngineWay, ...]:
    """Return how the engines of a target come about, the best first.

    Args:
        target: With a compute capability.
        told: How TensorRT shall make them.
    """
    device = find_device()
    ways = [
        _way(flavour, str(target.capability), told, device)
        for flavour in target.engines
        if flavour in ("tensorrt", "tensorrt-rtx")
    ]
    run = [way for way in ways if way.where == RUN]
    return tuple(run or ways)


def _way(flavour: Flavour, capability: str, told: EngineFor, device: Device | None) -> EngineWay:
    rtx = flavour == "tensorrt-rtx"
    options = options_told(told, rtx=rtx)
    if device is None:
        why = "there is no CUDA device here"
    elif device.capability != capability:
        why = f"{device.name} here has compute capability {device.capability}"
    elif is_installed(flavour):
        return EngineWay(flavour, RUN, options)
    else:
        why = f"{NAMES[flavour]} is not installed here"
    if not rtx:
        return EngineWay(flavour, THERE, options, f"it builds on the GPU that runs them, and {why}")
    try:
        builds = find_tensorrt(flavour).builds_for(capability)
    except CrosscamError as error:
        return EngineWay(flavour, THERE, options, error.found)
    if not builds:
        why = f"it builds for compute capability {capability} on such a GPU only, and {why}"
        return EngineWay(flavour, THERE, options, why)
    offered = options.model_copy(update={"capabilities": (capability,)})
    return EngineWay(flavour, NOT_RUN, offered, why)
