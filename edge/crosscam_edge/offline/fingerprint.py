"""Whether an output folder may be resumed: same videos, same models, same settings."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from crosscam_edge.config.relations import RELATION_KEYS
from crosscam_edge.sinks.atomic import write_text
from crosscam_edge.sources.images import list_pictures
from crosscam_kernels.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_edge.config import SiteConfig
    from crosscam_edge.detect import Detector
    from crosscam_edge.embed.base import Embedder
    from crosscam_edge.offline.plan import CameraPlan

NAME = "fingerprint.json"
# Changes whenever detections, tracks or the checkpoint format may come out differently.
PIPELINE_VERSION = 5
_SAMPLE = 1 << 20


def content_digest(path: Path) -> str:
    """Return a digest of a video's size and of 1 MiB of its start, middle and end each.

    Hashing hours of video would take longer than opening it; a recording that differs elsewhere
    only does not occur by accident. A folder of pictures is digested by names and sizes.
    """
    digest = hashlib.sha256()
    if path.is_dir():
        for picture in list_pictures(path):
            digest.update(f"{picture.name}\0{picture.stat().st_size}\0".encode())
        return digest.hexdigest()
    size = path.stat().st_size
    digest.update(str(size).encode())
    with path.open("rb") as file:
        for start in sorted({0, max(0, size // 2 - _SAMPLE // 2), max(0, size - _SAMPLE)}):
            file.seek(start)
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


def fingerprint(
    plans: list[CameraPlan], settings: SiteConfig, detector: Detector, embedder: Embedder
) -> dict[str, Any]:
    """Return everything that the results depend on, by name, for people to compare."""
    parts: dict[str, Any] = {
        "crosscam": version("crosscam"),
        "pipeline": PIPELINE_VERSION,
        "detector": f"{detector.name} {detector.model_id[:16]}",
        "embedder": f"{embedder.name} {embedder.model_id[:16]}",
        "detector_size": settings.detector_size,
        "min_confidence": settings.min_confidence,
        "embed_every_seconds": settings.embed_every_seconds,
        "process_fps": settings.process_fps,
        "max_people": settings.max_people,
    }
    for plan in plans:
        camera = plan.config.model_dump(mode="json", exclude={"id", "video", *RELATION_KEYS})
        parts[f"camera '{plan.camera_id}'"] = {
            **camera,
            "content": content_digest(plan.info.path),
            "start_ns": plan.start_ns,
            "frame_rate": plan.info.frame_rate,
        }
    return parts


def check(folder: Path, now: dict[str, Any]) -> bool:
    """Compare with what the folder's checkpoints were made from, and note it when it is new.

    Returns:
        Whether there is something to resume.

    Raises:
        UsageError: The folder holds another run.
    """
    path = folder / NAME
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        write_text(path, json.dumps(now, indent=1) + "\n")
        return False
    stable = json.loads(json.dumps(now))
    if before == stable:
        return True
    keys = [key for key in {**before, **stable} if before.get(key) != stable.get(key)]
    raise UsageError(
        f"'{folder.parent}' holds a run that differs in: {'; '.join(_differences(before, stable))}",
        expected=f"the same inputs, models and settings as before ({len(keys)} differ)",
        fix="repeat the command as it was, choose another folder with -o, or start over with "
        "--overwrite",
    )


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    out = []
    for key in {**before, **now}:
        a, b = before.get(key), now.get(key)
        if a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            inner = [name for name in {**a, **b} if a.get(name) != b.get(name)]
            out.append(f"{key} ({', '.join(inner)})")
        elif a is None or b is None:
            out.append(f"{key} ({'new' if a is None else 'gone'})")
        else:
            out.append(f"{key} (was {a}, now {b})")
    return out
