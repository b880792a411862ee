"""Which crops of a run are worth learning from.

A crop must be good (the run has judged it when it was embedded), crops of a track must lie apart in
time, or they are copies of each other, and a person must have enough of them in a camera, or there
is nothing to compare.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from crosscam_edge.report.rows import tables_of
from crosscam_kernels.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from crosscam_edge.sinks.schema import CameraInfo

Labels = Literal["identities", "tracks"]


@dataclass(frozen=True, slots=True)
class HarvestOptions:
    """What is taken.

    Attributes:
        labels: What a person of a camera is: ``identities`` joins the tracks of a camera that the
            run has given one id, ``tracks`` takes each for somebody else. Whatever the run says of
            other cameras is never used.
        per_track: Most crops of a track.
        least: Fewer crops of a person in a camera are left out.
        apart_s: Least seconds between two crops of a track.
        quality: Least quality of a crop, in [0, 1].
        height: Least height of a box, pixels.
    """

    labels: Labels = "identities"
    per_track: int = 12
    least: int = 4
    apart_s: float = 0.4
    quality: float = 0.2
    height: int = 48

    def __post_init__(self) -> None:
        if self.per_track < 1 or self.least < 1 or self.height < 1:
            raise UsageError(
                f"per_track {self.per_track}, least {self.least}, height {self.height}",
                expected="at least 1",
                fix="raise them",
            )
        if not (self.apart_s >= 0 and 0 <= self.quality <= 1):
            raise UsageError(
                f"apart_s {self.apart_s:g}, quality {self.quality:g}",
                expected="seconds, not negative; a quality between 0 and 1",
                fix="correct them",
            )


class Crop(NamedTuple):
    """A crop to take.

    Attributes:
        frame: Number of the frame in its source.
        time_ns: When, UTC.
        track: Track in its camera.
        person: Label, which holds inside the camera only.
        quality: In (0, 1].
        xyxy: Box in pixels.
    """

    frame: int
    time_ns: int
    track: int
    person: int
    quality: float
    xyxy: tuple[float, float, float, float]


@dataclass(slots=True)
class Chosen:
    """The crops of a run.

    Attributes:
        crops: By camera, in order of their frames.
        left_out: Crops and people that were not taken, by reason.
    """

    crops: dict[str, list[Crop]]
    left_out: Counter[str]


def choose(run: Path, cameras: Sequence[CameraInfo], options: HarvestOptions) -> Chosen:
    """Choose the crops of a run.

    Args:
        run: Folder of `crosscam process`, with ``tracks.parquet`` and ``embeddings.parquet``.
        cameras: Of the run.
        options: What is taken.

    Raises:
        InputError: A table is missing or cannot be read.
    """
    out = Chosen({}, Counter())
    for camera in cameras:
        out.crops[camera.camera_id] = _of_camera(run, camera.camera_id, options, out.left_out)
    return out


def _of_camera(
    run: Path, camera_id: str, options: HarvestOptions, left_out: Counter[str]
) -> list[Crop]:
    wanted = _spread(run, camera_id, options, left_out)
    by_person: dict[int, list[Crop]] = defaultdict(list)
    for crop in _with_boxes(run, camera_id, wanted, options, left_out):
        by_person[crop.person].append(crop)
    out = []
    for crops in by_person.values():
        if len(crops) < options.least:
            left_out["people with too few crops"] += 1
        else:
            out += crops
    return sorted(out)


def _spread(
    run: Path, camera_id: str, options: HarvestOptions, left_out: Counter[str]
) -> dict[tuple[int, int], tuple[int, int, float]]:
    """Return time, person and quality of crops by track and frame: good ones, spread over time."""
    columns = ("track_id", "global_id", "frame", "time_ns", "quality")
    tracks: dict[int, list[tuple[int, int, int, float]]] = defaultdict(list)
    for table in tables_of(run / "embeddings.parquet", camera_id, columns):
        values = (table[name].to_pylist() for name in columns)
        for track, person, frame, time_ns, quality in zip(*values, strict=True):
            if quality < options.quality:
                left_out["crops of low quality"] += 1
            else:
                tracks[track].append((time_ns, frame, person, quality))
    out = {}
    for track, rows in tracks.items():
        rows.sort()
        label = track if options.labels == "tracks" else None
        last = None
        for part in np.array_split(np.arange(len(rows)), min(options.per_track, len(rows))):
            best = max((rows[k] for k in part.tolist()), key=lambda row: (row[3], -row[0]))
            time_ns, frame, person, quality = best
            left_out["crops too many of a track"] += len(part) - 1
            if last is not None and time_ns - last < options.apart_s * 1e9:
                left_out["crops too soon after another"] += 1
                continue
            last = time_ns
            out[track, frame] = (time_ns, person if label is None else label, quality)
    return out


def _with_boxes(
    run: Path,
    camera_id: str,
    wanted: dict[tuple[int, int], tuple[int, int, float]],
    options: HarvestOptions,
    left_out: Counter[str],
) -> list[Crop]:
    """Find the boxes of the crops."""
    columns = ("frame", "track_id", "x1", "y1", "x2", "y2", "interpolated")
    out, left = [], dict(wanted)
    for table in tables_of(run / "tracks.parquet", camera_id, columns) if wanted else ():
        values = (table[name].to_pylist() for name in columns)
        for frame, track, x1, y1, x2, y2, interpolated in zip(*values, strict=True):
            found = None if interpolated else left.pop((track, frame), None)
            if found is None:
                continue
            if y2 - y1 < options.height:
                left_out["crops too small"] += 1
                continue
            time_ns, person, quality = found
            out.append(Crop(frame, time_ns, track, person, quality, (x1, y1, x2, y2)))
    left_out["crops whose box was dropped"] += len(left)
    return out
