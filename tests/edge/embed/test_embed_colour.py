from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crosscam_edge.embed.base import unit_rows
from crosscam_edge.embed.colour import ColourEmbedder


def _person(shirt: tuple[int, int, int], trousers: tuple[int, int, int], gain: float = 1.0):
    image = np.full((200, 120, 3), 128, np.uint8)
    cv2.rectangle(image, (30, 40), (90, 110), shirt, -1)
    cv2.rectangle(image, (35, 110), (85, 195), trousers, -1)
    return np.clip(image * gain, 0, 255).astype(np.uint8)


def test_same_clothes_are_closer_than_other_clothes() -> None:
    embedder = ColourEmbedder()
    box = np.array([[20, 10, 100, 198]])
    red_blue = embedder.embed(_person((30, 30, 200), (160, 60, 20)), box)[0]
    darker = embedder.embed(_person((30, 30, 200), (160, 60, 20), 0.8), box)[0]
    green_black = embedder.embed(_person((40, 180, 40), (15, 15, 15)), box)[0]
    blue_red = embedder.embed(_person((160, 60, 20), (30, 30, 200)), box)[0]
    assert red_blue @ darker > max(red_blue @ green_black, red_blue @ blue_red) + 0.1


@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(0, 6), st.just(4)),
        elements=st.floats(-400, 400) | st.just(np.nan) | st.just(np.inf),
    )
)
def test_any_boxes_give_unit_or_zero_rows(boxes: np.ndarray) -> None:
    embedder = ColourEmbedder()
    image = np.random.default_rng(0).integers(0, 256, (100, 150, 3)).astype(np.uint8)
    rows = embedder.embed(image, boxes)
    assert rows.shape == (len(boxes), embedder.dim)
    assert rows.dtype == np.float32
    norms = np.linalg.norm(rows, axis=1)
    assert (np.isclose(norms, 1, atol=1e-5) | (norms == 0)).all()
    assert embedder.unusable == int((norms == 0).sum())


def test_rows_without_direction_become_zero_and_are_named() -> None:
    rows, good = unit_rows(np.array([[3.0, 4.0], [0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]]))
    assert good.tolist() == [True, False, False, False]
    assert np.allclose(rows, [[0.6, 0.8], [0, 0], [0, 0], [0, 0]])
