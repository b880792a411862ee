"""People, asked for, exported and erased; figures of the run."""

from __future__ import annotations

import base64
import json
import sqlite3
import time

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from serving_parts import running, serving

from crosscam_edge.gallery import Gallery, Reader
from crosscam_edge.server.site import Site
from crosscam_edge.server.tokens import Keyring
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
