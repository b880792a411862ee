"""Everything that can go wrong before the first frame, found out before the first frame."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from crosscam_deploy.log import get_logger
from crosscam_edge.config import resolve_cameras
from crosscam_edge.offline.fingerprint import NAME as FINGERPRINT
from crosscam_edge.offline.plan import CameraPlan
from crosscam_edge.sinks.atomic import output_error
from crosscam_edge.sinks.schema import CameraInfo, file_stem
from crosscam_edge.sources import probe
from crosscam_kernels.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from crosscam_edge.config import SiteConfig

_log = get_logger("process")
_OWN = (
    "run.json mtmc.txt tracks.jsonl tracks.parquet embeddings.parquet identities.json report.html "
    "mot video crops cache"
)
OWN_NAMES = tuple(_OWN.split())
_LOW_SPACE = 200 << 20


def plan_cameras(
    settings: SiteConfig, videos: Sequence[str | Path], out: Path, *, keep_going: bool
) -> tuple[list[CameraPlan], list[str]]:
    """Probe every video of a run.

    Args:
        settings: The run's settings.
        videos: Videos of the command line.
        out: Output folder.
        keep_going: Leave out videos that cannot be used instead of refusing the run.

    Returns:
        The usable cameras, and one warning for each that was left out.

    Raises:
        InputError: A video cannot be used (with `keep_going`: none can); all problems are named.
        UsageError: The cameras do not fit together.
    """
    problems: list[tuple[str, InputError]] = []
    plans: list[CameraPlan] = []
    for camera in resolve_cameras(settings, videos):
        camera_id = str(camera.id)
        try:
            info = probe(str(camera.video), camera.frame_rate)
        except InputError as error:
            problems.append((camera_id, error))
            continue
        start = 0 if camera.start_time is None else _nanoseconds(camera.start_time.timestamp())
        plans.append(
            CameraPlan(
                camera_id,
                len(plans) + 1,
                camera,
                info,
                start + _nanoseconds(camera.offset_seconds),
                out / "cache" / file_stem(camera_id),
            )
        )
    if problems and (not keep_going or not plans):
        if len(problems) == 1:
            raise problems[0][1]
        raise InputError(
            f"{len(problems)} of {len(problems) + len(plans)} videos cannot be used: "
            + "; ".join(error.found for _, error in problems),
            expected=problems[0][1].expected,
            fix="correct them"
            if not plans
            else "correct them, or leave them out with --keep-going",
        )
    return plans, [f"camera '{name}' was left out: {error}" for name, error in problems]


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e6) * 1000


def camera_info(plan: CameraPlan, frames: int, process_fps: float | None) -> CameraInfo:
    """Return what outputs need to know of a camera."""
    region = plan.config.region
    return CameraInfo(
        camera_id=plan.camera_id,
        number=plan.number,
        video=str(plan.info.path),
        width=plan.info.width,
        height=plan.info.height,
        frame_rate=plan.info.frame_rate,
        frames=frames,
        start_time_ns=plan.start_ns,
        region=None if region is None else tuple(region),
        masks=tuple(tuple(mask) for mask in plan.config.masks),
        process_fps=process_fps,
    )


def open_folder(out: Path) -> None:
    """Make the output folder.

    Raises:
        InputError: It is a file, or cannot be made.
    """
    try:
        if out.exists() and not out.is_dir():
            raise InputError(
                f"the output '{out}' is a file", expected="a folder", fix="choose another with -o"
            )
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(out, error) from error


def prepare_folder(out: Path, plans: Sequence[CameraPlan], *, overwrite: bool) -> list[str]:
    """Make sure that nothing of others is overwritten; call with the folder locked.

    Args:
        out: Existing output folder.
        plans: The cameras of the run.
        overwrite: Delete what an earlier run wrote there.

    Returns:
        Warnings.

    Raises:
        UsageError: The folder holds results that cannot be resumed, things that no run wrote, or
            an input where results go.
        InputError: Something there cannot be deleted.
    """
    _refuse_inputs_among_outputs(out, plans)
    present = [name for name in OWN_NAMES if (out / name).exists()]
    resumable = (out / "cache" / FINGERPRINT).exists()
    if present and overwrite:
        if not resumable and "run.json" not in present:
            raise UsageError(
                f"'{out}' already holds {', '.join(present)}, but no run.json: no run wrote that",
                expected="an empty folder or the results of a run",
                fix="choose another folder with -o, or delete these yourself",
            )
        for name in sorted(present, key="run.json".__eq__):  # last: it marks the rest as ours
            path = out / name
            try:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            except OSError as error:
                raise output_error(path, error) from error
    elif present and not resumable:
        raise UsageError(
            f"'{out}' already holds {', '.join(present)} and no checkpoints to resume from",
            expected="an empty folder or an unfinished run",
            fix="choose another folder with -o, or replace it with --overwrite",
        )
    try:
        (out / "cache").mkdir(exist_ok=True)
    except OSError as error:
        raise output_error(out / "cache", error) from error
    free = shutil.disk_usage(out).free
    if free < _LOW_SPACE:
        return [f"only {free >> 20} MiB are free in '{out}'"]
    return []


def _refuse_inputs_among_outputs(out: Path, plans: Sequence[CameraPlan]) -> None:
    folder = out.resolve()
    own = {folder / name for name in OWN_NAMES}
    for plan in plans:
        source = plan.info.path.resolve()
        if source in own or own.intersection(source.parents):
            raise UsageError(
                f"the video '{plan.info.path}' lies where the results go ('{out}')",
                expected="inputs outside of what a run writes and --overwrite deletes",
                fix="choose another folder with -o",
            )
