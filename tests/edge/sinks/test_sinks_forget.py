"""Somebody taken out of files of records, while they are being written."""

from __future__ import annotations

import json
import threading
import time

import pytest
from held import Held
from hypothesis import given
from hypothesis import strategies as st

from crosscam_edge.backoff import Backoff
from crosscam_edge.live.ring import Ring, Rings
from crosscam_edge.sinks.clips import ClipsSink
from crosscam_edge.sinks.fanout import Fanout, Output
from crosscam_edge.sinks.forget import Erasure, Seen, without
from crosscam_edge.sinks.lines import LinesSink
from crosscam_edge.sinks.mqtt import MqttSink
from crosscam_edge.sinks.shelf import Bounds
from crosscam_edge.sinks.webhook import WebhookSink
from crosscam_edge.types import TrackletKey
from crosscam_kernels.errors import RunError

IDS = st.integers(1, 4)
CAMERAS = st.sampled_from(["hall", "yard"])
RECORDS = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("identity"), "kind": st.sampled_from(["new", "moved", "merged"]),
            "global_id": IDS, "camera": CAMERAS, "track": IDS, "other_id": st.none() | IDS,
            "runner_up": st.none() | st.just(1.5), "runner_up_id": st.none() | IDS,
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("tracks"), "camera": CAMERAS, "frame": IDS,
            "people": st.lists(
                st.fixed_dictionaries({"track": IDS, "global_id": st.none() | IDS}), max_size=3
            ),
        }
    ),
    st.fixed_dictionaries({"type": st.just("camera"), "camera": CAMERAS}),
)  # fmt: skip


def person(n, **more):
    found = {"type": "identity", "kind": "new", "time_ns": n, "global_id": n, "camera": "hall"}
    return {**found, "track": n, "other_id": None, "runner_up": None, "runner_up_id": None, **more}


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@given(RECORDS, st.sets(IDS, min_size=1), st.sets(st.tuples(CAMERAS, IDS)))
def test_nothing_of_the_erased_is_left_and_nothing_of_others_goes(record, names, keys):
    asked = Erasure(frozenset(names), frozenset(TrackletKey(*key) for key in keys))
    left = without(record, asked)
    if record["type"] == "camera":
        assert left is record
    elif record["type"] == "tracks":
        gone = [each for each in record["people"] if each not in left["people"]]
        assert all(
            each["global_id"] in names or (record["camera"], each["track"]) in keys for each in gone
        )
        assert not names & {each["global_id"] for each in left["people"]}
        assert not keys & {(record["camera"], each["track"]) for each in left["people"]}
    elif left is None:
        own = names & {record["global_id"], record["other_id"]}
        assert own or (record["camera"], record["track"]) in keys
    else:
        assert not names & {left["global_id"], left["other_id"], left["runner_up_id"]}
        assert (record["camera"], record["track"]) not in keys
        assert {**record, "runner_up": None, "runner_up_id": None} == {
            **left, "runner_up": None, "runner_up_id": None
        }  # fmt: skip


def test_all_files_are_written_anew_and_the_writer_goes_on(tmp_path):
    path = tmp_path / "events.jsonl"
    sink = LinesSink(path, most_bytes=2000, files=4)
    for n in range(30):
        sink.put(person(n % 3 + 1))
    sink.put(person(4, runner_up_id=2, runner_up=0.5))
    sink.put({"type": "tracks", "camera": "hall", "people": [
        {"track": 2, "global_id": None}, {"track": 9, "global_id": 2}, {"track": 3, "global_id": 3},
    ]})  # fmt: skip
    assert sink.erase([2], [Seen(TrackletKey("hall", 2), 0, 1)]) == 12
    sink.put(person(5))
    sink.put(person(2, kind="erased", camera=None, track=None))
    sink.close()
    files = sorted(tmp_path.iterdir())
    assert [each.name for each in files] == [
        "events.1.jsonl", "events.2.jsonl", "events.jsonl"
    ]  # fmt: skip
    told = [record for k in (1, 0, 2) for record in read(files[k])]
    assert [record["global_id"] for record in told[:20]] == [1, 3] * 10
    assert [record["runner_up_id"] for record in told[20:21]] == [None]
    assert told[21]["people"] == [{"track": 3, "global_id": 3}]
    assert [record["kind"] for record in told[22:]] == ["new", "erased"]
    assert (sink.written, sink.dropped) == (34, 0)


