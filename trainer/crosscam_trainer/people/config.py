"""What can be asked of the people generator."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class PeopleConfig(BaseModel):
    """A set of rendered people.

    Attributes:
        people: Number of identities.
        cameras: Number of cameras; each is a place, a lens and a look of its own.
        cameras_per_person: How many of them see a person; by default 4, or all if there are fewer.
        views: Pictures of a person on each visit to a camera.
        outfits: Clothes that each person owns; a visit wears one.
        sober: Share of outfits that are dark and mostly plain, so that many people look alike.
        test_share: Share of the people who are kept for query and gallery.
        frame: Width of the cameras' pictures, about; most people are 56 to 330 pixels high at 640.
        max_height: Taller crops are made smaller, pixels.
        frames: Full pictures with a box for everybody, in all; none unless asked for.
        seed: Everything follows from it: equal seeds give equal bytes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    people: Annotated[int, Field(ge=1, le=100_000)] = 1000
    cameras: Annotated[int, Field(ge=1, le=500)] = 32
    cameras_per_person: Annotated[int, Field(ge=1, le=32)] = 4
    views: Annotated[int, Field(ge=1, le=32)] = 3
    outfits: Annotated[int, Field(ge=1, le=3)] = 2
    sober: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    test_share: Annotated[float, Field(ge=0.0, le=0.9)] = 0.1
    frame: Annotated[int, Field(ge=160, le=1920)] = 640
    max_height: Annotated[int, Field(ge=64, le=512)] = 256
    frames: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @model_validator(mode="before")
    @classmethod
    def _no_more_than_there_are(cls, given: Any) -> Any:
        if isinstance(given, dict) and "cameras_per_person" not in given:
            cameras, usual = given.get("cameras"), cls.model_fields["cameras_per_person"].default
            if isinstance(cameras, int) and 0 < cameras < usual:
                return {**given, "cameras_per_person": cameras}
        return given

    @model_validator(mode="after")
    def _enough_cameras(self) -> Self:
        if self.cameras_per_person > self.cameras:
            raise ValueError(
                f"cameras_per_person {self.cameras_per_person}: there are {self.cameras} cameras"
            )
        return self

    def frames_of(self, camera: int) -> int:
        """How many of the full pictures are a camera's; `camera` counts from 1."""
        return self.frames // self.cameras + (camera <= self.frames % self.cameras)

    @property
    def tested(self) -> int:
        """People with a greater number than `people - tested` are for query and gallery."""
        return round(self.people * self.test_share)
