"""Raw detector outputs into boxes of people, for the four families of heads.

Every decoder scores first and computes geometry only for the anchors that survive, so the cost
follows the number of people and not of anchors. Only the person class leaves, as class id 0.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from crosscam_deploy.detections import Detections
from crosscam_deploy.log import get_logger
from crosscam_kernels.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crosscam_deploy.manifest import Decoder
    from crosscam_deploy.preprocess import LetterboxTransform

# Suppression is quadratic: a broken model that fires everywhere must not stall the pipeline.
MAX_CANDIDATES = 1000
MAX_DETECTIONS = 300

_log = get_logger("decode")


def decode(
    outputs: Sequence[NDArray[np.float32]],
    decoder: Decoder,
    transforms: Sequence[LetterboxTransform],
    input_size: tuple[int, int],
    min_confidence: float,
) -> list[Detections]:
    """Turn the outputs of one batch into people.

    Args:
        outputs: The graph's outputs in manifest order, each with the batch first.
        decoder: Which head it is.
        transforms: One for each image of the batch, from `preprocess`.
        input_size: ``(height, width)`` of the model's input in pixels.
        min_confidence: Score in [0, 1] below which a box is dropped.

    Returns:
        One `Detections` an image, in pixels of that image, best first. Boxes with values that are
        not finite or without area are dropped and logged with their number.

    Raises:
        ShapeError: The outputs do not look like this decoder's head.
    """
    heads = _as_heads(outputs, decoder, len(transforms), input_size)
    results = []
    for index, transform in enumerate(transforms):
        xyxy, scores = _CANDIDATES[decoder.kind](
            [head[index] for head in heads], decoder, input_size, min_confidence
        )
        valid = np.isfinite(xyxy).all(1) & np.isfinite(scores)
        valid &= (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
        if not valid.all():
            _log.warning("malformed boxes dropped", count=int((~valid).sum()), image=index)
            xyxy, scores = xyxy[valid], scores[valid]
        order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
        xyxy, scores = xyxy[order], scores[order]
        if decoder.kind in ("yolox", "yolo_raw"):
            keep = nms(xyxy, scores, decoder.nms_iou)
            xyxy, scores = xyxy[keep], scores[keep]
        xyxy, scores = xyxy[:MAX_DETECTIONS], scores[:MAX_DETECTIONS]
        results.append(
            Detections(
                xyxy=transform.to_source(xyxy),
                confidence=np.clip(scores, 0, 1).astype(np.float32, copy=False),
                class_id=np.zeros(len(scores), np.int32),
            )
        )
    return results


def nms(xyxy: NDArray[np.float32], scores: NDArray[np.float32], iou: float) -> NDArray[np.intp]:
    """Greedy non-maximum suppression.

    Args:
        xyxy: `(N, 4)` corners, sorted by falling score.
        scores: `(N,)`.
        iou: Boxes that overlap a better one by more than this are dropped.

    Returns:
        Indices of the kept boxes, best first.
    """
    if len(xyxy) == 0:
        return np.zeros(0, np.intp)
    xywh = xyxy.copy()
    xywh[:, 2:] -= xywh[:, :2]
    # candidates are above the confidence already: keep even those with score 0
    kept = cv2.dnn.NMSBoxes(
        xywh.astype(np.float64),  # type: ignore[arg-type]
        np.maximum(scores, 1e-9),  # type: ignore[arg-type]
        0.0,
        iou,
    )
    return np.asarray(kept, np.intp).reshape(-1)


def _as_heads(
    outputs: Sequence[NDArray[np.float32]],
    decoder: Decoder,
    batch: int,
    input_size: tuple[int, int],
) -> list[NDArray[np.float32]]:
    """Check the outputs against the head; returns arrays with the batch first."""
    shapes = [tuple(output.shape) for output in outputs]
    classes = decoder.num_classes
    expected = {
        "yolox": f"({batch}, {grid_size(input_size, decoder.strides)}, {5 + classes})",
        "yolo_raw": f"({batch}, {4 + classes}, anchors)",
        "end2end": f"({batch}, boxes, 6)",
        "detr": f"({batch}, queries, {classes}) and ({batch}, queries, 4), or "
        f"({batch}, queries, {4 + classes})",
    }[decoder.kind]
    if all(len(shape) == 3 and shape[0] == batch for shape in shapes):
        if decoder.kind == "detr" and len(outputs) == 2:
            boxes_first = shapes[0][2] == 4 and shapes[1][2] == classes
            logits, boxes = outputs[::-1] if boxes_first else outputs
            if logits.shape == (batch, boxes.shape[1], classes) and boxes.shape[2] == 4:
                return [logits, boxes]
        elif len(outputs) >= 1:
            _, rows, columns = shapes[0]
            good = {
                "yolox": rows == grid_size(input_size, decoder.strides) and columns == 5 + classes,
                "yolo_raw": rows == 4 + classes,
                "end2end": columns == 6,
                "detr": columns == 4 + classes,
            }[decoder.kind]
            if good and len(outputs) == 1:
                return [outputs[0]]
    raise ShapeError(
        f"the detector returned arrays of shapes {shapes} for a batch of {batch}",
        expected=f"{expected} for the decoder {decoder.kind!r}",
        fix="the manifest names the wrong decoder, class number or outputs: import the model again "
        "with `crosscam models import`",
    )


def grid_size(input_size: tuple[int, int], strides: Sequence[int]) -> int:
    """Return the number of YOLOX anchors for an input of ``(height, width)`` pixels."""
    height, width = input_size
    return sum((height // stride) * (width // stride) for stride in strides)


@lru_cache(maxsize=16)
def _grid(
    input_size: tuple[int, int], strides: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cell corners `(A, 2)` in cells and stride `(A, 1)` of each YOLOX anchor."""
    height, width = input_size
    cells, sizes = [], []
    for stride in strides:
        ys, xs = np.mgrid[: height // stride, : width // stride]
        cells.append(np.stack([xs.ravel(), ys.ravel()], 1).astype(np.float32))
        sizes.append(np.full((cells[-1].shape[0], 1), stride, np.float32))
    return np.concatenate(cells), np.concatenate(sizes)


def _to_corners(cxcywh: NDArray[np.float32]) -> NDArray[np.float32]:
    half = cxcywh[:, 2:] * np.float32(0.5)
    return np.concatenate([cxcywh[:, :2] - half, cxcywh[:, :2] + half], 1)


def _yolox(
    heads: list[NDArray[np.float32]],
    decoder: Decoder,
    input_size: tuple[int, int],
    min_confidence: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """YOLOX (arXiv 2107.08430): centre as an offset of its cell, log size, objectness × class."""
    rows = heads[0]
    scores = rows[:, 4] * rows[:, 5 + decoder.person_class]
    chosen = np.flatnonzero(~(scores < min_confidence))
    cells, strides = _grid(input_size, decoder.strides)
    picked, stride = rows[chosen, :4], strides[chosen]
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.exp(picked[:, 2:]) * stride
        centre = (picked[:, :2] + cells[chosen]) * stride
        return _to_corners(np.concatenate([centre, size], 1)), scores[chosen]


def _yolo_raw(
    heads: list[NDArray[np.float32]],
    decoder: Decoder,
    _input_size: tuple[int, int],
    min_confidence: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """YOLOv8 / YOLO11 raw head `(4 + C, A)`: centre and size in input pixels, class scores."""
    columns = heads[0]
    scores = columns[4 + decoder.person_class]
    chosen = np.flatnonzero(~(scores < min_confidence))
    with np.errstate(invalid="ignore"):
        return _to_corners(columns[:4, chosen].T), scores[chosen]


def _end2end(
    heads: list[NDArray[np.float32]],
    decoder: Decoder,
    _input_size: tuple[int, int],
    min_confidence: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """YOLO26 / YOLOv10 rows ``x1, y1, x2, y2, confidence, class``, already without duplicates."""
    rows = heads[0]
    person = rows[:, 5] == decoder.person_class
    chosen = np.flatnonzero(person & ~(rows[:, 4] < min_confidence))
    return rows[chosen, :4], rows[chosen, 4]


def _detr(
    heads: list[NDArray[np.float32]],
    decoder: Decoder,
    input_size: tuple[int, int],
    min_confidence: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """DETR (arXiv 2005.12872) and its kin: logits, and centre and size as parts of the input."""
    if len(heads) == 2:
        logits, boxes = heads
    else:
        boxes, logits = heads[0][:, :4], heads[0][:, 4:]
    with np.errstate(over="ignore", invalid="ignore"):
        if decoder.activation == "softmax":
            exponents = np.exp(logits - logits.max(1, keepdims=True))
            scores = exponents[:, decoder.person_class] / exponents.sum(1)
        else:
            scores = logits[:, decoder.person_class]
            if decoder.activation == "sigmoid":
                scores = 1 / (1 + np.exp(-scores))
        chosen = np.flatnonzero(~(scores < min_confidence))
        height, width = input_size
        size = np.array([width, height, width, height], np.float32)
        return _to_corners(boxes[chosen] * size), scores[chosen]


_CANDIDATES = {"yolox": _yolox, "yolo_raw": _yolo_raw, "end2end": _end2end, "detr": _detr}
