"""`run.json` and `identities.json`: what a run was, and why everyone has the id they have.

Both are written by the pipeline, read by the report, the evaluation and the user's own programs;
the fields are documented in ``docs/reference/outputs.md``. Numbers that do not exist (a score of a
person seen once) are ``null``, never NaN, which JSON does not have.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crosscam_edge.associate.types import Calibration, Reason
from crosscam_edge.sinks.atomic import write_text
from crosscam_edge.sinks.schema import CameraInfo
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from crosscam_edge.associate.types import Assignment
    from crosscam_edge.types import Tracklet, TrackletKey

SCHEMA_VERSION: Literal[1] = 1
Output = Literal["video", "crops", "report"]
"""What a run makes beside its tables."""

DATED_FROM_NS = 365 * 86_400 * 10**9
"""Times before 1971 are counted from the start of a recording whose date is not known."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=False, validate_assignment=True)


class RunStatus(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    COMPLETE = "complete"
    FAILED = "failed"


class InputFile(_Record):
    """One video that went in."""

    path: str
    bytes: int | None = None
    sha256: str | None = None
    duration_seconds: float | None = None
    codec: str | None = None


class CameraRecord(_Record):
    """`CameraInfo` in JSON, with how much of it was processed."""

    camera_id: str
    number: int
    video: str
    width: int
    height: int
    frame_rate: float
    frames: int
    start_time_ns: int
    region: list[tuple[float, float]] | None = None
    masks: list[list[tuple[float, float]]] = Field(default_factory=list)
    process_fps: float | None = None

    @classmethod
    def from_info(cls, camera: CameraInfo) -> Self:
        """Copy a `CameraInfo`."""
        return cls(
            camera_id=camera.camera_id,
            number=camera.number,
            video=camera.video,
            width=camera.width,
            height=camera.height,
            frame_rate=camera.frame_rate,
            frames=camera.frames,
            start_time_ns=camera.start_time_ns,
            region=None if camera.region is None else list(camera.region),
            masks=[list(mask) for mask in camera.masks],
            process_fps=camera.process_fps,
        )

    def to_info(self) -> CameraInfo:
        """Return the `CameraInfo` this was made from."""
        return CameraInfo(
            camera_id=self.camera_id,
            number=self.number,
            video=self.video,
            width=self.width,
            height=self.height,
            frame_rate=self.frame_rate,
            frames=self.frames,
            start_time_ns=self.start_time_ns,
            region=None if self.region is None else tuple(self.region),
            masks=tuple(tuple(mask) for mask in self.masks),
            process_fps=self.process_fps,
        )


class ModelRecord(_Record):
    """One model of a run; the key in `RunFile.models` says what for (detector, embedder)."""

    name: str
    model_id: str = ""
    licence: str = ""
    runtime: str = ""
    device: str = ""
    precision: str = ""
    source: str = ""


class Figures(_Record):
    """How much was done and how long it took.

    `stage_seconds` keys: decode, detect, track, embed, provisional, associate, write, render;
    stages overlap, so their sum may exceed `wall_seconds`. `dropped` counts things left out on
    purpose, by reason. `provisional_solves` counts how often everything so far was associated
    before the end, `provisional_failures` how often that failed.
    """

    frames: int = 0
    detections: int = 0
    embeddings: int = 0
    tracklets: int = 0
    people: int = 0
    provisional_solves: int = 0
    provisional_failures: int = 0
    wall_seconds: float = 0.0
    fps: float = 0.0
    video_seconds: float = 0.0
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    dropped: dict[str, int] = Field(default_factory=dict)
    peak_memory_bytes: int | None = None


class CalibrationRecord(_Record):
    """`associate.types.Calibration` in JSON."""

    model_id: str
    threshold: float
    bin_edges: list[float]
    genuine: list[int]
    impostor: list[int]
    fmr: float | None
    fnmr: float | None
    source: str

    @classmethod
    def from_calibration(cls, calibration: Calibration) -> Self:
        """Copy a `Calibration`."""
        return cls(
            model_id=calibration.model_id,
            threshold=float(calibration.threshold),
            bin_edges=[float(edge) for edge in calibration.bin_edges],
            genuine=[int(count) for count in calibration.genuine],
            impostor=[int(count) for count in calibration.impostor],
            fmr=_finite(calibration.fmr),
            fnmr=_finite(calibration.fnmr),
            source=calibration.source,
        )


class Transit(_Record):
    """Seconds between leaving one camera and appearing in another."""

    from_camera: str
    to_camera: str
    seconds: list[float]


class RunFile(_Record):
    """The whole of `run.json`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    crosscam_version: str
    status: RunStatus
    started: datetime
    finished: datetime | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    inputs: list[InputFile] = Field(default_factory=list)
    cameras: list[CameraRecord] = Field(default_factory=list)
    models: dict[str, ModelRecord] = Field(default_factory=dict)
    figures: Figures = Field(default_factory=Figures)
    calibration: CalibrationRecord | None = None
    transits: list[Transit] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    missing: list[Output] = Field(default_factory=list)
    error: str | None = None

    def camera_infos(self) -> list[CameraInfo]:
        """Return the cameras in the order of the run."""
        return [camera.to_info() for camera in self.cameras]


class TrackletRef(_Record):
    """Name of a tracklet."""

    camera_id: str
    track_id: int


class TrackletRecord(_Record):
    """One tracklet of an identity and the evidence that it belongs there."""

    camera_id: str
    track_id: int
    start_ns: int
    end_ns: int
    start_frame: int
    end_frame: int
    observations: int
    reason: Reason
    score: float | None = None
    runner_up: float | None = None
    runner_up_id: int = 0
    margin: float | None = None
    matched_to: TrackletRef | None = None


class IdentityRecord(_Record):
    """One person: tracklets in order of time, from any camera."""

    global_id: int = Field(ge=1)
    cameras: list[str]
    start_ns: int
    end_ns: int
    tracklets: list[TrackletRecord]


class IdentitiesFile(_Record):
    """The whole of `identities.json`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    identities: list[IdentityRecord] = Field(default_factory=list)


def identities_of(
    assignments: Iterable[Assignment], tracklets: Mapping[TrackletKey, Tracklet]
) -> IdentitiesFile:
    """Group assignments into identities.

    Args:
        assignments: One per tracklet.
        tracklets: The tracklets by key; each assignment's key must be there.

    Returns:
        Identities by ascending id, the tracklets of each by start time.
    """
    groups: dict[int, list[TrackletRecord]] = {}
    for a in assignments:
        tracklet = tracklets[a.key]
        joined = a.matched_to
        record = TrackletRecord(
            camera_id=a.key.camera_id,
            track_id=int(a.key.track_id),
            start_ns=int(tracklet.start_ns),
            end_ns=int(tracklet.end_ns),
            start_frame=int(tracklet.start_frame),
            end_frame=int(tracklet.end_frame),
            observations=int(tracklet.observations),
            reason=a.reason,
            score=_finite(a.score),
            runner_up=_finite(a.runner_up),
            runner_up_id=int(a.runner_up_id),
            margin=_finite(a.margin),
            matched_to=None
            if joined is None
            else TrackletRef(camera_id=joined.camera_id, track_id=int(joined.track_id)),
        )
        groups.setdefault(int(a.global_id), []).append(record)
    return IdentitiesFile(identities=[_identity(gid, groups[gid]) for gid in sorted(groups)])


def transits_of(transits: Mapping[tuple[str, str], Sequence[float]]) -> list[Transit]:
    """Turn `Association.transits` into the rows of `run.json`."""
    return [
        Transit(from_camera=a, to_camera=b, seconds=[float(s) for s in seconds])
        for (a, b), seconds in sorted(transits.items())
    ]


def write_run(out: Path, run: RunFile) -> None:
    """Write `out/run.json` atomically."""
    write_text(out / "run.json", run.model_dump_json(indent=1) + "\n")


def read_run(out: Path) -> RunFile:
    """Read `out/run.json`.

    Raises:
        InputError: It is missing, is not JSON, or lacks a field.
    """
    return _read(out / "run.json", RunFile)


def write_identities(out: Path, identities: IdentitiesFile) -> None:
    """Write `out/identities.json` atomically."""
    write_text(out / "identities.json", identities.model_dump_json(indent=1) + "\n")


def read_identities(out: Path) -> IdentitiesFile:
    """Read `out/identities.json`.

    Raises:
        InputError: It is missing, is not JSON, or lacks a field.
    """
    return _read(out / "identities.json", IdentitiesFile)


def utc(time_ns: int) -> datetime:
    """Turn UTC nanoseconds into a time (microseconds are kept)."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).replace(
        microsecond=time_ns % 1_000_000_000 // 1000
    )


def _identity(global_id: int, tracklets: list[TrackletRecord]) -> IdentityRecord:
    tracklets.sort(key=lambda t: (t.start_ns, t.camera_id, t.track_id))
    return IdentityRecord(
        global_id=global_id,
        cameras=list(dict.fromkeys(t.camera_id for t in tracklets)),
        start_ns=tracklets[0].start_ns,
        end_ns=max(t.end_ns for t in tracklets),
        tracklets=tracklets,
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


_File = TypeVar("_File", bound=BaseModel)


def _read(path: Path, kind: type[_File]) -> _File:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(
            f"{path} does not exist",
            expected="a folder that `crosscam process` wrote",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error})") from error
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno} is not JSON ({error.msg})") from error
    if isinstance(data, dict) and data.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {data['schema_version']!r}",
            expected=f"version {SCHEMA_VERSION}",
            fix="read it with the crosscam that wrote it, or process the videos again",
        )
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(
            f"{path}: {where}: {first['msg']}, found {str(first['input'])[:80]!r}",
            expected="the fields in docs/reference/outputs.md",
        ) from error
