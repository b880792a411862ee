"""The keys of a site file, their types, ranges and meaning."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from crosscam_edge.config.live import LiveConfig
from crosscam_edge.config.relations import check_relations
from crosscam_edge.config.strict import CAMERA_ID, Strict

# `video/mosaic.mp4` is the picture of all cameras, so no camera may be called that.
RESERVED_IDS = frozenset({"mosaic"})

Point = tuple[float, float]


def _polygon(points: list[Point]) -> list[Point]:
    if len(points) < 3:
        raise ValueError(f"a polygon needs at least 3 points, this one has {len(points)}")
    if not all(math.isfinite(x) and math.isfinite(y) for x, y in points):
        raise ValueError("coordinates must be finite numbers")
    area = sum(
        a[0] * b[1] - b[0] * a[1] for a, b in zip(points, points[1:] + points[:1], strict=True)
    )
    if area == 0:
        raise ValueError("the polygon has no area")
    return points


Polygon = Annotated[list[Point], AfterValidator(_polygon)]


class CameraConfig(Strict):
    """One camera of the site."""

    id: str | None = Field(
        default=None,
        pattern=CAMERA_ID,
        description="name of the camera in all outputs; from the file name when left out",
    )
    video: str | None = Field(
        default=None,
        min_length=1,
        description="recorded video or folder of pictures; relative to this file",
    )
    url: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="live camera, for `crosscam run`: rtsp://…, http://…, webcam:0; `${NAME}` "
        "stands for an environment variable, `${file:PATH}` for a secret in a file",
    )
    transport: Literal["tcp", "udp"] = Field(
        default="tcp", description="how a live RTSP camera sends its pictures"
    )
    hwaccel: str | None = Field(
        default=None,
        pattern="^[a-z0-9_]{1,32}$",
        description="hardware decoder for a live camera: a device of FFmpeg (cuda, vaapi, qsv …) "
        "or auto; the CPU if left out, and where there is none",
    )
    offset_seconds: float = Field(
        default=0.0, ge=-1e9, le=1e9, description="added to every time of this camera"
    )
    start_time: datetime | None = Field(
        default=None,
        description="UTC time of the first frame; all cameras start together if left out",
    )
    frame_rate: float | None = Field(
        default=None, gt=0, le=1000, description="frames per second, where the video does not say"
    )
    region: Polygon | None = Field(
        default=None, description="keep only people whose feet are inside this polygon; pixels"
    )
    masks: list[Polygon] = Field(
        default_factory=list, description="ignore people whose feet are inside one of these; pixels"
    )
    overlaps_with: list[str] = Field(
        default_factory=list,
        description="cameras that see a part of the same ground at the same time",
    )
    never_overlaps_with: list[str] = Field(
        default_factory=list,
        description="cameras that never do: nobody is in both at once; pairs in neither list are "
        "judged from the run",
    )
    transit_seconds: dict[str, Annotated[float, Field(ge=0, le=604800)]] = Field(
        default_factory=dict,
        description="least seconds that anybody needs from this camera to that one, for example "
        "`{hall: 8}`; the way back is said at the other camera; learned from the run if left out",
    )

    @field_validator("id")
    @classmethod
    def _not_reserved(cls, value: str | None) -> str | None:
        if value is not None and value.lower() in RESERVED_IDS:
            raise ValueError(f"'{value}' is the name of an output; choose another camera id")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.url is not None and self.video is not None:
            raise ValueError("'video' and 'url' are both given; a camera has one of them")
        return self

    @field_validator("start_time")
    @classmethod
    def _utc(cls, value: datetime | None) -> datetime | None:
        if value is None:
            return None
        if not 1970 < value.year < 2200:  # times are int64 nanoseconds since 1970
            raise ValueError(f"the year {value.year} is not between 1971 and 2199")
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class OutputConfig(Strict):
    """What is written besides the tables."""

    video: bool = Field(default=True, description="annotated videos and the mosaic")
    report: bool = Field(default=True, description="HTML report")
    crops: bool = Field(default=True, description="pictures of each identity")
    cache: bool = Field(default=True, description="keep what a resumed run needs")


class SiteConfig(Strict):
    """Everything `crosscam process` can be told."""

    cameras: list[CameraConfig] = Field(default_factory=list, description="the cameras of the site")
    detector: str | None = Field(
        default=None,
        min_length=1,
        description="detector bundle or 'motion'; best available if left out",
    )
    detector_size: int | None = Field(
        default=None,
        ge=64,
        le=4096,
        description="longest side of the detector's input, pixels; the picture's own up to 640 if "
        "left out: more finds smaller people and takes longer",
    )
    embedder: str | None = Field(
        default=None,
        min_length=1,
        description="ReID bundle or 'colour'; best available if left out",
    )
    calibration: str | None = Field(
        default=None,
        min_length=1,
        description="file of `crosscam calibrate` for the embedder; relative to this file",
    )
    min_confidence: float = Field(
        default=0.1, ge=0.01, lt=1, description="detections below this are dropped before tracking"
    )
    embed_every_seconds: float = Field(
        default=0.5,
        ge=0,
        le=3600,
        description="embed a new track again after this long, seconds; later ever more rarely",
    )
    process_fps: float | None = Field(
        default=None, gt=0, le=1000, description="process at most this many frames per second"
    )
    max_people: int = Field(
        default=300, ge=1, le=5000, description="at most this many detections of a frame are kept"
    )
    checkpoint_seconds: float = Field(
        default=10.0, gt=0, le=3600, description="how much work a crash may lose, seconds"
    )
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="threads for models; all cores if left out"
    )
    outputs: OutputConfig = Field(default_factory=OutputConfig)
    live: LiveConfig = Field(
        default_factory=LiveConfig,
        description="for `crosscam run`: how it goes about it, who is told what happens",
    )

    @model_validator(mode="after")
    def _cameras_fit_together(self) -> Self:
        seen: dict[str, int] = {}
        for index, camera in enumerate(self.cameras):
            if camera.id is None:
                continue
            key = camera.id.lower()  # output files must differ on every file system
            if key in seen:
                raise ValueError(
                    f"cameras[{seen[key]}] and cameras[{index}] have the same id '{camera.id}'"
                )
            seen[key] = index
        check_relations(self.cameras)
        return self
