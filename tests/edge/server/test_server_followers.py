"""Who follows what happens: from where, what of it, and how long."""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from serving_parts import deaf, serving

from crosscam_edge.server.hub import Hub, Missed, visible
from crosscam_edge.server.site import Site
from crosscam_edge.server.tokens import Caller, Keyring, Role, create_token, revoke_token
from crosscam_edge.sinks.forget import Erasure, without

sys.path.append(str(Path(__file__).parents[1] / "sinks"))
from held import Held


class Follower:
    """Reads events in a thread."""

    def __init__(self, url, token, last=None):
        self.told, self._ready = [], threading.Event()
        headers = {"Authorization": f"Bearer {token}"}
        if last is not None:
            headers["Last-Event-ID"] = last
        self._client = httpx.Client(timeout=20)
        self._thread = threading.Thread(target=self._read, args=(url, headers), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _read(self, url, headers):
        with (
            suppress(httpx.HTTPError),
            self._client.stream("GET", url + "/events", headers=headers) as answer,
        ):
            record = {}
            for line in answer.iter_lines():
                self._ready.set()
                if line:
                    key, _, value = line.partition(": ")
                    record[key] = value
                elif "event" in record:
                    self.told.append(record)
                    record = {}
                else:
                    record = {}

    def wait(self, count, seconds=10):
        ends = time.monotonic() + seconds
        while len(self.told) < count:
            assert time.monotonic() < ends, self.told
            time.sleep(0.02)
        return self.told

    def ended(self):
        self._thread.join(10)
        return not self._thread.is_alive()


def person(global_id, camera="hall", **more):
    record = {"type": "identity", "kind": "new", "global_id": global_id, "camera": camera}
    return {**record, "other_id": 5, "runner_up": 1.0, "runner_up_id": 6, **more}


@pytest.fixture
def apart(live, tokens_file):
    """An interface with records of its own."""
    hub = Hub(kept=64)
    site = Site(live.run, live.gallery, live.path, hub)
    with serving(site, Keyring(tokens_file), send_s=0.5) as found:
        yield hub, found + "/api/v1"
    site.close()


def settle():
    time.sleep(0.3)  # a follower has its place a poll after its first line


def test_followers_get_what_happens_and_go_on_where_they_were(apart, tokens):
    hub, url = apart
    hub.put(person(1))
    first = Follower(url, tokens["viewer"])
    settle()
    hub.put(person(2))
    hub.put({"type": "tracks", "camera": "hall"})
    hub.put({"type": "camera", "camera": "yard", "state": "running"})
    told = first.wait(2)
    assert [each["event"] for each in told] == ["identity", "camera"]
    assert json.loads(told[0]["data"])["global_id"] == 2
    hub.put(person(3))
    again = Follower(url, tokens["viewer"], told[0]["id"])
    assert [each["event"] for each in again.wait(2)] == ["camera", "identity"]
    assert json.loads(again.told[1]["data"])["global_id"] == 3


@pytest.mark.parametrize("last", ["0", "x-1", "", "00000000-5", "-", "x" * 60])
def test_followers_of_another_run_are_told_that_they_missed_something(apart, tokens, last):
    hub, url = apart
    hub.put(person(1))
    follower = Follower(url, tokens["viewer"], last)
    assert [each["event"] for each in follower.wait(1)] == ["missed"]
    assert follower.ended()
    assert Follower(url, tokens["viewer"], follower.told[0]["id"])


def test_followers_of_one_camera_get_nothing_else(apart, tokens):
    hub, url = apart
    follower = Follower(url, tokens["hall"])
    settle()
    hub.put(person(1, "yard"))
    hub.put(person(2, None, kind="merged"))
    hub.put({"type": "camera", "camera": "yard", "state": "failed"})
    hub.put(person(3))
    (told,) = follower.wait(1)
    record = json.loads(told["data"])
    assert record["global_id"] == 3
    assert (record["other_id"], record["runner_up_id"]) == (None, None)


def test_who_takes_nothing_is_dropped_and_counted(apart, tokens):
    hub, url = apart
    one = deaf(url, "/api/v1/events", tokens["viewer"])
    settle()
    ends = time.monotonic() + 20
    while hub.missed == 0:
        began = time.monotonic()
        for k in range(20):
            hub.put(person(k + 1, padding="x" * 20_000))
        assert time.monotonic() - began < 1  # the run never waits
        assert time.monotonic() < ends
        time.sleep(0.05)
    one.close()
    follower = Follower(url, tokens["viewer"])  # others are well
    settle()
    hub.put(person(77))
    assert json.loads(follower.wait(1)[0]["data"])["global_id"] == 77


def test_followers_are_sent_away_when_their_token_is_revoked(live, tmp_path):
    path = tmp_path / "t.json"
    token = create_token(path, Role.VIEWER, name="guest")[1]
    other = create_token(path, Role.VIEWER, name="other")[1]
    site = Site(live.run, None, live.path, Hub())
    with serving(site, Keyring(path)) as url:
        guest, stays = Follower(url + "/api/v1", token), Follower(url + "/api/v1", other)
        revoke_token(path, "guest")
        assert guest.ended()
        site.hub.put(person(1))
        stays.wait(1)
    site.close()


def test_there_is_room_for_so_many_followers(apart, tokens):
    _, url = apart
    many = [Follower(url, tokens["viewer"]) for _ in range(32)]
    headers = {"Authorization": f"Bearer {tokens['viewer']}"}
    answer = httpx.get(url + "/events", headers=headers, timeout=10)
    assert answer.status_code == 503
    assert answer.json()["error"] == "unavailable"
    for each in many:
        each._client.close()
    settle()
    assert Follower(url, tokens["viewer"])  # there is room again


def test_a_ring_forgets_the_oldest_and_the_erased():
    hub = Hub(kept=4)
    for k in range(1, 7):
        hub.put(person(k, track=k, other_id=None, runner_up_id=k - 1))
    with pytest.raises(Missed):
        hub.after(1)
    hub.erase(Erasure.of([4], []))
    everyone = Caller("x", Role.VIEWER)
    seen = [visible(record, everyone) for _, record in hub.after(2)]
    assert [each and each["global_id"] for each in seen] == [3, None, 5, 6]
    assert [each and each["runner_up_id"] for each in seen] == [2, None, None, 5]
    assert hub.after(hub.last) == []


def test_a_run_does_not_wait_for_an_erasure_from_the_ring(monkeypatch):
    held = Held()
    monkeypatch.setattr("crosscam_edge.server.hub.without", held.slowly(without))
    hub = Hub(kept=3)
    for k in range(1, 4):
        hub.put(person(k, track=k, other_id=None))
    assert not held.waits(
        lambda: hub.put(person(4, track=4, other_id=None)),
        lambda: hub.erase(Erasure.of([1, 3], [])),
    )
    assert [each.get("global_id") for _, each in hub.after(1)] == [2, None, 4]


def test_a_swap_is_told_to_those_who_have_all_cameras():
    hub = Hub()
    record = {"type": "model", "state": "swapped", "old": "a", "new": "b", "people": 3, "lost": 1}
    hub.put(record)
    hub.put({"type": "tracks", "camera": "hall"})
    ((_, kept),) = hub.after(0)
    assert visible(kept, Caller("x", Role.VIEWER)) == record
    assert visible(kept, Caller("x", Role.VIEWER, frozenset({"hall"}))) is None
