"""Chosen frames are those of a whole pass, to the pixel, whatever the container and the codec."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscam_edge.sources import open_source, probe
from crosscam_edge.sources.pick import Packets, plan_reading
from crosscam_edge.sources.video import VideoSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _encode(path: Path, codec: str, options: dict[str, str], frames: int = 60) -> Path:
    """Moving squares, so that a wrong reference picture shows."""
    noise = np.random.default_rng(1).integers(0, 60, (120, 160, 3)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.codec_context.gop_size = 12
        for i in range(frames):
            image = noise.copy()
            cv2.rectangle(image, (2 * i, 30), (2 * i + 30, 90), (200, 4 * i, 90), -1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def _same(path: Path, numbers: list[int]) -> int:
    """Pick frames and compare; returns how many a whole pass decoded, 0 when none was needed."""
    info = probe(path)
    every = {f.index: f for f in open_source("cam", info, start_ns=7).frames()}
    source = open_source("cam", info, start_ns=7)
    wanted = {n: every[n].time_ns for n in numbers}
    found = {f.index: f for f in source.pick(wanted)}
    assert found.keys() == wanted.keys()
    for n, frame in found.items():
        assert frame.time_ns == every[n].time_ns
        assert np.array_equal(frame.image, every[n].image), n
    return source.stats.decoded


KINDS = [
    ("a.mp4", "libx264", {}),
    ("b.mkv", "libx264", {"x264-params": "open-gop=1:bframes=3"}),
    ("c.ts", "libx264", {}),
    ("d.mp4", "libx265", {"x265-params": "log-level=none:open-gop=1:keyint=12"}),
    ("e.avi", "mpeg4", {}),
    ("f.webm", "libvpx-vp9", {"cpu-used": "8", "deadline": "realtime"}),
    ("g.mpg", "mpeg2video", {}),
]


@pytest.mark.parametrize(("name", "codec", "options"), KINDS)
def test_picked_frames_are_those_of_a_whole_pass(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    try:
        av.codec.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this FFmpeg has no {codec}")
    path = _encode(tmp_path / name, codec, options)
    for numbers in ([0], [59], [11, 12, 13, 25], [34, 35, 36, 37], list(range(60))):
        assert _same(path, numbers) == 0, "everything was decoded"


def test_frames_without_times_are_picked_by_counting(tmp_path: Path) -> None:
    path = _encode(tmp_path / "raw.264", "libx264", {})
    assert _same(path, [3, 40]) == 41


def test_damage_and_jumps_are_no_reason_for_a_wrong_frame(
    tmp_path: Path, make_video: Callable[..., Path]
) -> None:
    path = _encode(tmp_path / "long.avi", "mpeg4", {})
    data = bytearray(path.read_bytes())
    for at in np.random.default_rng(3).integers(len(data) // 4, len(data) - 3000, 40):
        data[at] ^= 0x55
    path.write_bytes(data)
    info = probe(path)
    numbers = [f.index for f in open_source("cam", info).frames()]
    _same(path, numbers[::5])
    jump = make_video(name="jump.mkv", frames=30, pts=[*range(15), *range(100, 115)])
    _same(jump, [2, 14, 15, 29])
    back = make_video(name="first.ts", codec="mpeg2video", frames=30)
    back.write_bytes(back.read_bytes() * 2)  # the times start again in the middle
    _same(back, [5, 29, 30, 31, 44, 59])


def test_real_footage(assets: Path) -> None:
    path = assets / "videos" / "one-by-one-person-detection.mp4"
    info = probe(path)
    wanted, kept = {}, {}
    for frame in open_source("cam", info).frames(stop=lambda: len(wanted) > 4):
        if frame.index % 97 == 3:
            wanted[frame.index], kept[frame.index] = frame.time_ns, frame.image
    source = VideoSource("cam", info)
    for frame in source.pick(wanted):
        assert np.array_equal(frame.image, kept.pop(frame.index))
    assert not kept
    assert source.stats.decoded == 0


def test_pictures_are_picked_and_unreadable_ones_passed_over(tmp_path: Path) -> None:
    for i in range(6):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((8, 9, 3), i, np.uint8))
    (tmp_path / "4.png").write_bytes(b"no picture")
    source = open_source("cam", probe(tmp_path))
    found = list(source.pick({5: 55, 2: 22, 4: 44, 9: 99}))
    assert [(f.index, f.time_ns, int(f.image[0, 0, 0])) for f in found] == [(2, 22, 2), (5, 55, 5)]


def test_stop_ends_the_picking(make_video: Callable[..., Path]) -> None:
    source = open_source("cam", probe(make_video()))
    frames = source.pick({0: 0, 20: 2 * 10**9}, stop=lambda: True)
    assert list(frames) == []


@given(st.data())
def test_every_span_begins_with_a_key_frame_and_holds_its_frames(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 40))
    key = np.array([i == 0 or data.draw(st.booleans()) for i in range(count)])
    # Shown in another order than stored, but nothing before the first key frame.
    pts = np.array([0, *data.draw(st.permutations(range(1, count)))], np.int64)
    packets = Packets(pts, key, np.ones(count, np.bool_))
    numbers = data.draw(st.sets(st.integers(0, count - 1)))
    reading = plan_reading(packets, {n: n * 10**8 for n in numbers}, Fraction(1, 10), 1000)
    assert reading is not None
    last = -1
    for first, end in reading.spans:
        assert last < first <= end
        assert key[first]
        last = end
    for n in numbers:
        packet = int(np.flatnonzero(pts == n)[0])
        span = next(s for s in reading.spans if s[0] <= packet <= s[1])
        assert any(key[k] and pts[k] <= n for k in range(span[0], packet + 1))
    assert set(reading.index.values()) == numbers
