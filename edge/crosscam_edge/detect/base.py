"""What the pipeline needs of a detector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from crosscam_edge.types import Detections


class Detector(Protocol):
    """Finds people.

    Attributes:
        name: Name for people.
        model_id: Changes whenever results may change.
        sequential: True when a result depends on the images before it: one instance per camera
            (`for_camera`), images in order, none left out.
        inference_seconds: Time spent inside the network so far, all threads together.
    """

    name: str
    model_id: str
    sequential: bool
    inference_seconds: float

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Return the people of each `(H, W, 3)` uint8 BGR image, in its pixels, best first."""
        ...

    def for_camera(self) -> Detector:
        """Return the detector to use for one camera."""
        ...

    def close(self) -> None:
        """Free the engine."""
        ...
