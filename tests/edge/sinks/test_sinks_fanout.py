"""Several sinks side by side: what one does is no matter to another."""

from __future__ import annotations

import time

from crosscam_edge.sinks.base import Health, encoded
from crosscam_edge.sinks.fanout import Fanout, Output
from crosscam_edge.sinks.lines import LinesSink

ALL = frozenset({"identity", "camera", "tracks"})


class Keeps:
    def __init__(self):
        self.records, self.closed = [], False
        self.dropped, self.health = 0, Health.OK

    @property
    def written(self):
        return len(self.records)

    def put(self, record):
        self.records.append(record)

    def close(self):
        self.closed = True


class Breaks(Keeps):
    def put(self, record):
        raise RuntimeError("out of order")

    def close(self):
        raise RuntimeError("out of order")


class Lingers(Keeps):
    def close(self):
        time.sleep(0.3)
        self.closed = True


def test_a_sink_that_raises_harms_no_other():
    first, last = Keeps(), Keeps()
    fanout = Fanout([Output("a", first, ALL), Output("b", Breaks(), ALL), Output("c", last, ALL)])
    for n in range(3):
        fanout.put({"type": "identity", "n": n})
    assert [record["n"] for record in last.records] == [0, 1, 2]
    assert fanout.counts()["b"] == {"written": 0, "dropped": 3, "health": "failing"}
    assert fanout.counts()["c"] == {"written": 3, "dropped": 0, "health": "ok"}
    assert fanout.dropped() == {"a": 0, "b": 3, "c": 0}
    fanout.close()
    assert first.closed
    assert last.closed
    assert fanout.counts()["b"]["dropped"] == 4  # it did not say what it left behind


def test_each_gets_the_kinds_it_wants():
    some, rest = Keeps(), Keeps()
    fanout = Fanout([Output("a", some, frozenset({"camera"})), Output("b", rest, ALL - {"tracks"})])
    for kind in ("identity", "camera", "tracks"):
        fanout.put({"type": kind})
    assert [record["type"] for record in some.records] == ["camera"]
    assert [record["type"] for record in rest.records] == ["identity", "camera"]
    assert fanout.wants("camera")
    assert not fanout.wants("tracks")


def test_closing_takes_as_long_as_the_slowest():
    slow = [Lingers() for _ in range(5)]
    fanout = Fanout([Output(str(k), each, ALL) for k, each in enumerate(slow)])
    began = time.monotonic()
    fanout.close()
    assert time.monotonic() - began < 1
    assert all(each.closed for each in slow)


def test_lines_go_on_after_a_record_that_json_cannot_hold(tmp_path):
    sink = LinesSink(tmp_path / "events.jsonl")
    sink.put({"odds": float("nan")})
    sink.put({"n": 1})
    sink.close()
    assert (tmp_path / "events.jsonl").read_text() == '{"n":1}\n'
    assert (sink.written, sink.dropped, sink.health) == (1, 1, Health.OK)
    assert encoded({"odds": object()}) is None
