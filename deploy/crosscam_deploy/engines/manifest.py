"""`EngineManifest`: what an engine is, for what it was built, and whether it may run here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from crosscam_deploy.engines.api import Flavour
from crosscam_deploy.engines.options import EngineOptions, Profile, Strict
from crosscam_deploy.manifest import Sha256

if TYPE_CHECKING:
    from crosscam_deploy.engines.api import TensorRT
    from crosscam_deploy.engines.device import Device

ENGINE_MANIFEST = "engine.json"
PLAN = "engine.plan"
_AMPERE = (8, 0)


class Tensor(Strict):
    """An input or output of an engine."""

    name: str
    dtype: str
    shape: tuple[int, ...] = Field(description="-1: free")


class EngineManifest(Strict):
    """Contents of ``engine.json``."""

    format_version: Literal[1] = 1
    name: str = Field(description="of the model")
    model_id: Sha256
    graph_sha256: Sha256 = Field(description="of the ONNX file that it was built from")
    plan_sha256: Sha256
    plan_bytes: int = Field(gt=0)
    flavour: Flavour
    version: str = Field(description="of the TensorRT that built it")
    options: EngineOptions
    device: str | None = Field(description="GPU that it was built on; none: built without one")
    capability: str | None = Field(description="of that GPU")
    profiles: tuple[Profile, ...] = Field(min_length=1)
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    layers: dict[str, int] | None = Field(
        default=None, description="type of numbers → layers, as the engine's inspector tells"
    )
    products: dict[str, int] | None = Field(
        default=None,
        description="type of numbers → convolutions and products, of the network that TensorRT "
        "read from the graph",
    )
    seconds: float = Field(ge=0, description="that the build took")

    def problems(self, tensorrt: TensorRT, device: Device | None) -> list[str]:
        """Return why the engine cannot run here; empty when it can.

        Rules: NVIDIA, "TensorRT Developer Guide", Version Compatibility and Hardware Compatibility.
        A plan of one major version runs on no other, except that version-compatible plans of
        TensorRT 10 run on 11.
        """
        found = []
        if tensorrt.flavour != self.flavour:
            found.append(f"it is for {self.flavour}, and this is {tensorrt.flavour}")
        elif not _same_version(self, tensorrt):
            found.append(
                f"it was built by {self.flavour} {self.version}, here is {tensorrt.version}"
            )
        if device is None:
            return [*found, "there is no CUDA device here"]
        asked = self.options.capabilities
        if asked:
            if device.capability not in asked:
                found.append(_wrong_capability(", ".join(asked), device))
        elif self.options.hardware == "ampere-and-later":
            if _numbers(device.capability) < _AMPERE:
                found.append(_wrong_capability("8.0 and later", device))
        elif device.capability != self.capability:
            found.append(_wrong_capability(str(self.capability), device))
        elif self.options.hardware == "this" and not self.is_rtx and device.name != self.device:
            found.append(f"it was built on {self.device}, and this is {device.name}")
        return found

    @property
    def is_rtx(self) -> bool:
        """Whether kernels are chosen on the device that runs them (TensorRT-RTX)."""
        return self.flavour == "tensorrt-rtx"


def _same_version(manifest: EngineManifest, tensorrt: TensorRT) -> bool:
    built, here = _numbers(manifest.version), _numbers(tensorrt.version)
    if manifest.flavour == "tensorrt" and manifest.options.version_compatible:
        return built <= here and (built[0] == here[0] or (built[0], here[0]) == (10, 11))
    return built == here


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _wrong_capability(wanted: str, device: Device) -> str:
    return f"it is for compute capability {wanted}, and {device.name} has {device.capability}"
