"""People, asked for, exported, followed and erased."""

from __future__ import annotations

import base64
import json
import socket
import sqlite3
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from serving_parts import running, serving

from crosscam_edge.gallery import Gallery, Reader
from crosscam_edge.server.hub import Hub, Missed, visible
from crosscam_edge.server.site import Site
from crosscam_edge.server.tokens import Caller, Keyring, Role, create_token, revoke_token
from crosscam_edge.sinks.forget import Erasure, without
from crosscam_kernels.errors import RunError


def newest(ask):
    return ask("admin", "/identities").json()["identities"][0]["global_id"]


def test_figures_are_as_prometheus_reads_them(ask, live):
    text = ask("viewer", "/metrics")
    assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {family.name: family for family in text_string_to_metric_families(text.text)}
    looked = {s.labels["camera"]: s.value for s in found["crosscam_pictures_looked_at"].samples}
    assert looked["hall"] > 0
    assert looked["dead"] == 0
    looks = {s.labels["camera"]: s.value for s in found["crosscam_crops_embedded"].samples}
    assert looks["hall"] > looks["dead"] == 0
    tracks = {tuple(s.labels.values()): s.value for s in found["crosscam_tracks"].samples}
    assert tracks["hall", "confirmed"] > 0
    assert tracks["hall", "changed"] == tracks["dead", "confirmed"] == 0
    states = {s.labels["state"]: s.value for s in found["crosscam_cameras"].samples}
    assert sum(states.values()) == 3
    buckets = [
        s.value for s in found["crosscam_latency_seconds"].samples if s.name.endswith("_bucket")
    ]
    count = next(s for s in found["crosscam_latency_seconds"].samples if s.name.endswith("_count"))
    assert buckets == sorted(buckets)
    assert buckets[-1] == count.value > 0
    bounded = ("tracklets", "gallery_bytes", "gallery_writes")
    assert all(found[f"crosscam_{name}"].samples[0].value > 0 for name in bounded)
    assert found["crosscam_gallery_writes_dropped"].samples[0].value == 0
    kinds = {s.labels["kind"]: s.value for s in found["crosscam_identity_events"].samples}
    assert kinds["new"] >= 1
    paces = {
        s.labels["camera"]: s.labels["pace"]
        for s in found["crosscam_camera_pace"].samples
        if s.value
    }
    assert set(paces) == {"hall", "yard", "dead"}
    assert min(s.value for s in found["crosscam_camera_look_rate"].samples) > 0
    stages = {
        s.labels["stage"]: s.value
        for s in found["crosscam_stage_latency_seconds"].samples
        if s.name.endswith("_count")
    }
    assert set(stages) == {"arrive", "wait", "detect", "track", "tell"}
    assert min(stages.values()) >= count.value
    by_camera = {
        s.labels["camera"]: s.value
        for s in found["crosscam_camera_latency_seconds"].samples
        if s.name.endswith("_count")
    }
    assert by_camera["dead"] == 0 < by_camera["hall"]
    queues = {s.labels["queue"]: s.value for s in found["crosscam_queue_depth"].samples}
    assert set(queues) == {"arrived", "taken", "requests", "gallery"}
    assert found["crosscam_memory_bytes"].samples[0].value > 1e7


def test_health_of_a_camera(ask):
    found = ask("viewer", "/cameras/hall").json()
    assert found["state"] == "running"
    assert found["size"] == [320, 240]
    assert found["looked_at"] > 0
    dead = ask("viewer", "/cameras/dead").json()
    assert dead["fault"] == "refused"


