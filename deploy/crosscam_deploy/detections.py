"""`Detections`: what a detector found in one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crosscam_kernels.errors import ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Detections:
    """Boxes of one image, in pixels of that image.

    Attributes:
        xyxy: `(N, 4)` float32, left, top, right, bottom in pixels; may reach outside the image.
        confidence: `(N,)` float32 in [0, 1].
        class_id: `(N,)` int32, index into the detector's class table (0 is a person).
    """

    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int32]

    def __post_init__(self) -> None:
        n = len(self.xyxy)
        if (
            self.xyxy.shape != (n, 4)
            or self.confidence.shape != (n,)
            or self.class_id.shape != (n,)
        ):
            raise ShapeError(
                f"detections have shapes xyxy {self.xyxy.shape}, confidence "
                f"{self.confidence.shape}, class_id {self.class_id.shape}",
                expected="(N, 4), (N,) and (N,)",
                fix="pass arrays of one length; use Detections.empty() for no detection",
            )

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, index: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Detections:
        return Detections(self.xyxy[index], self.confidence[index], self.class_id[index])

    @classmethod
    def empty(cls) -> Detections:
        """Return detections of an image in which nothing was found."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))
