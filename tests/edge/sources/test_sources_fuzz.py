"""Damaged videos: each either plays as far as it goes or is refused with a reason, never more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from crosscam_edge.sources import open_source, probe
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KINDS = [("a.avi", "mpeg4"), ("b.mp4", "libx264"), ("c.mkv", "libx264"), ("d.264", "libx264")]
KINDS += [("e.ts", "mpeg2video")]


def _damage(data: bytes, rng: np.random.Generator) -> bytes:
    array = np.frombuffer(data, np.uint8).copy()
    kind = rng.integers(4)
    if kind == 0:
        return array[: rng.integers(1, len(array))].tobytes()
    if kind == 1:  # single bits anywhere
        where = rng.integers(0, len(array), rng.integers(1, 60))
        array[where] ^= (1 << rng.integers(0, 8, len(where))).astype(np.uint8)
    elif kind == 2:  # headers
        where = rng.integers(0, min(600, len(array)), rng.integers(1, 8))
        array[where] = rng.integers(0, 256, len(where))
    else:  # a hole
        start = int(rng.integers(0, len(array)))
        array[start : start + int(rng.integers(1, 4000))] = 0
    return array.tobytes()


def _play(path: Path) -> None:
    info, fix = None, ""
    try:
        info = probe(path)
    except InputError as error:
        fix = error.fix
    if info is None:
        assert fix
        return
    source = open_source("cam", info)
    last = -1
    time = -1
    for frame in source.frames():
        assert frame.index > last
        assert frame.time_ns > time
        assert frame.image.ndim == 3
        assert frame.image.dtype == np.uint8
        last, time = frame.index, frame.time_ns
        if frame.index > 500:  # damage can make a header promise anything
            break
    source.close()
    assert all(isinstance(note, str) for note in source.stats.warnings(info))


def _fuzz(make_video: Callable[..., Path], variants: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    originals = [make_video(name=name, codec=codec) for name, codec in KINDS]
    for number in range(variants):
        original = originals[number % len(originals)]
        path = original.with_name(f"damaged{original.suffix}")
        path.write_bytes(_damage(original.read_bytes(), rng))
        try:
            _play(path)
        except Exception as error:
            error.add_note(f"variant {number} of seed {seed}")
            raise


def test_damaged_videos(make_video: Callable[..., Path]) -> None:
    _fuzz(make_video, 40, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_thousands_of_damaged_videos(make_video: Callable[..., Path]) -> None:
    _fuzz(make_video, 4000, seed=1)