def test_what_is_exported_is_what_is_stored(ask, live):
    live.gallery.writer.flush()
    someone = newest(ask)
    found = ask("operator", f"/identities/{someone}/export").json()
    with sqlite3.connect(live.path) as connection:
        rows = connection.execute(
            "SELECT embeddings FROM tracklets WHERE global_id = ? ORDER BY start_ns", (someone,)
        ).fetchall()
        audit = connection.execute(
            "SELECT who, action FROM audit WHERE action = 'export'"
        ).fetchall()
    assert len(found["tracklets"]) == len(found["identity"]["journey"]) > 0
    looks = np.frombuffer(base64.b64decode(found["tracklets"][0]["embeddings"]), "<f4")
    np.testing.assert_array_equal(looks, np.frombuffer(rows[0][0], "<f4"))
    assert ("operator", "export") in audit


def test_whoever_is_erased_is_known_to_nobody(videos, tmp_path, tokens, tokens_file):
    with running(videos, tmp_path) as found:
        found.until(lambda: found.run.identities.online.counts["matched"] >= 2)
        people = found.run.identities.online.people
        full = [True]

        def erase(names, tracks):
            if full:
                full.clear()
                raise RunError("the disk is full")
            found.outputs.erase(names, tracks)

        site = Site(found.run, found.gallery, found.path, found.hub, erase=erase)
        with serving(site, Keyring(tokens_file)) as url:
            api = httpx.Client(
                base_url=url + "/api/v1",
                headers={"Authorization": f"Bearer {tokens['admin']}"},
                timeout=20,
            )
            found.gallery.writer.flush()
            gone = api.get("/identities").json()["identities"][0]["global_id"]
            living = [k for k, m in list(people.by_id[gone].members.items()) if not m.ended]
            found.until(lambda: gone in _ids_in_file(found))
            answer = api.delete(f"/identities/{gone}")
            assert answer.status_code == 503
            assert gone not in people.by_id  # and who asks again finds them still
            answer = api.delete(f"/identities/{gone}")
            assert answer.status_code == 200, answer.text
            assert answer.json()["tracklets"] > 0
            assert gone not in people.by_id
            assert not any(people.id_of(key) for key in living)
            assert api.get(f"/identities/{gone}").status_code == 404
            assert api.delete(f"/identities/{gone}").status_code == 404
            told = [r for _, r in found.hub.after(0) if r.get("global_id") == gone]
            assert [r["kind"] for r in told] == ["erased"]
            # The same looks, seen again, are somebody new.
            found.until(lambda: len(people) > 0 and len(_ids_in_file(found)) > 1)
            written = _written(found)
            assert [r["kind"] for r in written if r.get("global_id") == gone] == ["erased"]
            boxes = [r for r in written if r["type"] == "tracks"]
            assert not any(p["global_id"] == gone for r in boxes for p in r["people"])
            assert min(people.by_id) > gone
            assert not any(people.id_of(key) for key in living)
            found.gallery.writer.flush()
            with sqlite3.connect(found.path) as connection:
                for table in ("tracklets", "events", "identities"):
                    count = connection.execute(
                        f"SELECT count(*) FROM {table} WHERE global_id = ?", (gone,)
                    ).fetchone()
                    assert count == (0,), table
                (who,) = connection.execute(
                    "SELECT who FROM audit WHERE action = 'erase'"
                ).fetchone()
                assert who == "admin"
            api.close()
        site.close()


