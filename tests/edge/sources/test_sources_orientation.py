"""Recordings of turned and mirrored cameras: upright in every picture that anybody sees."""

from __future__ import annotations

import io
import json
import sys
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from crosscam_edge.config import SiteConfig
from crosscam_edge.offline import process
from crosscam_edge.sources import open_source, probe
from crosscam_edge.sources.orientation import orientation_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

#: How upright pictures come to lie on the sensor, and the matrix (a, b, c, d) that a player then
#: applies: a stored pixel (x, y) is shown at (a x + c y, b x + d y).
CASES: dict[str, tuple[Callable[[Picture], Picture], tuple[int, int, int, int]]] = {
    "as it is": (lambda p: p, (1, 0, 0, 1)),
    "held to the left": (lambda p: np.rot90(p, 1), (0, 1, -1, 0)),
    "upside down": (lambda p: np.rot90(p, 2), (-1, 0, 0, -1)),
    "held to the right": (lambda p: np.rot90(p, -1), (0, -1, 1, 0)),
    "mirrored": (lambda p: p[:, ::-1], (-1, 0, 0, 1)),
    "upended": (lambda p: p[::-1], (1, 0, 0, -1)),
    "transposed": (lambda p: p.transpose(1, 0, 2), (0, 1, 1, 0)),
    "transposed twice mirrored": (
        lambda p: p.transpose(1, 0, 2)[::-1, ::-1],
        (0, -1, -1, 0),
    ),
}


def _portrait(frames: int) -> Iterable[Picture]:
    """Three people cross an upright 192 x 320 picture; its corners differ."""
    noise = np.random.default_rng(1).integers(40, 160, (320, 192, 3)).astype(np.uint8)
    ground = cv2.GaussianBlur(noise, (0, 0), 3).astype(np.uint8)
    ground[:40, :40] = (255, 0, 0)
    ground[:40, -40:] = (0, 0, 255)
    for i in range(frames):
        image = ground.copy()
        for k, shirt in enumerate(((200, 40, 60), (30, 180, 60), (60, 60, 220))):
            x, y = 4 * i - 60 - 70 * k, 60 + 45 * k
            if x > -30:
                cv2.rectangle(image, (x, y), (x + 26, y + 45), shirt, -1)
                cv2.rectangle(image, (x + 2, y + 45), (x + 24, y + 100), (230, 60, 60), -1)
        yield image


