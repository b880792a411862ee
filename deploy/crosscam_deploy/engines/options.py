"""`EngineOptions`: everything that decides how an engine is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

if TYPE_CHECKING:
    from crosscam_deploy.manifest import EngineFor

BUCKETS = (1, 4, 8, 16, 32, 64)
Capability = Annotated[str, Field(pattern=r"^\d{1,2}\.\d$")]


class Strict(BaseModel):
    """Immutable; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Profile(Strict):
    """Numbers of pictures that one optimisation profile takes."""

    least: int = Field(ge=1)
    typical: int = Field(ge=1, description="what it is made fast for")
    most: int = Field(ge=1)


class EngineOptions(Strict):
    """How an engine is built; all of it is part of its key in the store."""

    buckets: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        default=BUCKETS, min_length=1, max_length=16, description="sizes of batches"
    )
    profiles: Literal["each", "one"] = Field(
        default="each",
        description="each: a profile for every bucket, which a CUDA graph needs; one: a single "
        "profile from the smallest to the largest, made fast for the middle one",
    )
    capabilities: tuple[Capability, ...] = Field(
        default=(),
        description='GPUs of a TensorRT-RTX engine, as "8.6"; none: the one that is here',
    )
    hardware: Literal["this", "same-capability", "ampere-and-later"] = Field(
        default="this", description="GPUs that a TensorRT engine runs on"
    )
    version_compatible: bool = Field(
        default=False, description="runs on later versions of TensorRT, somewhat slower"
    )
    stripped: bool = Field(
        default=False, description="without weights, which are put in from the graph on loading"
    )
    refittable: bool = Field(default=False, description="weights can be exchanged")
    level: int = Field(default=3, ge=0, le=5, description="how long to look for fast kernels")
    workspace_mib: int | None = Field(
        default=None, ge=1, description="GPU memory that kernels may use; none: all of it"
    )

    @field_validator("buckets")
    @classmethod
    def _rising(cls, buckets: tuple[int, ...]) -> tuple[int, ...]:
        if list(buckets) != sorted(set(buckets)):
            raise ValueError(f"buckets {buckets} must rise")
        return buckets

    def profiles_for(self, *, any_batch: bool) -> tuple[Profile, ...]:
        """Return the profiles of a graph.

        Args:
            any_batch: Whether the graph takes any number of pictures; otherwise it takes one.
        """
        if not any_batch:
            return (Profile(least=1, typical=1, most=1),)
        if self.profiles == "each":
            return tuple(Profile(least=n, typical=n, most=n) for n in self.buckets)
        least, most = self.buckets[0], self.buckets[-1]
        return (Profile(least=least, typical=self.buckets[len(self.buckets) // 2], most=most),)


def options_told(told: EngineFor, *, rtx: bool) -> EngineOptions:
    """Return options as a bundle's manifest tells them.

    Args:
        told: `run_with.engine` of the manifest.
        rtx: Whether TensorRT-RTX shall build: its engines are for kinds of GPUs anyway.
    """
    if rtx:
        return EngineOptions(buckets=told.buckets)
    return EngineOptions(
        buckets=told.buckets,
        hardware=told.hardware,
        version_compatible=told.version_compatible,
    )
