"""Records on disk: rotated, bounded, and never in the way."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscam_edge.live.latency import Latency
from crosscam_edge.sinks import lines
from crosscam_edge.sinks.lines import LinesSink
from crosscam_kernels.errors import InputError


def numbers(path: Path) -> list[int]:
    return [json.loads(line)["n"] for line in path.read_text().splitlines()]


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


def test_a_full_disk_drops_and_counts(tmp_path, monkeypatch):
    sink = LinesSink(tmp_path / "events.jsonl")

    class Full:
        def write(self, text):
            raise OSError(28, "No space left on device")

        def flush(self):
            raise OSError(28, "No space left on device")

        def tell(self):
            return 0

        def close(self):
            pass

    real, sink._file = sink._file, Full()
    for n in range(5):
        sink.put({"n": n})
    for _ in range(100):
        if sink.dropped == 5:
            break
        time.sleep(0.02)
    assert sink.dropped == 5
    sink._file = real  # somebody made room
    sink.put({"n": 5})
    sink.close()
    assert numbers(tmp_path / "events.jsonl") == [5]


def test_whoever_puts_never_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "_WAITING", 4)
    sink = LinesSink(tmp_path / "events.jsonl")
    monkeypatch.setattr(sink, "_write", lambda line: time.sleep(0.2))
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