def _record(path: Path, case: str, frames: int) -> Path:
    store, (a, b, c, d) = CASES[case]
    with av.open(str(path), "w") as container:
        stream = None
        for upright in _portrait(frames):
            stored = np.ascontiguousarray(store(upright))
            if stream is None:
                stream = container.add_stream("mpeg4", rate=10, options={"qscale": "2"})
                stream.height, stream.width = stored.shape[:2]
                stream.pix_fmt = "yuv420p"
                one = 1 << 16
                stream.set_display_matrix([a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="bgr24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("case", CASES)
def test_frames_are_upright(tmp_path: Path, case: str) -> None:
    info = probe(_record(tmp_path / "phone.mp4", case, 4))
    assert (info.width, info.height) == (192, 320)
    source = open_source("cam", info)
    frames = list(source.frames())
    for frame, upright in zip(frames, _portrait(4), strict=True):
        assert frame.image.shape == (320, 192, 3)
        assert frame.image.flags.c_contiguous
        assert np.abs(frame.image.astype(int) - upright).mean() < 8
    (picked,) = source.pick({2: frames[2].time_ns})
    assert np.array_equal(picked.image, frames[2].image)


def _decode(path: Path) -> list[Picture]:
    with av.open(str(path)) as container:
        return [f.to_ndarray(format="bgr24") for f in container.decode(video=0)]


@pytest.mark.parametrize("case", ["held to the left", "held to the right", "mirrored"])
def test_tracks_crops_and_videos_are_upright(tmp_path: Path, case: str) -> None:
    frames = 70
    settings = SiteConfig.model_validate(
        {"detector": "motion", "embedder": "colour", "cameras": [{"id": "phone"}]}
    )
    out = tmp_path / "out"
    process([_record(tmp_path / "phone.mp4", case, frames)], out, settings)
    camera = json.loads((out / "run.json").read_text())["cameras"][0]
    assert (camera["width"], camera["height"]) == (192, 320)

    # Boxes are where the people are in the upright picture.
    rows = pq.read_table(out / "tracks.parquet").to_pylist()
    shown = list(_portrait(frames))
    ground = next(iter(_portrait(1)))
    assert len(rows) > 60
    covered = []
    for row in rows:
        changed = np.abs(shown[row["frame"]].astype(int) - ground).max(axis=2) > 40
        x1, y1, x2, y2 = (round(row[n]) for n in ("x1", "y1", "x2", "y2"))
        covered.append(changed[max(0, y1) : y2, max(0, x1) : x2].mean())
    assert np.median(covered) > 0.3  # background subtraction boxes generously
    assert np.median([(r["y2"] - r["y1"]) / (r["x2"] - r["x1"]) for r in rows]) > 1.5

    # Crops show those boxes, with a margin of 6 %.
    crops = list((out / "crops").rglob("*.jpg"))
    assert len(crops) > 3
    for path in crops:
        number, who = int(path.stem.split("_")[1]), int(path.parent.name)
        (box,) = (r for r in rows if (r["frame"], r["global_id"]) == (number, who))
        edges = np.array([box[n] for n in ("x1", "y1", "x2", "y2")])
        margin = 0.06 * (edges[2:] - edges[:2])
        left, top = np.clip(np.floor(edges[:2] - margin), 0, (192, 320)).astype(int)
        right, bottom = np.clip(np.ceil(edges[2:] + margin), 0, (192, 320)).astype(int)
        crop, expected = cv2.imread(str(path)), shown[number][top:bottom, left:right]
        assert crop.shape == expected.shape
        assert np.abs(crop.astype(int) - expected).mean() < 12, path

    # The annotated video is the upright picture, and needs no matrix of its own.
    video = _decode(out / "video" / "phone.mp4")
    assert len(video) == frames
    for image, upright in zip(video[::10], shown[::10], strict=True):
        assert image.shape == upright.shape
        quiet = np.abs(upright.astype(int) - ground).max(axis=2) < 5
        quiet[:60] = False  # the header
        assert np.median(np.abs(image.astype(int) - upright)[quiet]) < 12


@pytest.mark.parametrize("number", range(1, 9))
def test_pictures_with_exif_are_upright(tmp_path: Path, number: int) -> None:
    """Cameras that send JPEGs say in EXIF how they hold them; PyAV 18 has no name for that."""
    stored, exif = next(iter(_portrait(1))), Image.Exif()
    exif[0x0112] = number
    written = io.BytesIO()
    Image.fromarray(stored[..., ::-1]).save(written, "JPEG", quality=95, exif=exif)
    packet = written.getvalue()
    with av.open(str(tmp_path / "camera.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.height, stream.width, stream.pix_fmt = *stored.shape[:2], "yuvj420p"
        for k in range(3):
            sent = av.Packet(packet)
            sent.stream, sent.pts, sent.dts, sent.is_keyframe = stream, k, k, True
            sent.time_base = Fraction(1, 10)
            container.mux(sent)
    upright = cv2.imdecode(np.frombuffer(packet, np.uint8), cv2.IMREAD_COLOR)
    info = probe(tmp_path / "camera.avi")
    assert (info.height, info.width) == upright.shape[:2]
    images = [frame.image for frame in open_source("cam", info).frames()]
    assert len(images) == 3
    for image in images:
        assert image.shape == upright.shape
        assert np.abs(image.astype(int) - upright).mean() < 3


def _jpeg_frame() -> av.VideoFrame:
    exif, written = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.new("RGB", (64, 48)).save(written, "JPEG", exif=exif)
    decoder = av.CodecContext.create("mjpeg", "r")
    (frame,) = [*decoder.decode(av.Packet(written.getvalue())), *decoder.decode(None)]
    return frame


@pytest.mark.parametrize("make", [lambda: av.VideoFrame(64, 48, "yuv420p"), _jpeg_frame])
def test_a_frame_goes_as_soon_as_nobody_holds_it(make: Callable[[], av.VideoFrame]) -> None:
    """Frames in a ring of references stayed for minutes: hundreds of megabytes of live cameras."""
    frame = make()
    holders = sys.getrefcount(frame)
    orientation_of(frame)
    assert sys.getrefcount(frame) == holders