def _written(found):
    path = found.path.with_name("events.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def _ids_in_file(found):
    return {record["global_id"] for record in _written(found) if record["type"] == "identity"}


def test_a_run_that_has_ended_erases_nobody(videos, tmp_path, tokens, tokens_file):
    with running(videos, tmp_path) as found:
        found.until(lambda: len(found.run.identities.online.people) > 0)
    again = Gallery(found.path, model_id="same", dim=8, now_ns=time.time_ns)
    site = Site(found.run, again, found.path, found.hub)
    with serving(site, Keyring(tokens_file)) as url:
        headers = {"Authorization": f"Bearer {tokens['admin']}"}
        answer = httpx.delete(url + "/api/v1/identities/1", headers=headers, timeout=20)
    assert answer.status_code == 503
    assert "has ended" in answer.json()["found"]
    site.close()
    again.close()


def test_without_a_gallery_there_is_nobody_to_ask_for(live, tokens, tokens_file):
    site = Site(live.run, None, live.path, live.hub)
    with serving(site, Keyring(tokens_file)) as url:
        headers = {"Authorization": f"Bearer {tokens['admin']}"}
        for method, path in (
            ("GET", "/identities"), ("GET", "/identities/1"), ("GET", "/identities/1/export"),
            ("DELETE", "/identities/1"),
        ):  # fmt: skip
            answer = httpx.request(method, f"{url}/api/v1{path}", headers=headers)
            assert answer.status_code == 409
            assert "keep-days" in answer.json()["fix"]
    site.close()


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
    parts = urlsplit(url)
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.connect((parts.hostname, parts.port))
    deaf.sendall(
        b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
        + tokens["viewer"].encode()
        + b"\r\n\r\n"
    )
    settle()
    ends = time.monotonic() + 20
    while hub.missed == 0:
        began = time.monotonic()
        for k in range(20):
            hub.put(person(k + 1, padding="x" * 20_000))
        assert time.monotonic() - began < 1  # the run never waits
        assert time.monotonic() < ends
        time.sleep(0.05)
    deaf.close()
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
    began, go = threading.Event(), threading.Event()

    def slow(record, asked):
        began.set()
        assert go.wait(20)
        return without(record, asked)

    monkeypatch.setattr("crosscam_edge.server.hub.without", slow)
    hub = Hub(kept=3)
    for k in range(1, 4):
        hub.put(person(k, track=k, other_id=None))
    erasing = threading.Thread(target=hub.erase, args=[Erasure.of([1, 3], [])])
    erasing.start()
    assert began.wait(20)
    putting = threading.Thread(target=hub.put, args=[person(4, track=4, other_id=None)])
    putting.start()
    putting.join(5)
    waited = putting.is_alive()
    go.set()
    erasing.join()
    putting.join()
    assert not waited
    assert [each.get("global_id") for _, each in hub.after(1)] == [2, None, 4]


def test_a_swap_is_told_to_those_who_have_all_cameras():
    hub = Hub()
    record = {"type": "model", "state": "swapped", "old": "a", "new": "b", "people": 3, "lost": 1}
    hub.put(record)
    hub.put({"type": "tracks", "camera": "hall"})
    ((_, kept),) = hub.after(0)
    assert visible(kept, Caller("x", Role.VIEWER)) == record
    assert visible(kept, Caller("x", Role.VIEWER, frozenset({"hall"}))) is None


def test_pages_hold_everybody_once(tmp_path):
    gallery = Gallery(tmp_path / "g.db", model_id="m", dim=8, now_ns=lambda: 10**12, keep_s=1e9)
    for number in range(1, 8):
        for track, camera in ((1, "a"), (2, "b"))[: 1 + number % 2]:
            gallery.writer.put(
                "INSERT INTO tracklets (camera, track, global_id, start_ns, end_ns, start_frame, "
                "end_frame, observations, width, height, boxes, model_id) "
                "VALUES (?, ?, ?, ?, ?, 0, 0, 1, 1, 1, x'', 'm')",
                (camera, 10 * number + track, number, 100 * number, 100 * number + 50),
            )
    gallery.writer.flush()
    reader = Reader(tmp_path / "g.db")

    def ids(**asked):
        return [each["global_id"] for each in reader.page(**{"limit": 50, **asked})]

    assert ids(limit=3) == [7, 6, 5]
    assert ids(limit=3, before=5) == [4, 3, 2]
    assert ids(cameras=["b"], within=["b"]) == [7, 5, 3, 1]
    assert ids(since_ns=350, until_ns=500) == [5, 4, 3]
    assert ids(within=[]) == []
    assert reader.page(limit=1, cameras=["b"], within=["b"])[0]["cameras"] == ["b"]
    reader.close()
    gallery.close()
