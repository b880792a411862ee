"""The map over HTTP: places and given ways are kept, learned ones are counted, scopes hold."""

from __future__ import annotations

import json
from dataclasses import replace

import httpx
import pytest
from serving_parts import running, serving

from crosscam_edge.gallery import Gallery, Reader
from crosscam_edge.gallery.topology import FILE
from crosscam_edge.server.site import Site
from crosscam_edge.server.tokens import Caller, Keyring, Role

WAY = {"from": "hall", "to": "yard", "count": 0, "p05_s": 4.0, "median_s": 6.5, "p95_s": 9.0,
       "given": True}  # fmt: skip
GIVEN = {
    "cameras": [{"id": "hall", "x": 0.2, "y": 0.75}, {"id": "yard", "x": 0.9, "y": 0.1}],
    "links": [WAY],
}


@pytest.fixture
def empty(live):
    """No map is given before, and none is left for others."""
    path = live.path.parent / FILE
    online = live.run.identities.online
    path.unlink(missing_ok=True)
    yield path
    path.unlink(missing_ok=True)
    online.site = replace(online.site, usual_transit_s={})


@pytest.fixture
def ask(empty, ask):
    return ask


def test_what_is_given_is_kept_and_used(ask, live, empty, tokens, tokens_file):
    before = ask("viewer", "/topology").json()
    assert before["cameras"] == [{"id": name, "x": None, "y": None}
                                 for name in ("hall", "yard", "dead")]  # fmt: skip
    assert not any(each["given"] for each in before["links"])
    answer = ask("admin", "/topology", "PUT", json=GIVEN)
    assert answer.status_code == 200
    assert answer.json()["cameras"][0] == {"id": "hall", "x": 0.2, "y": 0.75}
    assert WAY in answer.json()["links"]
    assert live.run.identities.online.site.usual_transit_s == {("hall", "yard"): 4.0}
    again = Site(live.run, live.gallery, live.path, live.hub)  # as after a restart
    headers = {"Authorization": f"Bearer {tokens['viewer']}"}
    with serving(again, Keyring(tokens_file)) as url:
        found = httpx.get(url + "/api/v1/topology", headers=headers).json()
    again.close()
    assert found["cameras"] == answer.json()["cameras"]
    assert WAY in found["links"]
    live.gallery.writer.flush()
    reader = Reader(live.path)
    (row,) = reader._ask(
        "SELECT who, action, detail FROM audit WHERE action = 'change' ORDER BY id DESC LIMIT 1"
    )
    reader.close()
    assert row == {"who": "admin", "action": "change", "detail": "topology"}
    assert ask("admin", "/topology", "PUT", json={}).status_code == 200
    assert live.run.identities.online.site.usual_transit_s == {}
    assert not any(each["given"] for each in ask("viewer", "/topology").json()["links"])


def test_ways_that_people_took_are_told(ask, live):
    live.gallery.writer.flush()
    reader = Reader(live.path)
    counted = reader.transits(limit=20_000)
    reader.close()
    assert counted  # everybody looks the same here, so people are in both
    links = {
        (each["from"], each["to"]): each for each in ask("viewer", "/topology").json()["links"]
    }
    for way, seconds in counted.items():
        assert links[way]["count"] >= len(seconds)
        assert 0 <= links[way]["p05_s"] <= links[way]["median_s"] <= links[way]["p95_s"]
        assert not links[way]["given"]


def test_who_knows_one_camera_sees_no_way_to_another(ask):
    assert ask("admin", "/topology", "PUT", json=GIVEN).status_code == 200
    found = ask("hall", "/topology")
    assert found.json() == {"cameras": [{"id": "hall", "x": 0.2, "y": 0.75}], "links": []}


