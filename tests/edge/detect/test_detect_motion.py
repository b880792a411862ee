from __future__ import annotations

import cv2
import numpy as np

from crosscam_edge.detect import MotionDetector


def _scene(x: int | None, size: tuple[int, int] = (240, 320)) -> np.ndarray:
    image = np.random.default_rng(0).integers(90, 110, (*size, 3)).astype(np.uint8)
    if x is not None:
        cv2.rectangle(image, (x, 80), (x + 30, 180), (20, 30, 200), -1)
    return image


def test_finds_a_moving_upright_shape_where_it_is() -> None:
    detector = MotionDetector()
    detector.detect([_scene(None)] * 20)
    for x in range(40, 200, 8):
        found = detector.detect([_scene(x)])[0]
    assert len(found) == 1
    assert np.abs(found.xyxy[0] - [192, 80, 223, 181]).max() < 12
    assert 0.5 <= found.confidence[0] <= 1


def test_still_and_flooded_images_hold_nobody() -> None:
    detector = MotionDetector()
    assert not any(len(d) for d in detector.detect([_scene(None)] * 20))
    assert len(detector.detect([255 - _scene(None)])[0]) == 0


def test_a_new_picture_size_starts_a_new_background() -> None:
    detector = MotionDetector()
    detector.detect([_scene(None)] * 20)
    assert len(detector.detect([_scene(None, (120, 160))])[0]) == 0


def test_cameras_do_not_share_a_background() -> None:
    detector = MotionDetector()
    assert detector.sequential
    assert detector.for_camera() is not detector
