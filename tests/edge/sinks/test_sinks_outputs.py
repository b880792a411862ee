"""What a run writes: whole files, in step with each other, from rows in either order."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscam_edge.sinks.atomic import atomic_path, output_error, write_text
from crosscam_edge.sinks.files import write_outputs
from crosscam_edge.sinks.mot import read_mot
from crosscam_edge.sinks.mtmc import read_mtmc
from crosscam_edge.sinks.run_file import RunFile, RunStatus, read_run, utc, write_run
from crosscam_edge.sinks.schema import TRACKS_SCHEMA, CameraInfo, file_stem
from crosscam_kernels.errors import InputError, RunError

ZERO = 1_700_000_000_123_000_000


def cameras() -> list[CameraInfo]:
    return [
        CameraInfo(n, i, f"{i}.mp4", 640, 480, 10.0, 50, ZERO) for i, n in ((1, "A/1"), (2, "B"))
    ]


def batch(rows) -> pa.RecordBatch:
    full = [
        {
            "camera_id": c, "frame": f, "time_ns": ZERO + f * 10**8, "track_id": g + 100,
            "global_id": g, "x1": 1.5, "y1": 2.5, "x2": 11.5, "y2": 42.5, "confidence": 0.75,
            "interpolated": g % 2 == 0,
        }
        for c, f, g in rows
    ]  # fmt: skip
    return pa.RecordBatch.from_pylist(full, schema=TRACKS_SCHEMA)


ROWS = [("A/1", f, g) for f in range(30) for g in (1, 2)] + [("B", f, 2) for f in range(5, 25)]


@pytest.mark.parametrize("order", ["by camera", "by frame"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_all_files_tell_the_same(tmp_path: Path, order: str, size: int) -> None:
    rows = ROWS if order == "by camera" else sorted(ROWS, key=lambda r: (r[1], r[0], r[2]))
    batches = (batch(rows[i : i + size]) for i in range(0, len(rows), size))
    write_outputs(tmp_path, batches, cameras())
    table = pq.read_table(tmp_path / "tracks.parquet")
    assert table.schema.equals(TRACKS_SCHEMA)
    assert table.num_rows == len(rows)
    a, b = read_mot(tmp_path / "mot" / "A%2F1.txt"), read_mot(tmp_path / "mot" / "B.txt")
    assert (len(a), len(b)) == (60, 20)
    np.testing.assert_array_equal(b.xyxy[0], [1.5, 2.5, 11.5, 42.5])
    mtmc = read_mtmc(tmp_path / "mtmc.txt")
    np.testing.assert_array_equal(b.object_id, mtmc[2].object_id + 100)  # tracks, not identities
    np.testing.assert_array_equal(mtmc[2].frame, b.frame)
    lines = [json.loads(line) for line in (tmp_path / "tracks.jsonl").read_text().splitlines()]
    assert len(lines) == 50
    first = next(line for line in lines if line["camera_id"] == "A/1")
    assert first["time"] == "2023-11-14T22:13:20.123Z"
    assert [o["global_id"] for o in first["objects"]] == [1, 2]
    assert not list(tmp_path.rglob("*.part*"))


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([("C", 1, 1)], "camera 'C'"),
        ([("B", 2, 1), ("B", 1, 1)], "frame 1 of camera 'B' after frame 2"),
        ([("B", 1, 1), ("A/1", 1, 1), ("B", 1, 2)], "frame 1 of camera 'B' after frame 1"),
        ([("B", 1, 1), ("B", 1, 1)], "global id 1 is twice"),
    ],
)
def test_bad_rows_leave_older_files_alone(tmp_path: Path, rows, found: str) -> None:
    write_outputs(tmp_path, [batch(ROWS)], cameras())
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(InputError, match=found):
        write_outputs(tmp_path, [batch(rows)], cameras())
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_no_people_is_a_valid_result(tmp_path: Path) -> None:
    write_outputs(tmp_path, [], cameras())
    assert pq.read_table(tmp_path / "tracks.parquet").num_rows == 0
    assert read_mtmc(tmp_path / "mtmc.txt") == {}


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_outputs(tmp_path / "out", [batch(ROWS)], cameras())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_to_be_full(tmp_path: Path) -> None:
    def fill() -> None:
        with atomic_path(tmp_path / "a") as temporary:
            temporary.symlink_to("/dev/full")
            temporary.write_text("x" * 100_000)

    with pytest.raises(RunError, match="no space left"):
        fill()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("code", "kind"), [(errno.EROFS, InputError), (errno.EIO, RunError)])
def test_errors_of_the_system_are_told_apart(code: int, kind: type) -> None:
    assert type(output_error(Path("x"), OSError(code, os.strerror(code)))) is kind


@given(a=st.text(min_size=1), b=st.text(min_size=1))
def test_file_stems_are_safe_and_different(a: str, b: str) -> None:
    stem = file_stem(a)
    assert stem == Path(stem).name
    assert len(stem.encode()) <= 200
    assert not stem.startswith(".")
    assert (stem == file_stem(b)) == (a == b)


@given(time_ns=st.integers(0, 4 * 10**18))
def test_utc_keeps_microseconds(time_ns: int) -> None:
    time = utc(time_ns)
    assert int(time.timestamp()) == time_ns // 10**9
    assert time.microsecond == time_ns % 10**9 // 1000


def test_run_file_round_trip_and_refusals(tmp_path: Path) -> None:
    run = RunFile(crosscam_version="1", status=RunStatus.RUNNING, started=utc(ZERO))
    write_run(tmp_path, run)
    assert read_run(tmp_path) == run
    write_text(tmp_path / "run.json", '{"schema_version": 2}')
    with pytest.raises(InputError, match="schema version 2"):
        read_run(tmp_path)
    write_text(tmp_path / "run.json", '{"status": ')
    with pytest.raises(InputError, match="is not JSON"):
        read_run(tmp_path)
    write_text(tmp_path / "run.json", run.model_dump_json().replace("running", "sleeping"))
    with pytest.raises(InputError, match="status"):
        read_run(tmp_path)
