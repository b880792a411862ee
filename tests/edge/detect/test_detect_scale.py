"""The detector's input follows the picture's shape where the network allows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscam_deploy.manifest import Decoder, Manifest, Preprocessing
from crosscam_deploy.runtime import open_runtime
from crosscam_deploy.zoo import resolve
from crosscam_edge.detect import choose_detector
from crosscam_edge.detect.model import ModelDetector
from crosscam_edge.detect.scale import LONGEST_SIDE, input_size
from crosscam_kernels.errors import InputError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


def manifest(side: int = 416, *, kind: str = "yolox", fit: str = "letterbox_topleft") -> Manifest:
    return Manifest(
        name="detector",
        task="detect",
        format="onnx",
        model_file="m.onnx",
        files={"m.onnx": "0" * 64},
        input_name="images",
        output_names=("output",),
        dynamic_batch=False,
        preprocessing=Preprocessing(height=side, width=side, color="bgr", fit=fit),
        decoder=Decoder(kind=kind),
        licence="Apache-2.0",
        source="test",
        model_id="0" * 64,
    )


@pytest.mark.parametrize(
    ("picture", "size"),
    [
        ((640, 480), (480, 640)),  # as it is
        ((768, 576), (480, 640)),  # no longer than what such networks are trained on
        ((1920, 1080), (384, 640)),  # 360 rows, rounded up
        ((1080, 1920), (640, 384)),
        ((320, 240), (320, 416)),  # no smaller than published
        ((4000, 100), (64, 640)),  # coarse cells need some rows
    ],
)
def test_follows_the_picture(picture: tuple[int, int], size: tuple[int, int]) -> None:
    assert input_size(picture, manifest()) == size


def test_larger_published_input_stays() -> None:
    assert input_size((1920, 1080), manifest(1280)) == (736, 1280)


def test_chosen_longest_side() -> None:
    assert input_size((1920, 1080), manifest(), 960) == (544, 960)


@pytest.mark.parametrize(("kind", "fit"), [("detr", "letterbox"), ("yolox", "stretch")])
def test_networks_that_cannot_choose_keep_theirs(kind: str, fit: str) -> None:
    assert input_size((640, 480), manifest(kind=kind, fit=fit)) == (416, 416)


@given(st.integers(1, 8000), st.integers(1, 8000))
def test_holds_the_whole_picture_and_no_more(width: int, height: int) -> None:
    rows, columns = input_size((width, height), manifest())
    assert rows % 32 == columns % 32 == 0
    ratio = min(rows / height, columns / width)
    longest = min(max(width, height, 416), LONGEST_SIDE)
    assert ratio * max(width, height) >= longest - 1e-6
    # one stride of padding at most, but for slivers
    assert rows - ratio * height < 33 or rows == 64
    assert columns - ratio * width < 33 or columns == 64


def test_real_network_finds_the_same_people_at_every_size(assets: Path) -> None:
    with av.open(str(assets / "videos/vtest.avi")) as container:
        image = next(container.decode(video=0)).to_ndarray(format="bgr24")
    found = {}
    for longest in (416, 512, None):
        detector, _ = choose_detector("yolox-nano", min_confidence=0.6, longest=longest)
        whole, left = detector.detect([image, np.ascontiguousarray(image[:, :500])])
        assert len(left) >= 1
        alone = detector.detect([image])[0]
        np.testing.assert_array_equal(whole.xyxy, alone.xyxy)  # whatever else was in the call
        found[longest] = whole
        detector.close()
    # Boxes of the published square and of the picture's own shape lie on each other.
    for box in found[416].xyxy:
        assert np.abs(found[None].xyxy - box).max(axis=1).min() < 20


def test_network_with_its_size_in_the_graph_finds_the_same_people(assets: Path) -> None:
    with av.open(str(assets / "videos/people-detection.264")) as container:
        image = next(
            frame.to_ndarray(format="bgr24")
            for index, frame in enumerate(container.decode(video=0))
            if index == 390
        )
    bundle = resolve("yolov8n-int8")
    published = ModelDetector(open_runtime(bundle), 0.5)
    detector, _ = choose_detector("yolov8n-int8", min_confidence=0.5)
    expected, found = published.detect([image])[0], detector.detect([image])[0]
    assert set(detector._engines) == {(640, 640), (384, 640)}
    assert len(found) == len(expected) >= 3
    for box in expected.xyxy:
        assert np.abs(found.xyxy - box).max(axis=1).min() < 3
    published.close()
    detector.close()


def test_bound_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, assets: Path) -> None:
    """A graph that cannot be written anew stays as published, unless a size was asked for."""
    monkeypatch.setenv("CROSSCAM_CACHE", str(tmp_path))
    monkeypatch.setattr("crosscam_deploy.resize_graph.rewrite", lambda *_: None)
    image = np.zeros((480, 640, 3), np.uint8)
    detector, _ = choose_detector("yolov8n-int8", min_confidence=0.5)
    assert len(detector.detect([image])[0]) == 0
    assert {engine.input_size for engine in detector._engines.values()} == {(640, 640)}
    detector.close()
    detector, _ = choose_detector("yolov8n-int8", min_confidence=0.5, longest=320)
    with pytest.raises(InputError, match="cannot run at 256x320"):
        detector.detect([image])
    detector.close()


def test_a_size_for_a_detector_without_one_is_an_error() -> None:
    with pytest.raises(UsageError, match="detector_size is 320"):
        choose_detector("motion", min_confidence=0.1, longest=320)
