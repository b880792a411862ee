"""Which videos make which cameras: the command line and the site file put together."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

from crosscam_edge.config.models import RESERVED_IDS, CameraConfig
from crosscam_kernels.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from crosscam_edge.config.models import SiteConfig

_MAX_STEM = 48


def resolve_cameras(config: SiteConfig, videos: Sequence[str | Path]) -> list[CameraConfig]:
    """Return the cameras of a run, each with an `id` and a `video`.

    Videos of the command line come first and take the settings of the configured camera with the
    same file, or with the video's name as id and no file. Without any, all configured cameras run.

    Args:
        config: The site file, or an empty one.
        videos: Paths from the command line.

    Raises:
        UsageError: No camera, a camera without a video, or one video twice.
    """
    cameras = _from_command_line(config, videos) if videos else list(config.cameras)
    if not cameras:
        raise UsageError(
            "there is no video to process",
            expected="at least one video, or a configuration with cameras",
            fix="crosscam process VIDEO... -o DIR",
        )
    for index, camera in enumerate(cameras):
        if camera.url is not None:
            raise UsageError(
                f"cameras[{index}] ({camera.id or 'unnamed'}) is a live camera",
                expected="recorded videos",
                fix="crosscam run SITE.yaml for live cameras",
            )
        if camera.video is None:
            raise UsageError(
                f"cameras[{index}] ({camera.id or 'unnamed'}) has no video",
                expected="video: a recorded file or a folder of pictures",
                fix="add 'video:' to it, or name the videos on the command line",
            )
    _refuse_same_video(cameras)
    return _with_ids(cameras)


def _from_command_line(config: SiteConfig, videos: Sequence[str | Path]) -> list[CameraConfig]:
    by_file = {_real(c.video): c for c in config.cameras if c.video is not None}
    by_id = {c.id: c for c in config.cameras if c.video is None and c.id is not None}
    cameras = []
    for video in videos:
        path = Path(video)
        known = by_file.get(_real(path)) or by_id.get(safe_name(path.stem)) or CameraConfig()
        cameras.append(known.model_copy(update={"video": str(path)}))
    return cameras


def _real(path: str | Path) -> str:
    """Return the file behind a path, links followed; what cannot be resolved stays as it is."""
    try:
        return str(Path(path).resolve())
    except (OSError, RuntimeError, ValueError):
        return str(path)


def _refuse_same_video(cameras: Iterable[CameraConfig]) -> None:
    seen: dict[str, str] = {}
    for camera in cameras:
        video = str(camera.video)
        real = _real(video)
        if real in seen:
            also = "" if seen[real] == video else f" (also as '{seen[real]}')"
            raise UsageError(
                f"the video '{video}' is given twice{also}",
                expected="each recording once, one camera each",
                fix="remove one of them",
            )
        seen[real] = video


def _with_ids(cameras: list[CameraConfig]) -> list[CameraConfig]:
    taken = {camera.id.lower() for camera in cameras if camera.id} | RESERVED_IDS
    result = []
    for camera in cameras:
        if camera.id is None:
            path = Path(str(camera.video))
            name = _unique(safe_name(path.stem), safe_name(path.absolute().parent.name), taken)
            taken.add(name.lower())
            camera = camera.model_copy(update={"id": name})
        result.append(camera)
    return result


def safe_name(text: str) -> str:
    """Return `text` as a name that is safe for files on every system and never a path.

    Letters lose their accents, everything but letters, digits, ``. _ -`` becomes ``-``.

    Example:
        >>> safe_name("../Hof Süd (2)")
        'Hof-Sud-2'
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", plain)
    name = re.sub(r"-{2,}|\.{2,}", "-", name).strip("-._")[:_MAX_STEM].rstrip("-._")
    return name or "camera"


def _unique(name: str, parent: str, taken: set[str]) -> str:
    if name.lower() not in taken:
        return name
    with_parent = f"{parent}-{name}"[:60]
    if parent != "camera" and with_parent.lower() not in taken:
        return with_parent
    number = 2
    while f"{name}-{number}".lower() in taken:
        number += 1
    return f"{name}-{number}"