def test_records_that_come_meanwhile_are_not_lost(tmp_path):
    sink = LinesSink(tmp_path / "events.jsonl")
    for n in range(1, 2001):
        sink.put(person(n % 7))

    def more():
        for n in range(1000):
            sink.put(person(1000 + n))

    thread = threading.Thread(target=more)
    thread.start()
    for gone in (1, 2, 3):
        assert sink.erase([gone], []) > 200
    thread.join()
    sink.close()
    ids = [record["global_id"] for record in read(tmp_path / "events.jsonl")]
    assert [n for n in ids if n >= 1000] == list(range(1000, 2000))
    assert set(ids) & {1, 2, 3} == set()
    assert sink.dropped == 0


def test_what_cannot_be_written_anew_is_told_and_is_as_it_was(tmp_path):
    path = tmp_path / ("e" * 244 + ".jsonl")  # no name beside it is short enough
    sink = LinesSink(path)
    sink.put(person(1))
    fanout = Fanout([Output("events.jsonl", sink, frozenset({"identity"}))])
    with pytest.raises(RunError, match="cannot be written anew"):
        fanout.erase([1], [])
    sink.put(person(2))
    fanout.close()
    assert [record["global_id"] for record in read(path)] == [1, 2]
    assert sink.dropped == 0


def test_lines_of_others_stay_as_they_are(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'no record\n{"type": "identity"}\n\xff\n[1]\n')
    sink = LinesSink(path)
    assert sink.erase([1], []) == 0
    sink.close()
    assert path.read_bytes() == b'no record\n{"type": "identity"}\n\xff\n[1]\n'


def mqtt(tmp_path):
    return MqttSink("127.0.0.1", 9, prefix="crosscam", site="shop", backoff=Backoff(60.0))


def webhook(tmp_path):
    url = "http://127.0.0.1:9/"
    return WebhookSink(url, "x" * 16, name="hook", site="shop", backoff=Backoff(60.0))


def clips(tmp_path):
    rings = Rings(lambda offset_ns: Ring(60.0, 1 << 20, offset_ns))
    return ClipsSink(
        tmp_path / "clips", rings.of, lambda: 0, kinds=("new",), before_s=1.0, after_s=1.0,
        bounds=Bounds(9, 1 << 20, 1e9),
    )  # fmt: skip


@pytest.mark.parametrize("opened", [mqtt, webhook, clips])
def test_whoever_puts_does_not_wait_for_an_erasure(opened, tmp_path, monkeypatch):
    """With many records that wait, finding out whose they are takes a while."""
    held = Held()
    monkeypatch.setattr("crosscam_edge.sinks.forget.without", held.slowly(without))
    monkeypatch.setattr(ClipsSink, "_shows", held.slowly(ClipsSink._shows))
    sink = opened(tmp_path)
    waiting = "_people" if opened is mqtt else "_waiting"
    sink.put(person(1, time_ns=10**18))
    if opened is webhook:  # this one is on its way
        until = time.monotonic() + 20
        while not sink._under_way and time.monotonic() < until:
            time.sleep(0.01)
    for n in (2, 3, 2):
        sink.put(person(n, camera="yard", time_ns=10**18))
    counts = []
    waited = held.waits(
        lambda: sink.put(person(4, time_ns=10**18)), lambda: counts.append(sink.erase([2], []))
    )
    left = [
        getattr(each, "global_id", None) or each["global_id"] for each in getattr(sink, waiting)
    ]
    sink.close()
    assert not waited
    assert left == ([3, 4] if opened is webhook else [1, 3, 4])
    assert counts == [0 if opened is clips else 2]  # it counts files
