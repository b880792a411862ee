"""The pictures of each identity: which crops to take, and taking them while the video passes by."""

from __future__ import annotations

import shutil
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from crosscam_edge.evaluate.alignment import paired_iou
from crosscam_edge.report.rows import frames_of, tables_of
from crosscam_edge.sinks.atomic import output_error
from crosscam_kernels.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from crosscam_edge.report.rows import FrameRows
    from crosscam_edge.sinks.schema import CameraInfo

    Candidates = Callable[[], Iterator["Candidate"]]

PER_CAMERA = 6
_HEIGHT = 224
_MARGIN = 0.06


class Candidate(NamedTuple):
    """A crop that could be taken."""

    global_id: int
    frame: int
    quality: float


@dataclass(slots=True)
class CropPlan:
    """Crops to take: by camera, then frame, the identities wanted."""

    wanted: dict[str, dict[int, list[int]]]

    def take(self, out: Path, camera: CameraInfo, image: NDArray[np.uint8], rows: FrameRows) -> int:
        """Save the crops that are wanted of a frame.

        Args:
            out: Folder of the run; crops go to ``crops/<global_id>/<camera>_<frame>.jpg``.
            camera: The camera.
            image: `(H, W, 3)` uint8 BGR, not yet drawn on.
            rows: The people of this frame.

        Returns:
            How many were saved.

        Raises:
            InputError: The folder cannot be written.
            RunError: The disk is full.
        """
        saved = 0
        for global_id in self.wanted.get(camera.camera_id, {}).pop(rows.frame, ()):
            at = np.flatnonzero(rows.global_id == global_id)
            crop = _cut(image, rows.xyxy[at[0]]) if len(at) else None
            if crop is not None:
                name = f"{camera.stem}_{rows.frame:06d}.jpg"
                _save(out / "crops" / str(global_id) / name, crop)
                saved += 1
        return saved


def plan_crops(out: Path, cameras: Sequence[CameraInfo], per_camera: int = PER_CAMERA) -> CropPlan:
    """Choose the crops of each identity and camera: spread over time, the best of each stretch.

    The time an identity was in a camera is cut in `per_camera` stretches of equally many
    candidates. Quality is that of `embeddings.parquet` where the identity has rows there, else the
    size of the box less what others cover of it. Memory is in the number of identities.

    Args:
        out: Folder of the run, with `tracks.parquet` and perhaps `embeddings.parquet`.
        cameras: Cameras of the run.
        per_camera: Most crops of an identity in a camera.
    """
    wanted: dict[str, dict[int, list[int]]] = {}
    for camera in cameras:
        chosen: dict[int, list[int]] = {}
        embedded = _chosen(partial(_embedded, out, camera), per_camera)
        boxed = _chosen(partial(_boxed, out, camera), per_camera)
        for global_id, frames in {**boxed, **embedded}.items():
            for frame in frames:
                chosen.setdefault(frame, []).append(global_id)
        wanted[camera.camera_id] = chosen
    return CropPlan(wanted)


def clear_crops(out: Path) -> None:
    """Remove the crops of an earlier rendering; ids may mean others now."""
    folder = out / "crops"
    if folder.is_dir():
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise output_error(folder, error) from error


def _chosen(candidates: Candidates, per_camera: int) -> dict[int, list[int]]:
    """Pick frames by identity in two passes: count, then keep the best of each stretch."""
    count: dict[int, int] = defaultdict(int)
    for c in candidates():
        count[c.global_id] += 1
    seen: dict[int, int] = defaultdict(int)
    best: dict[tuple[int, int], tuple[float, int]] = {}
    for c in candidates():
        stretch = seen[c.global_id] * per_camera // count[c.global_id]
        seen[c.global_id] += 1
        key = (c.global_id, stretch)
        if key not in best or c.quality > best[key][0]:
            best[key] = (c.quality, c.frame)
    frames: dict[int, list[int]] = {}
    for (global_id, _), (_, frame) in sorted(best.items()):
        frames.setdefault(global_id, []).append(frame)
    return frames


def _embedded(out: Path, camera: CameraInfo) -> Iterator[Candidate]:
    path = out / "embeddings.parquet"
    if not path.is_file():
        return
    columns = ("global_id", "frame", "quality")
    for table in tables_of(path, camera.camera_id, columns):
        values = (table[name].to_pylist() for name in columns)
        for global_id, frame, quality in zip(*values, strict=True):
            yield Candidate(global_id, frame, quality)


def _boxed(out: Path, camera: CameraInfo) -> Iterator[Candidate]:
    for rows in frames_of(out / "tracks.parquet", camera.camera_id):
        quality = _box_quality(rows, (camera.width, camera.height))
        real = ~rows.interpolated
        pairs = zip(rows.global_id[real].tolist(), quality[real].tolist(), strict=True)
        for global_id, value in pairs:
            yield Candidate(global_id, rows.frame, value)


def _box_quality(rows: FrameRows, size: tuple[int, int]) -> NDArray[np.float64]:
    """Height of each box inside the picture, less for overlap with others."""
    boxes = rows.xyxy.astype(np.float64)
    inside = np.clip(boxes, 0, [size[0], size[1], size[0], size[1]])
    sides, full = inside[:, 2:] - inside[:, :2], boxes[:, 2:] - boxes[:, :2]
    visible = np.prod(np.maximum(sides, 0), 1) / np.maximum(np.prod(full, 1), 1)
    n = len(rows.global_id)
    i, j = np.divmod(np.arange(n * n), max(1, n))
    overlap = np.where(i == j, 0.0, paired_iou(boxes[i], boxes[j])).reshape(n, n)
    free = 1 - overlap.max(axis=1, initial=0.0)
    quality: NDArray[np.float64] = np.maximum(sides[:, 1], 0) * visible**2 * free**2
    return quality


def _cut(image: NDArray[np.uint8], box: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    height, width = image.shape[:2]
    margin = _MARGIN * (box[2:] - box[:2])
    low = np.clip(np.floor(box[:2] - margin), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(box[2:] + margin), 0, (width, height)).astype(int)
    if (high - low < 2).any():
        return None
    crop = image[low[1] : high[1], low[0] : high[0]]
    if crop.shape[0] > _HEIGHT:
        size = (max(1, round(crop.shape[1] * _HEIGHT / crop.shape[0])), _HEIGHT)
        crop = cv2.resize(crop, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return crop


def _save(path: Path, crop: NDArray[np.uint8]) -> None:
    done, data = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 88])
    if not done:
        raise RunError(f"encoding {path} failed")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise output_error(path, error) from error
