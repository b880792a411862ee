"""Frames of videos and folders as files, and the boxes of people in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from crosscam_deploy.verify import FrameSet
from crosscam_edge.sources.open import open_source, probe
from crosscam_kernels.errors import InputError, RunError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_ANNOTATIONS = "annotations.json"
_PEDESTRIAN = (-1, 1)  # classes of MOT16 that are asked for: unknown, and pedestrian
FAST_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]


class _Boxes(NamedTuple):
    """Boxes `(P, 4)` of one frame, and who of them is not asked for `(P,)`."""

    xyxy: NDArray[np.floating]
    ignored: NDArray[np.bool_]


def read_frames(
    source: Path, truth: Path | None, folder: Path, *, every: int | None, limit: int
) -> FrameSet:
    """Take frames from a video or a folder, spread over its length, with their labels.

    Args:
        source: Video, folder of pictures, or folder with COCO's ``annotations.json``.
        truth: MOT file whose frames are those of `source`, or a folder with ``annotations.json``.
        folder: Where frames of a video are written, without loss.
        every: Take every so many frames; None to spread `limit` over all.
        limit: Most frames.

    Raises:
        InputError: Source or truth cannot be read.
        RunError: A frame cannot be written.
    """
    annotated = truth if truth is not None and truth.is_dir() else source
    if (annotated / _ANNOTATIONS).is_file() and (truth is None or truth.is_dir()):
        return _annotated(annotated, every, limit)
    labels = None if truth is None else _mot(truth)
    info = probe(source)
    step = every or max((info.frames or limit) // limit, 1)
    opened = open_source(source.stem, info)
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    boxes: list[_Boxes] = []
    try:
        for frame in opened.frames():
            if frame.index % step:
                continue
            file = folder / f"{frame.index:08d}.png"
            if not cv2.imwrite(str(file), frame.image, FAST_PNG):
                raise RunError(f"{file} cannot be written", fix="free some space, or set TMPDIR")
            files.append(file)
            if labels is not None:
                found = labels.get(frame.index, _Boxes(np.zeros((0, 4)), np.zeros(0, bool)))
                boxes.append(_inside(found, frame.image.shape))
            if len(files) == limit:
                break
    finally:
        opened.close()
    if not files:
        raise InputError(f"{source} has no frames", expected="a video or a folder of pictures")
    return _frame_set(source.name, files, boxes if labels is not None else None)


def _annotated(folder: Path, every: int | None, limit: int) -> FrameSet:
    from crosscam_trainer.detection.coco import read_coco

    pictures = read_coco(folder)
    step = every or max(len(pictures) // limit, 1)
    chosen = pictures[::step][:limit]
    boxes = [_inside(_Boxes(p.boxes, p.ignored), p.size) for p in chosen]
    return _frame_set(folder.name, [picture.file for picture in chosen], boxes)


def _mot(file: Path) -> dict[int, _Boxes]:
    from crosscam_edge.sinks.mot import read_mot

    rows = read_mot(file, ground_truth=True)
    ignored = (rows.confidence == 0) | ~np.isin(rows.class_id, _PEDESTRIAN)
    return {
        int(frame): _Boxes(rows.xyxy[rows.frame == frame], ignored[rows.frame == frame])
        for frame in np.unique(rows.frame)
    }


def _inside(boxes: _Boxes, shape: tuple[int, ...]) -> _Boxes:
    """Cut boxes off at the picture's edge; people who are outside altogether are left out."""
    height, width = shape[:2]
    xyxy = np.clip(boxes.xyxy, 0, [width, height, width, height])
    seen = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
    return _Boxes(xyxy[seen], boxes.ignored[seen])


def _frame_set(name: str, files: list[Path], boxes: list[_Boxes] | None) -> FrameSet:
    if boxes is None:
        return FrameSet(name, tuple(files))
    return FrameSet(
        name, tuple(files), tuple(each.xyxy for each in boxes), tuple(b.ignored for b in boxes)
    )
