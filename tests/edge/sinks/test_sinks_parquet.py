"""Records as Parquet: the same as the lines, in files that are whole or absent."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from brokers import wait_for

from crosscam_edge.associate.online import EventKind, IdentityEvent
from crosscam_edge.config.live import LiveConfig
from crosscam_edge.live.camera import CameraHealth
from crosscam_edge.live.outputs import open_outputs
from crosscam_edge.live.records import camera_record, identity_record, track_record
from crosscam_edge.live.swap import SwapReport, SwapState, model_record
from crosscam_edge.sinks import parquet as module
from crosscam_edge.sinks.base import Health
from crosscam_edge.sinks.forget import Seen
from crosscam_edge.sinks.parquet import SCHEMAS, ParquetSink
from crosscam_edge.sinks.shelf import Bounds
from crosscam_edge.types import TrackletKey

WIDE = Bounds(1000, 1 << 30, 1e9)


def person(n, track=None, **more):
    key = TrackletKey("hall", n if track is None else track)
    return identity_record(IdentityEvent(EventKind.NEW, n, n, key=key)) | more


def camera(n):
    size = (640, 480) if n % 2 else None
    return camera_record(CameraHealth("hall", "rtsp://h", since_ns=n, size=size))


def boxes(n):
    rows = [
        SimpleNamespace(track_id=k, xyxy=(1.5, 2.5, 3.5, 4.5), confidence=0.5) for k in range(n % 3)
    ]
    ids = {0: n, 1: None}
    return track_record(SimpleNamespace(camera_id="hall", index=n, time_ns=n), rows, ids)


def model(n):
    if n % 2:
        report = SwapReport(SwapState.REFUSED, "old", reason="no such file")
    else:
        report = SwapReport(SwapState.SWAPPED, "old", "new", people=n, lost=1)
    return model_record(report, n)


@pytest.fixture
def opened(tmp_path):
    sinks = []

    def make(every_s=3600.0, bounds=WIDE):
        sinks.append(ParquetSink(tmp_path / "parquet", every_s=every_s, bounds=bounds))
        return sinks[-1]

    yield make
    for each in sinks:
        each.close()


def rows(folder, kind="*"):
    return [
        row
        for path in sorted(folder.glob(f"*_{kind}.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]


def test_columns_hold_the_same_as_lines(tmp_path):
    config = LiveConfig.model_validate(
        {"parquet": {"kinds": ["identity", "camera", "model", "tracks"]}}
    )
    outputs = open_outputs(tmp_path, config, tracks=True)
    for n in range(1, 2500):
        for record in (person(n), camera(n), model(n), boxes(n)):
            outputs.put(record)
    outputs.close()
    lines = [json.loads(text) for text in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert len(lines) == 4 * 2499
    for kind, schema in SCHEMAS.items():
        (path,) = (tmp_path / "parquet").glob(f"*_{kind}.parquet")
        assert pq.read_schema(path).equals(schema)
        told = [line for line in lines if line["type"] == kind]
        assert pq.read_table(path).to_pylist() == told
        assert list(told[0]) == schema.names
    assert outputs.counts()["parquet"] == {"written": 4 * 2499, "dropped": 0, "health": "ok"}


def test_a_file_is_written_when_it_is_due(opened, tmp_path):
    sink = opened(every_s=0.3)
    for turn in range(1, 4):
        sink.put(person(turn))
        wait_for(lambda turn=turn: sink.written == turn)
    assert len(list((tmp_path / "parquet").iterdir())) == 3
    assert [row["global_id"] for row in rows(tmp_path / "parquet")] == [1, 2, 3]


def test_many_records_do_not_wait_until_it_is_due(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_BYTES", 10_000)
    monkeypatch.setattr(module, "_BATCH", 10)
    sink = opened()
    for n in range(1, 1001):
        sink.put(person(n))
    wait_for(lambda: sink.written > 100)
    sink.close()
    assert sink.written == 1000


def test_a_record_that_does_not_fit_is_dropped_alone(opened, tmp_path):
    sink = opened()
    for record in (person(1), person(2, odds="high"), person(3, kind=None), {"type": "camera"}):
        sink.put(record)
    sink.put(person(4))
    sink.close()
    assert [row["global_id"] for row in rows(tmp_path / "parquet")] == [1, 4]
    assert (sink.written, sink.dropped) == (2, 3)


def test_a_disk_that_takes_nothing_is_told_and_waited_for(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_AGAIN_S", 0.1)
    sink = opened(every_s=0.1)
    folder = tmp_path / "parquet"
    folder.rmdir()
    folder.touch()
    sink.put(person(1))
    wait_for(lambda: sink.health is Health.FAILING)
    assert (sink.written, sink.dropped) == (0, 0)
    folder.unlink()
    wait_for(lambda: sink.written == 1)
    assert sink.health is Health.OK
    assert [row["global_id"] for row in rows(folder)] == [1]


def test_what_is_held_for_a_full_disk_is_bounded(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_BYTES", 5_000)
    monkeypatch.setattr(module, "_BATCH", 10)
    sink = opened()
    folder = tmp_path / "parquet"
    folder.rmdir()
    folder.touch()
    for n in range(1, 2001):
        sink.put(person(n))
    wait_for(lambda: sink._waiting.empty())
    assert sink._held["identity"].bytes < 5_000 + 16 * 2_000
    sink.close()
    assert (sink.written, sink.dropped) == (0, 2000)


def test_who_is_erased_is_in_no_file_and_not_in_memory(opened, tmp_path):
    sink = opened(every_s=0.2)
    for n in range(1, 4):
        sink.put(person(n))
        sink.put(boxes(3 * n + 2))
    sink.put(person(4, runner_up=1.5, runner_up_id=2))
    wait_for(lambda: sink.written == 7)
    sink._every_s = 3600.0
    wait_for(lambda: sink._waiting.empty())
    folder = tmp_path / "parquet"
    before = {each.name: each.stat().st_mtime_ns for each in folder.iterdir()}
    sink.put(person(2))
    sink.put(person(5, track=7))
    changed = sink.erase([2, 8], [Seen(TrackletKey("hall", 7), 0, 1)])
    assert changed >= 5
    sink.close()
    left = rows(folder, "identity")
    assert sorted(row["global_id"] for row in left) == [1, 3, 4]
    assert not any(row["runner_up_id"] for row in left)
    told = [p["global_id"] for row in rows(folder, "tracks") for p in row["people"]]
    assert 8 not in told
    assert 5 in told
    after = {each.name: each.stat().st_mtime_ns for each in folder.iterdir()}
    assert all(before[name] == time for name, time in after.items() if name in before)


def test_the_oldest_files_make_room_and_a_crash_leaves_none_broken(opened, tmp_path):
    (tmp_path / "parquet").mkdir()
    (tmp_path / "parquet" / ".x.00.part.parquet").touch()
    sink = opened(every_s=0.1, bounds=Bounds(2, 1 << 30, 1e9))
    for turn in range(1, 6):
        sink.put(person(turn))
        wait_for(lambda turn=turn: sink.written == turn)
    sink.close()
    kept = [row["global_id"] for row in rows(tmp_path / "parquet")]
    assert kept[-1] == 5
    assert len(kept) <= 3
    assert not list((tmp_path / "parquet").glob(".*"))