def test_ways_of_a_scope_are_those_that_its_cameras_have_seen(live, tmp_path):
    """Where somebody was in between is not told, and takes nothing from what is."""
    path = tmp_path / "g.db"
    gallery = Gallery(path, model_id="m", dim=8, now_ns=lambda: 10**12, keep_s=1e9)
    for track, camera in enumerate(("hall", "dead", "yard"), 1):
        gallery.writer.put(
            "INSERT INTO tracklets (camera, track, global_id, start_ns, end_ns, start_frame, "
            "end_frame, observations, width, height, boxes, model_id) "
            "VALUES (?, ?, 1, ?, ?, 0, 0, 1, 1, 1, x'', 'm')",
            (camera, track, 10**10 * track, 10**10 * track + 10**9),
        )
    gallery.writer.flush()
    site = Site(live.run, gallery, path, live.hub)

    def ways(cameras=None):
        found = site.map.seen_by(Caller("x", Role.VIEWER, cameras))["links"]
        return {(each["from"], each["to"]): each["median_s"] for each in found}

    assert ways() == {("hall", "dead"): 9.0, ("dead", "yard"): 9.0}
    assert ways(frozenset({"hall", "yard"})) == {("hall", "yard"): 19.0}
    site.close()
    gallery.close()


def changed(**more):
    return {**GIVEN, "links": [{**WAY, **more}]}


@pytest.mark.parametrize(
    "body",
    [
        changed(to="attic"), changed(to="hall"), changed(p05_s=7.0), changed(p95_s=1e9),
        changed(p05_s=-1), changed(given=False), changed(more=1), {"links": [WAY, WAY]},
        {"cameras": [{"id": "attic", "x": 0.5, "y": 0.5}]},
        {"cameras": [{"id": "hall", "x": 1.5, "y": 0.5}]},
        {"cameras": [{"id": "hall", "x": 0.5, "y": None}]},
        {"cameras": [{"id": "hall", "x": 0, "y": 0}, {"id": "hall", "x": 1, "y": 1}]},
        {"cameras": [{"id": "../x", "x": 0, "y": 0}]}, {"cameras": [{"id": "hall"}]}, [], "x",
    ],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_is_refused_and_changes_nothing(ask, empty, live, body):
    answer = ask("admin", "/topology", "PUT", json=body)
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid")
    assert not empty.exists()
    assert live.run.identities.online.site.usual_transit_s == {}


def test_numbers_that_are_none_are_refused(ask, empty):
    text = json.dumps(changed(p95_s=float("inf")))
    headers = {"Content-Type": "application/json"}
    answer = ask("admin", "/topology", "PUT", content=text, headers=headers)
    assert answer.status_code == 422
    assert not empty.exists()


def test_a_camera_that_is_away_for_a_while_stays_where_it_was(ask, live):
    assert ask("admin", "/topology", "PUT", json=GIVEN).status_code == 200
    whole = live.run.settings
    hall = whole.model_copy(
        update={"cameras": [each for each in whole.cameras if each.id != "yard"]}
    )
    live.run.reconfigure(hall).result(20)
    try:
        found = ask("viewer", "/topology").json()
        assert [each["id"] for each in found["cameras"]] == ["hall", "dead"]
        assert found["links"] == []
        body = {"cameras": [{"id": "hall", "x": 0.5, "y": 0.5}], "links": []}
        assert ask("admin", "/topology", "PUT", json=body).status_code == 200
        assert live.run.identities.online.site.usual_transit_s == {("hall", "yard"): 4.0}
    finally:
        live.run.reconfigure(whole).result(20)
    found = ask("viewer", "/topology").json()
    assert found["cameras"][:2] == [{"id": "hall", "x": 0.5, "y": 0.5}, GIVEN["cameras"][1]]
    assert WAY in found["links"]


def test_a_run_that_keeps_nobody_has_a_map_too(videos, tmp_path, tokens, tokens_file):
    with running(videos, tmp_path) as found:
        site = Site(found.run, None, found.path, found.hub)
        with serving(site, Keyring(tokens_file)) as url:
            headers = {"Authorization": f"Bearer {tokens['admin']}"}
            answer = httpx.put(url + "/api/v1/topology", headers=headers, json=GIVEN)
        site.close()
    assert answer.status_code == 200
    assert answer.json()["links"] == [WAY]
