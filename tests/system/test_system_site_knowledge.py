"""What a site file says of pairs of cameras reaches association, and needs no new detection."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np

from crosscam_edge.config import load_config
from crosscam_edge.offline import SilentProgress, process


def _walker(path: Path) -> Path:
    """One person who walks through the picture."""
    ground = np.random.default_rng(1).integers(80, 120, (240, 320, 3)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.bit_rate = 2_000_000
        for i in range(100):
            image = ground.copy()
            if 25 < i < 85:
                x = 4 * (i - 25)
                cv2.rectangle(image, (x, 60), (x + 30, 110), (200, 40, 60), -1)
                cv2.rectangle(image, (x + 2, 110), (x + 28, 170), (40, 40, 160), -1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    return path


class _Resumed(SilentProgress):
    """Counts the frames that were worked on anew."""

    def __init__(self) -> None:
        self.fresh = 0

    def frames(self, camera_id: str, done: int, *, resumed: bool) -> None:
        self.fresh += not resumed


def test_least_transit_and_separate_views_reach_association(tmp_path: Path) -> None:
    _walker(tmp_path / "door.avi")
    _walker(tmp_path / "hall.avi")
    site, out = tmp_path / "site.yaml", tmp_path / "out"

    def shared(relation: str, late: int, folder: str) -> tuple[int, int]:
        """Run; returns how many people were in both cameras, and frames that were not resumed."""
        site.write_text(
            "detector: motion\nembedder: colour\n"
            "outputs: {video: false, report: false, crops: false}\n"
            f"cameras:\n  - {{id: door, video: door.avi, {relation}}}\n"
            f"  - {{id: hall, video: hall.avi, offset_seconds: {late}}}\n"
        )
        told = _Resumed()
        result = process([], out / folder, load_config(site), progress=told)
        people = json.loads((out / folder / "identities.json").read_text())["identities"]
        assert sum(len(i["cameras"]) for i in people) == 2
        return result.shared_identities, told.fresh

    # Ten seconds later in the hall, as found by looks; unless nobody is that quick.
    assert shared("", 10, "later")[0] == 1
    assert shared("transit_seconds: {hall: 3}", 10, "later") == (1, 0)
    assert shared("transit_seconds: {hall: 60}", 10, "later") == (0, 0)
    # In both at once: only where both can see the same ground.
    assert shared("overlaps_with: [hall]", 0, "at once")[0] == 1
    assert shared("never_overlaps_with: [hall]", 0, "at once") == (0, 0)
