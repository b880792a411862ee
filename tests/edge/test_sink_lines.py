"""Records on disk: rotated, bounded, and never in the way."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscam_edge.live.latency import Latency
from crosscam_edge.sinks import lines
from crosscam_edge.sinks.base import Health
from crosscam_edge.sinks.lines import LinesSink
from crosscam_kernels.errors import InputError


def numbers(path: Path) -> list[int]:
    return [json.loads(line)["n"] for line in path.read_text().splitlines()]


def until(condition) -> None:
    ends = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_records_are_written_in_order_and_files_are_changed(tmp_path):
    sink = LinesSink(tmp_path / "events.jsonl", most_bytes=100, files=3)
    for n in range(60):
        sink.put({"n": n})
    sink.close()
    files = sorted(tmp_path.iterdir())
    assert [f.name for f in files] == ["events.1.jsonl", "events.2.jsonl", "events.jsonl"]
    kept = numbers(files[1]) + numbers(files[0]) + numbers(files[2])
    assert kept == list(range(60 - len(kept), 60))
    assert all(f.stat().st_size < 120 for f in files)
    assert (sink.written, sink.dropped) == (60, 0)


def test_a_second_run_appends(tmp_path):
    for n in range(2):
        sink = LinesSink(tmp_path / "events.jsonl")
        sink.put({"n": n})
        sink.close()
    assert numbers(tmp_path / "events.jsonl") == [0, 1]


def test_a_record_is_on_disk_soon(tmp_path):
    sink = LinesSink(tmp_path / "events.jsonl")
    sink.put({"n": 7})
    for _ in range(100):
        if (tmp_path / "events.jsonl").read_text():
            break
        time.sleep(0.05)
    assert numbers(tmp_path / "events.jsonl") == [7]
    sink.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_drops_counts_and_is_told_until_there_is_room(tmp_path):
    path = tmp_path / "events.jsonl"
    path.symlink_to("/dev/full")  # whatever is written to it: no space left on device
    sink = LinesSink(path)
    for n in range(200):
        sink.put({"n": n, "padding": "x" * 1000})
    until(lambda: sink.dropped == 200 and sink.health is Health.FAILING)
    assert sink.written == 0
    path.unlink()  # somebody makes room
    sink.put({"n": 200})
    until(lambda: sink.health is Health.OK)
    sink.close()
    assert numbers(path) == [200]
    assert (sink.written, sink.dropped) == (1, 200)


def test_a_disk_that_fills_up_leaves_whole_lines(tmp_path):
    """In a process of its own, whose files may have 10,000 bytes each: a real error of writing."""
    code = f"""
import json, resource, signal, time
from pathlib import Path
from crosscam_edge.sinks.lines import LinesSink
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
sink = LinesSink(Path({str(tmp_path / "events.jsonl")!r}))
for n in range(40):
    sink.put({{"n": n, "padding": "x" * 1000}})
    if n % 4 == 3:
        while sink.written + sink.dropped <= n:
            time.sleep(0.05)
print(json.dumps([sink.written, sink.dropped, sink.health]))
sink.close()
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == [8, 32, "failing"]
    assert numbers(tmp_path / "events.jsonl") == list(range(8))


def test_the_half_line_of_a_crash_is_cut_off(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"n":1}\n{"n":2,"detai')
    (tmp_path / ".events.jsonl.00.part").touch()
    sink = LinesSink(path)
    sink.put({"n": 3})
    sink.close()
    assert numbers(path) == [1, 3]
    assert [each.name for each in tmp_path.iterdir()] == ["events.jsonl"]


def test_a_file_that_cannot_be_changed_is_tried_again_with_the_next_record(tmp_path):
    (tmp_path / "events.1.jsonl").mkdir()
    (tmp_path / "events.1.jsonl" / "in the way").touch()
    sink = LinesSink(tmp_path / "events.jsonl", most_bytes=20, files=2)
    for n in range(5):
        sink.put({"n": n, "more": "xxxxxxxxxx"})
    until(lambda: sink._waiting.empty() and sink.health is Health.FAILING)
    (tmp_path / "events.1.jsonl" / "in the way").unlink()
    (tmp_path / "events.1.jsonl").rmdir()
    sink.put({"n": 5, "more": "xxxxxxxxxx"})
    sink.put({"n": 6})
    sink.close()
    assert numbers(tmp_path / "events.1.jsonl") == [0, 1, 2, 3, 4, 5]
    assert numbers(tmp_path / "events.jsonl") == [6]
    assert sink.health is Health.OK


def test_whoever_puts_never_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "_WAITING", 4)
    sink = LinesSink(tmp_path / "events.jsonl")
    monkeypatch.setattr(lines, "encoded", lambda record: time.sleep(0.2))
    began = time.monotonic()
    for n in range(50):
        sink.put({"n": n})
    assert time.monotonic() - began < 1
    assert sink.dropped >= 40


def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        LinesSink(tmp_path / "none" / "events.jsonl")


@given(st.lists(st.floats(0.002, 50), min_size=1, max_size=200), st.floats(0.01, 1))
def test_quantiles_of_latency_are_near(values, share):
    latency = Latency()
    for value in values:
        latency.add(value)
    exact = float(np.quantile(values, share, method="inverted_cdf"))
    assert exact / 1.07 <= latency.quantile(share) <= exact * 1.07
    assert latency.count == len(values)
    assert latency.total_s == pytest.approx(sum(values))


def test_latency_outside_of_its_range():
    latency = Latency()
    assert math.isnan(latency.quantile(0.5))
    latency.add(-1.0)
    latency.add(1e9)
    assert latency.quantile(0.5) < 0.002
    assert latency.quantile(1.0) == pytest.approx(100, rel=0.07)
