"""What can be asked of the simulator."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class SiteConfig(BaseModel):
    """A simulated site.

    Attributes:
        people: Number of identities.
        cameras: Number of cameras.
        seconds: Length of each video.
        fps: Frames per second.
        width: Of the pictures, pixels.
        height: Of the pictures, pixels.
        seed: Everything follows from it: equal seeds give equal frames and equal truth.
        days: Number of days; clothes change between days, people stay.
        start_time: Of the first frame of the first day, UTC; the same time on the next days.
        crowding: Share of the people on site at the same time, 0.1 to 1.
        groups: Share of people who walk in pairs.
        lookalikes: Share of people in one of three uniforms.
        overlap: The last camera watches the first camera's place from the other side.
        crops: Also write Market-1501 style crops.
        masks: Also write id masks (PNG, value = person id).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    people: Annotated[int, Field(ge=1, le=500)] = 20
    cameras: Annotated[int, Field(ge=1, le=32)] = 4
    seconds: Annotated[float, Field(gt=0, le=7200)] = 180.0
    fps: Annotated[float, Field(ge=1, le=60)] = 10.0
    width: Annotated[int, Field(ge=160, le=3840, multiple_of=2)] = 640
    height: Annotated[int, Field(ge=120, le=2160, multiple_of=2)] = 480
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    days: Annotated[int, Field(ge=1, le=31)] = 1
    start_time: datetime = datetime(2026, 1, 5, 9, tzinfo=UTC)
    crowding: Annotated[float, Field(ge=0.1, le=1.0)] = 0.75
    groups: Annotated[float, Field(ge=0.0, le=1.0)] = 0.2
    lookalikes: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    overlap: bool = False
    crops: bool = False
    masks: bool = False

    @field_validator("start_time")
    @classmethod
    def _utc(cls, value: datetime) -> datetime:
        if not 1970 < value.year < 2199:  # times are int64 nanoseconds since 1970
            raise ValueError(f"the year {value.year} is not between 1971 and 2198")
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    @model_validator(mode="after")
    def _two_can_overlap(self) -> Self:
        if self.overlap and self.cameras < 2:
            raise ValueError("overlap needs two cameras, there is only one")
        return self

    @property
    def frames(self) -> int:
        """Frames in each video."""
        return max(1, round(self.seconds * self.fps))

    def start_of(self, day: int) -> datetime:
        """UTC time of the first frame of a day, counted from 0."""
        return self.start_time + timedelta(days=day)
