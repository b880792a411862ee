from __future__ import annotations

import os
import wave
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import pytest

from crosscam_edge.sources import open_source, probe
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _read(path: Path, **options: object):
    info = probe(path)
    source = open_source("cam", info, **options)
    frames = list(source.frames())
    return info, source, frames


def test_frames_have_numbers_times_and_pictures(make_video: Callable[..., Path]) -> None:
    info, source, frames = _read(make_video(frames=20), start_ns=7)
    assert (info.width, info.height, info.frame_rate, info.frames) == (160, 120, 10.0, 20)
    assert [f.index for f in frames] == list(range(20))
    assert [f.time_ns for f in frames] == [7 + i * 100_000_000 for i in range(20)]
    assert frames[0].image.shape == (120, 160, 3)
    assert frames[0].image.dtype == np.uint8
    assert source.stats.delivered == source.stats.decoded == 20
    assert source.stats.warnings(info) == []


def test_resuming_gives_the_same_frames(make_video: Callable[..., Path]) -> None:
    path = make_video(frames=20, codec="libx264")
    _, _, frames = _read(path)
    tail = list(open_source("cam", probe(path)).frames(start=13))
    assert [f.index for f in tail] == list(range(13, 20))
    for a, b in zip(frames[13:], tail, strict=True):
        assert a.time_ns == b.time_ns
        assert np.array_equal(a.image, b.image)


def test_process_fps_takes_every_third(make_video: Callable[..., Path]) -> None:
    _, source, frames = _read(make_video(frames=30, rate=30), process_fps=10)
    assert [f.index for f in frames] == list(range(0, 30, 3))
    assert source.stats.strided == 20


def test_variable_frame_rate_uses_presentation_times(make_video: Callable[..., Path]) -> None:
    pts = [0, 1, 2, 10, 11, 30]
    _, _, frames = _read(make_video(name="v.mkv", frames=6, pts=pts))
    assert [round(f.time_ns / 1e8) for f in frames] == pts


def test_a_title_in_any_encoding_is_no_obstacle(make_video: Callable[..., Path]) -> None:
    """Recorders write Latin-1 where containers ask for UTF-8."""
    path = make_video(name="named.mkv", frames=6)
    written = path.read_bytes()
    with av.open(str(path)) as container:
        encoder = container.metadata.get("ENCODER") or container.metadata["encoder"]
    assert written.count(encoder.encode()) >= 1
    path.write_bytes(written.replace(encoder.encode(), b"\xe9" * len(encoder)))
    assert len(_read(path)[2]) == 6


def test_raw_h264_has_made_up_times_and_says_so(make_video: Callable[..., Path]) -> None:
    path = make_video(name="clip.264", codec="libx264")
    info, source, frames = _read(path)
    assert not info.timestamps
    assert len(frames) == 30
    assert frames[10].time_ns == round(10 / info.frame_rate * 1e9)
    assert any("no timestamps" in note or "assumed" in note for note in source.stats.warnings(info))
    assert probe(path, frame_rate=5).frame_rate == 5


def test_resolution_change_delivers_the_new_size(make_video: Callable[..., Path]) -> None:
    first = make_video(name="a.264", codec="libx264", frames=10)
    second = make_video(name="b.264", codec="libx264", frames=10, size=(320, 240))
    joined = first.with_name("joined.264")
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    _, source, frames = _read(joined)
    assert {f.image.shape for f in frames} == {(120, 160, 3), (240, 320, 3)}
    assert source.stats.size_changes == 1


def test_truncated_file_goes_as_far_as_it_goes(make_video: Callable[..., Path]) -> None:
    path = make_video(name="long.avi", frames=120)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    info, source, frames = _read(path)
    assert 5 < len(frames) < 110
    assert source.stats.ended_early
    assert any("ends early" in note for note in source.stats.warnings(info))


def test_stop_ends_the_stream(make_video: Callable[..., Path]) -> None:
    source = open_source("cam", probe(make_video()))
    asked = iter(range(5))
    frames = source.frames(stop=lambda: next(asked, None) is None)
    assert len(list(frames)) < 5


def test_pictures_in_natural_order_and_broken_ones_counted(tmp_path: Path) -> None:
    for i in (1, 2, 10):
        cv2.imwrite(str(tmp_path / f"f{i}.png"), np.full((8, 9, 3), i, np.uint8))
    (tmp_path / "f3.png").write_bytes(b"not a picture")
    info = probe(tmp_path, frame_rate=4)
    source = open_source("cam", info)
    frames = list(source.frames())
    assert [int(f.image[0, 0, 0]) for f in frames] == [1, 2, 10]
    assert [f.index for f in frames] == [0, 1, 3]
    assert frames[-1].time_ns == 750_000_000
    assert source.stats.unusable_frames == 1


def _sound(path: Path) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    return path


def _bad(tmp_path: Path, kind: str, make_video: Callable[..., Path]) -> Path:
    path = tmp_path / f"{kind}.mp4"
    if kind == "missing":
        make_video(name="missin.mp4", frames=2)
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("hello " * 1000)
    elif kind == "cut":
        data = make_video(name="whole.mp4").read_bytes()
        path.write_bytes(data[: len(data) // 2])
    elif kind == "sound":
        return _sound(tmp_path / "sound.wav")
    elif kind == "folder":
        path.mkdir()
        (path / "notes.txt").write_text("x")
    elif kind == "playlist":
        path = tmp_path / "list.m3u8"
        path.write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n")
    elif kind == "picture":
        path = tmp_path / "picture.png"
        cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    elif kind == "pipe":
        os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    ("kind", "found", "fix"),
    [
        ("missing", "does not exist", "did you mean"),
        ("empty", "is empty (0 bytes)", "again"),
        ("text", "cannot be read as a video", "recording was probably cut"),
        ("cut", "cannot be read as a video", "index"),
        ("sound", "has no video stream, only audio", "sound track"),
        ("folder", "holds no pictures", "video"),
        ("playlist", "cannot be read as a video", "ffmpeg"),
        ("picture", "cannot be read as a video", "ffmpeg"),
        ("pipe", "device, pipe or socket", "record"),
    ],
)
def test_bad_input_says_what_to_do(
    tmp_path: Path, make_video: Callable[..., Path], kind: str, found: str, fix: str
) -> None:
    path = _bad(tmp_path, kind, make_video)
    with pytest.raises(InputError) as caught:
        probe(path)
    assert found in caught.value.found
    assert str(path) in caught.value.found
    assert fix in caught.value.fix
    assert caught.value.expected


@pytest.mark.skipif(not hasattr(os, "fork") or os.geteuid() != 0, reason="needs to give up root")
def test_no_permission(tmp_path: Path, make_video: Callable[..., Path]) -> None:
    path = make_video()
    path.chmod(0)
    pid = os.fork()
    if pid == 0:  # a child that is nobody: root may read everything
        code = 9
        try:
            for parent in path.parents[:4]:
                if parent != parent.parent:
                    parent.chmod(0o755)
            os.setuid(65534)
            probe(path)
        except InputError as error:
            code = 0 if "no permission" in error.found and "chmod" in error.fix else 8
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
