"""Pictures inside the page, within a budget so that the page stays small."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2

from crosscam_edge.report.colours import camera_hex

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from crosscam_edge.sinks.run_file import IdentityRecord
    from crosscam_edge.sinks.schema import CameraInfo

_HEIGHT = 132
FULL, FULL_EACH = 60, 8
SOME, SOME_EACH = 240, 3
MANY, MANY_EACH = 700, 1


@dataclass(slots=True)
class Thumbs:
    """Pictures by global id.

    Attributes:
        by_id: What the template shows: data, width, height, camera, colour.
        capped: Identities that got fewer pictures than there are.
    """

    by_id: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    capped: int = 0


def thumbs_of(
    out: Path, identities: Sequence[IdentityRecord], cameras: Sequence[CameraInfo]
) -> Thumbs:
    """Load the pictures of identities, the first ones more fully than the rest.

    The first 60 identities get 8 pictures, up to the 240th 3, up to the 700th 1, the others none:
    at most some 1500 pictures of about 4 kB.

    Args:
        out: Folder of the run, with `crops`.
        identities: In order of importance.
        cameras: Cameras of the run.
    """
    thumbs = Thumbs()
    for rank, identity in enumerate(identities):
        limit = _limit(rank)
        folder = out / "crops" / str(identity.global_id)
        by_camera = []
        for camera in cameras:
            if camera.camera_id in identity.cameras:
                files = sorted(folder.glob(_escape(camera.stem) + "_[0-9]*.jpg"))
                by_camera.append([(camera, file) for file in _spread(files)])
        pairs = _take_turns(by_camera)
        if len(pairs) > limit and limit < FULL_EACH:
            thumbs.capped += 1
        chosen = sorted(pairs[:limit], key=lambda pair: (pair[0].number, pair[1].name))
        pictures = [_picture(camera, file) for camera, file in chosen]
        thumbs.by_id[identity.global_id] = [p for p in pictures if p is not None]
    return thumbs


def _limit(rank: int) -> int:
    for ranks, each in ((FULL, FULL_EACH), (SOME, SOME_EACH), (MANY, MANY_EACH)):
        if rank < ranks:
            return each
    return 0


def _spread(files: list[Path]) -> list[Path]:
    """Order files so that any first few are spread over time: middle, ends, then the rest."""
    if len(files) < 3:
        return files
    middle = len(files) // 2
    head = [middle, 0, len(files) - 1]
    return [files[i] for i in head] + [f for i, f in enumerate(files) if i not in head]


def _take_turns(
    groups: list[list[tuple[CameraInfo, Path]]],
) -> list[tuple[CameraInfo, Path]]:
    longest = max((len(group) for group in groups), default=0)
    return [group[i] for i in range(longest) for group in groups if i < len(group)]


def _picture(camera: CameraInfo, file: Path) -> dict[str, Any] | None:
    image = cv2.imread(str(file))
    if image is None:
        return None
    scale = _HEIGHT / image.shape[0]
    size = (max(1, round(image.shape[1] * scale)), _HEIGHT)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize(image, size, interpolation=how)
    done, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])
    if not done:
        return None
    text = base64.b64encode(data.tobytes()).decode("ascii")
    return {
        "data": f"data:image/jpeg;base64,{text}",
        "width": size[0],
        "height": size[1],
        "camera": camera.camera_id,
        "colour": camera_hex(camera.number),
    }


def _escape(stem: str) -> str:
    return stem.replace("[", "[[]")
