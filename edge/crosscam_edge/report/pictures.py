"""Videos and crops of a run: made when they are missing, removed when they show other tables."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from crosscam_edge.report.collect import take_crops
from crosscam_edge.report.crops import clear_crops
from crosscam_edge.report.video import MOSAIC, render_videos
from crosscam_edge.sinks.atomic import output_error, write_text
from crosscam_kernels.errors import CrosscamError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from crosscam_edge.sinks.run_file import Output
    from crosscam_edge.sinks.schema import CameraInfo

_STATE = "pictures.json"


@dataclass(frozen=True, slots=True)
class _State:
    """What is made already.

    Attributes:
        tables: Digest of the tables that the pictures show.
        video: The videos are complete.
        crops: The crops are complete.
    """

    tables: str
    video: bool = False
    crops: bool = False


@dataclass(slots=True)
class Pictures:
    """What came of it.

    Attributes:
        missing: Those of ``"video"`` and ``"crops"`` that were asked for and are not complete.
        errors: Why, unless it was stopped.
    """

    missing: list[Output]
    errors: list[str]


def make_pictures(
    out: Path,
    cameras: Sequence[CameraInfo],
    *,
    video: bool,
    crops: bool,
    stage: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Pictures:
    """Make the videos and crops of a run that are not there yet.

    Ids may mean other people after a run was repeated, so whatever shows other tables than those in
    the folder goes first. What is complete is noted in ``cache/pictures.json`` and not made again.

    Args:
        out: Folder of the run, with its tables; nobody else writes there.
        cameras: All cameras of the run.
        video: Draw annotated videos; the crops are taken on the way.
        crops: Take the crops.
        stage: Told what begins.
        progress: Called with the frames done and the frames in all (0 when not known).
        stop: Says when to end early; nothing half-written is left behind.

    Raises:
        InputError: `out` cannot be written.
        RunError: The disk fails.
    """
    state = _prepare(out, cameras)
    errors = []
    if video and not state.video and not stop():
        stage("drawing videos")
        try:
            if render_videos(out, cameras, progress=progress, stop=stop):
                state = _note(out, replace(state, video=True, crops=True))
        except CrosscamError as error:
            errors.append(f"the videos could not be drawn: {error}")
    if crops and not state.crops and not stop():
        stage("taking pictures of everybody")
        try:
            if take_crops(out, cameras, progress=progress, stop=stop):
                state = _note(out, replace(state, crops=True))
        except CrosscamError as error:
            errors.append(f"the pictures of people could not be taken: {error}")
    missing: list[Output] = []
    if video and not state.video:
        missing.append("video")
    if crops and not state.crops:
        missing.append("crops")
    return Pictures(missing, errors)


def _prepare(out: Path, cameras: Sequence[CameraInfo]) -> _State:
    """Remove what is stale or half-written, and tell what is left."""
    tables = _digest(out)
    state = _load(out)
    videos = _videos(out, cameras)
    if state is None or state.tables != tables:
        clear_crops(out)
        _remove([path for path in videos if path.is_file()])
        state = _State(tables)
    _remove(list((out / "video").glob(".*.part.mp4")))  # of a process that was killed
    return replace(
        state,
        video=state.video and all(path.is_file() for path in videos),
        crops=state.crops and (out / "crops").is_dir(),
    )


def _videos(out: Path, cameras: Sequence[CameraInfo]) -> list[Path]:
    names = [f"{camera.stem}.mp4" for camera in cameras] + [MOSAIC] * (len(cameras) > 1)
    return [out / "video" / name for name in names]


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise output_error(path, error) from error


def _digest(out: Path) -> str:
    digest = hashlib.sha256(version("crosscam").encode())
    path = out / "tracks.parquet"
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise output_error(path, error) from error
    return digest.hexdigest()


def _load(out: Path) -> _State | None:
    try:
        return _State(**json.loads((out / "cache" / _STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None  # nothing was noted, or not by this version: everything is made anew


def _note(out: Path, state: _State) -> _State:
    write_text(out / "cache" / _STATE, json.dumps(asdict(state)) + "\n")
    return state
