from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscam_edge.config import CameraConfig
from crosscam_edge.detect.area import AreaFilter
from crosscam_edge.offline.checkpoint import CameraCache, FrameRecord
from crosscam_edge.offline.lock import FolderLock
from crosscam_edge.offline.people import in_order, judged
from crosscam_edge.offline.spool import TrackSpool
from crosscam_edge.track.gaps import TrackRow
from crosscam_edge.track.runner import Verdict, apply_verdict
from crosscam_edge.types import Detections
from crosscam_kernels.errors import RunError

if TYPE_CHECKING:
    from pathlib import Path


def _record(index: int, people: int = 3, dim: int = 4) -> FrameRecord:
    rng = np.random.default_rng(index)
    found = Detections(
        rng.normal(size=(people, 4)).astype(np.float32),
        rng.random(people).astype(np.float32),
        np.zeros(people, np.int32),
    )
    embedded = np.arange(0, people, 2, dtype=np.int64)
    rows = rng.normal(size=(len(embedded), dim)).astype(np.float32)
    return FrameRecord(index, index * 40_000_000, (64, 48), found, embedded, rows)


def _same(a: FrameRecord, b: FrameRecord) -> bool:
    return (
        (a.index, a.time_ns, a.size) == (b.index, b.time_ns, b.size)
        and a.detections.xyxy.tobytes() == b.detections.xyxy.tobytes()
        and a.detections.confidence.tobytes() == b.detections.confidence.tobytes()
        and a.embedded.tolist() == b.embedded.tolist()
        and a.embeddings.tobytes() == b.embeddings.tobytes()
    )


def test_checkpoints_come_back_to_the_bit(tmp_path: Path) -> None:
    records = [_record(i, people=i % 4) for i in range(0, 50, 2)]
    cache = CameraCache(tmp_path, 4, every_frames=10)
    for record in records:
        cache.add(record)
    assert cache.done is None
    cache.finish({"stats": {}})
    again = CameraCache(tmp_path, 4)
    assert again.done == {"stats": {}}
    assert all(_same(a, b) for a, b in zip(records, again.replay(), strict=True))


@pytest.mark.parametrize("damage", ["cut", "garbage", "gone"])
def test_a_damaged_part_costs_what_is_behind_it_and_no_more(tmp_path: Path, damage: str) -> None:
    cache = CameraCache(tmp_path, 4, every_frames=10)
    for i in range(40):
        cache.add(_record(i))
    cache.finish({})
    part = tmp_path / "part-000002.parquet"
    if damage == "cut":
        part.write_bytes(part.read_bytes()[:100])
    elif damage == "garbage":
        part.write_bytes(bytes(500))
    else:
        part.unlink()
    (tmp_path / ".part-000009.parquet.leftover").touch()
    again = CameraCache(tmp_path, 4)
    assert [r.index for r in again.replay()] == list(range(20))
    assert again.done is None
    again.add(_record(20))
    again.flush()
    assert [r.index for r in CameraCache(tmp_path, 4).replay()] == list(range(21))
    assert not list(tmp_path.glob(".part-*"))


def test_a_full_disk_keeps_earlier_parts(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_offline_parts import _record
from crosscam_edge.offline.checkpoint import CameraCache
from crosscam_kernels.errors import RunError
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
cache = CameraCache(Path(sys.argv[1]), 4, every_frames=5)
for i in range(5):
    cache.add(_record(i))
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    for i in range(5, 10):
        cache.add(_record(i, people=400))
except RunError as error:
    assert "no space left" in str(error), error
    assert "-o" in error.fix
    sys.exit(0)
sys.exit(7)
"""
    here = os.path.dirname(__file__)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), here], check=False)
    assert done.returncode == 0
    assert [r.index for r in CameraCache(tmp_path, 4).replay()] == list(range(5))


def test_second_process_is_refused_and_a_dead_one_forgotten(tmp_path: Path) -> None:
    code = (
        "import sys,time; from pathlib import Path;"
        "from crosscam_edge.offline.lock import FolderLock;"
        "lock = FolderLock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(RunError, match=f"another crosscam works in .*{child.pid}"):
            FolderLock(tmp_path)
        child.send_signal(signal.SIGKILL)
        child.wait()
    with FolderLock(tmp_path):
        pass


def _people(*boxes: tuple[float, float, float, float]) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, len(boxes)).astype(np.float32),
        np.zeros(len(boxes), np.int32),
    )


def test_region_and_masks_judge_the_feet() -> None:
    camera = CameraConfig(
        region=[(0, 0), (100, 0), (100, 100), (0, 100)],
        masks=[[(0, 0), (20, 0), (20, 100), (0, 100)]],
    )
    area = AreaFilter(camera, min_confidence=0.1, max_people=10)
    kept = area(_people((40, 10, 60, 90), (40, 10, 60, 130), (5, 10, 15, 90)))
    assert kept.xyxy.tolist() == [[40, 10, 60, 90]]
    assert area.outside == 2


def test_surplus_people_are_dropped_and_counted() -> None:
    area = AreaFilter(CameraConfig(), min_confidence=0.1, max_people=2)
    assert len(area(_people(*[(i, 0, i + 5, 10) for i in range(5)]))) == 2
    assert area.surplus == 3


rows_strategy = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 4)), unique=True, max_size=80)


@given(rows_strategy, st.booleans())
def test_streamed_rows_equal_the_judgement_over_all_rows(
    places: list[tuple[int, int]], joined: bool
) -> None:
    if joined:  # fragments of one person never overlap in time
        places = [(f, t) for f, t in places if not (t == 1 and f > 30) and not (t == 2 and f <= 30)]
    rows = [
        TrackRow(f, f * 200_000_000, t, np.array([f, t, f + 9, t + 20], np.float32), 0.5)
        for f, t in sorted(places)
    ]
    verdict = Verdict([], {1: 1, 2: 1 if joined else 2, 3: 3}, {4: "short"}, {3: [(10, 20)]})
    streamed = list(judged(rows, verdict))
    expected = apply_verdict(rows, verdict)
    assert [(r.frame_index, r.track_id, r.interpolated) for r in streamed] == [
        (r.frame_index, r.track_id, r.interpolated) for r in expected
    ]
    assert all(a.xyxy.tolist() == b.xyxy.tolist() for a, b in zip(streamed, expected, strict=True))
    keys = [(r.frame_index, r.track_id) for r in streamed]
    assert keys == sorted(set(keys))


def test_sorting_holds_only_the_window() -> None:
    box = np.zeros(4, np.float32)
    pulled = 0

    def rows():
        nonlocal pulled
        for i in range(10_000):
            pulled += 1
            yield TrackRow(i, i * 1_000_000, 1, box, 0.5)

    for count, row in enumerate(in_order(rows(), late_ns=50_000_000)):
        assert row.frame_index == count
        assert pulled - count <= 60


def test_spool_returns_what_was_added(tmp_path: Path) -> None:
    spool = TrackSpool(tmp_path / "t.arrow")
    box = np.array([1.5, 2, 3, 4], np.float32)
    spool.add(TrackRow(i, i * 10, i % 7, box + i, i / 10_000, i % 2 == 0) for i in range(9000))
    back = list(spool.rows())
    assert len(back) == 9000
    assert (back[8999].track_id, back[8999].confidence) == (8999 % 7, 0.8999)
    assert back[5000].xyxy.tolist() == (box + 5000).tolist()
