"""Crops in the layout of Market-1501, for training and testing re-identification."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from crosscam_edge.simulate.writers import write_image

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from crosscam_edge.simulate.config import SiteConfig

_EVERY = 0.5  # seconds between two crops of one person in one camera
_MIN_VISIBILITY = 0.6
_MIN_HEIGHT = 56


class CropWriter:
    """Collects crops from all cameras.

    People with odd ids go to ``bounding_box_train``, those with even ids are tested: their first
    crop per camera and day is a ``query``, the rest ``bounding_box_test``. Names are
    ``<id>_c<camera>s<day>_<frame>_00.jpg``.

    Args:
        root: Folder to write.
        config: Of the site.
    """

    def __init__(self, root: Path, config: SiteConfig) -> None:
        self._root = root
        self._gap = max(1, round(_EVERY * config.fps))
        self._last: dict[tuple[int, int, int], int] = {}
        self._lock = threading.Lock()
        for name in ("bounding_box_train", "bounding_box_test", "query"):
            (root / name).mkdir(parents=True)

    def offer(
        self,
        image: NDArray[np.uint8],
        box: tuple[int, int, int, int],
        visibility: float,
        person: int,
        camera: int,
        day: int,
        frame: int,
    ) -> None:
        """Write the crop if the person is seen well and was not cropped a moment ago."""
        x0, y0, x1, y1 = box
        if visibility < _MIN_VISIBILITY or y1 - y0 < _MIN_HEIGHT:
            return
        key = (person, camera, day)
        with self._lock:
            last = self._last.get(key)
            if last is not None and frame - last < self._gap:
                return
            self._last[key] = frame
        if person % 2:
            folder = "bounding_box_train"
        else:
            folder = "query" if last is None else "bounding_box_test"
        name = f"{person:04d}_c{camera}s{day + 1}_{frame + 1:06d}_00.jpg"
        write_image(self._root / folder / name, image[y0:y1, x0:x1])
