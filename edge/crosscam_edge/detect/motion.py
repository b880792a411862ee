"""People as things that move, for fixed cameras and for machines without any model.

Background subtraction with a Gaussian mixture per pixel (Zivkovic, "Improved adaptive Gaussian
mixture model for background subtraction", ICPR 2004; OpenCV's MOG2), then person-shaped regions.
It knows nothing of people: carts and dogs are people to it, and somebody who stands still fades.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from crosscam_edge.types import Detections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_WORK_WIDTH = 480  # pixels; blobs of people survive it and the cost is a third of full size
_HISTORY = 400
_VARIANCE = 24.0
_WARM_UP = 12  # images before the background means anything
_MIN_HEIGHT = 0.07  # of the image
_MAX_HEIGHT = 0.98
_ASPECT = (1.1, 5.5)  # height / width of one person
_MIN_FILL = 0.25
_FLOOD = 0.4  # foreground share at which the light or the camera changed, not people


class MotionDetector:
    """Finds moving, person-shaped regions in the images of one fixed camera."""

    name = "motion"
    model_id = "motion-mog2-1"
    sequential = True

    def __init__(self) -> None:
        self.inference_seconds = 0.0
        self._size: tuple[int, int] | None = None
        self._seen = 0
        self._background = self._new_background()

    @staticmethod
    def _new_background() -> cv2.BackgroundSubtractorMOG2:
        return cv2.createBackgroundSubtractorMOG2(_HISTORY, _VARIANCE, detectShadows=True)

    def for_camera(self) -> MotionDetector:
        """Return a detector with an empty background."""
        return MotionDetector()

    def close(self) -> None:
        """Nothing to free."""

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Return the moving people of consecutive images, best first."""
        return [self._one(image) for image in images]

    def _one(self, image: NDArray[np.uint8]) -> Detections:
        height, width = image.shape[:2]
        if self._size != (height, width):
            self._size, self._seen = (height, width), 0
            self._background = self._new_background()
        scale = min(1.0, _WORK_WIDTH / width)
        small = image
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        mask = self._background.apply(cv2.GaussianBlur(small, (3, 3), 0))
        self._seen += 1
        if self._seen <= _WARM_UP:
            return Detections.empty()
        moving = (mask == 255).astype(np.uint8)  # 127 marks shadows
        moving = cv2.morphologyEx(moving, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
        if moving.mean() > _FLOOD:
            return Detections.empty()
        # People break apart at belts and between legs, that is vertically.
        tall = np.ones((max(3, small.shape[0] // 24), 3), np.uint8)
        joined = cv2.morphologyEx(moving, cv2.MORPH_CLOSE, tall)
        _, _, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
        return _people(np.asarray(stats[1:], np.float32), small.shape[:2], width / small.shape[1])


def _people(stats: NDArray[np.float32], size: tuple[int, int], to_source: float) -> Detections:
    """Return the person-shaped regions of connected components `(R, 5)` x, y, w, h, area."""
    if not len(stats):
        return Detections.empty()
    x, y, w, h, area = stats.T
    aspect, fill = h / w, area / (w * h)
    good = (h >= _MIN_HEIGHT * size[0]) & (h <= _MAX_HEIGHT * size[0]) & (w >= 4)
    good &= (aspect >= _ASPECT[0]) & (aspect <= _ASPECT[1]) & (fill >= _MIN_FILL)
    xyxy = np.stack([x, y, x + w, y + h], 1)[good] * np.float32(to_source)
    confidence = np.clip(0.4 + 0.7 * fill[good], 0.0, 0.95).astype(np.float32)
    order = np.argsort(-confidence, kind="stable")
    return Detections(
        xyxy[order].astype(np.float32), confidence[order], np.zeros(len(order), np.int32)
    )
