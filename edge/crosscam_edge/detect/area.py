"""The part of a camera's picture that counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from crosscam_edge.types import Detections

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.config import CameraConfig


class AreaFilter:
    """Keeps people whose feet are in the region and in no mask, and the most certain ones.

    Args:
        camera: Region and masks, pixels of the full picture.
        min_confidence: Detections below are dropped.
        max_people: At most so many are kept, the most certain first.

    Attributes:
        outside: Detections dropped because of where they are.
        surplus: Detections dropped because there were too many.
    """

    def __init__(self, camera: CameraConfig, *, min_confidence: float, max_people: int) -> None:
        self.outside = 0
        self.surplus = 0
        self._region = None if camera.region is None else np.array(camera.region, np.float32)
        self._masks = [np.array(mask, np.float32) for mask in camera.masks]
        self._min_confidence = min_confidence
        self._max_people = max_people

    def __call__(self, found: Detections) -> Detections:
        """Return what is kept, in the order of the input."""
        found = found[found.confidence >= self._min_confidence]
        if len(found) and (self._region is not None or self._masks):
            feet = np.stack(
                [(found.xyxy[:, 0] + found.xyxy[:, 2]) / 2, found.xyxy[:, 3]], axis=1
            ).astype(np.float32)
            keep = np.array([self._counts(foot) for foot in feet], np.bool_)
            self.outside += int((~keep).sum())
            found = found[keep]
        if len(found) > self._max_people:
            self.surplus += len(found) - self._max_people
            best = np.argsort(-found.confidence, kind="stable")[: self._max_people]
            found = found[np.sort(best)]
        return found

    def _counts(self, foot: NDArray[np.float32]) -> bool:
        point = (float(foot[0]), float(foot[1]))
        if self._region is not None and cv2.pointPolygonTest(self._region, point, False) < 0:
            return False
        return not any(cv2.pointPolygonTest(mask, point, False) >= 0 for mask in self._masks)
