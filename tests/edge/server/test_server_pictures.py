"""Pictures of people over HTTP: who sees them, and that none outlives an erasure."""

from __future__ import annotations

import base64
import sqlite3

import cv2
import httpx
import numpy as np
from serving_parts import running, serving

from crosscam_edge.server.site import Site
from crosscam_edge.server.tokens import Keyring


def someone_with_pictures(ask, live, *cameras):
    def found():
        live.gallery.writer.flush()
        for each in ask("viewer", "/identities").json()["identities"]:
            seen = ask("viewer", f"/identities/{each['global_id']}/pictures").json()["pictures"]
            if set(cameras) <= {picture["camera"] for picture in seen}:
                return each["global_id"], seen
        return None

    live.until(lambda: found() is not None)
    return found()


def test_pictures_show_the_person(ask, live):
    global_id, seen = someone_with_pictures(ask, live, "hall")
    assert set(seen[0]) == {"name", "camera", "ns", "quality", "width", "height"}
    assert [p["quality"] for p in seen] == sorted((p["quality"] for p in seen), reverse=True)
    answer = ask("viewer", f"/pictures/{seen[0]['name']}")
    assert answer.headers["content-type"] == "image/jpeg"
    picture = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[:2] == (seen[0]["height"], seen[0]["width"])
    assert picture.mean() > 130  # the bright bar and little else
    kept = ask("operator", f"/identities/{global_id}/export").json()["pictures"]
    assert answer.content in [base64.b64decode(each["jpeg"]) for each in kept]


def test_a_list_of_people_names_the_best_picture_that_the_caller_may_see(ask, live):
    global_id, _ = someone_with_pictures(ask, live, "hall", "yard")
    for holder in ("viewer", "hall"):
        listed = ask(holder, "/identities").json()["identities"]
        named = next(each["picture"] for each in listed if each["global_id"] == global_id)
        # Another may have become the best meanwhile: then it is among them all the same.
        seen = ask(holder, f"/identities/{global_id}/pictures").json()["pictures"]
        assert named in [each["name"] for each in seen]
        assert ask(holder, f"/pictures/{named}").status_code == 200


def test_who_knows_one_camera_sees_no_picture_of_another(ask, live):
    global_id, seen = someone_with_pictures(ask, live, "hall", "yard")
    scoped = ask("hall", f"/identities/{global_id}/pictures").json()["pictures"]
    assert {each["camera"] for each in scoped} == {"hall"}
    for each in seen:
        status = ask("hall", f"/pictures/{each['name']}").status_code
        assert status == (200 if each["camera"] == "hall" else 404)
    kept = ask("hall", f"/identities/{global_id}/export").json()["pictures"]
    assert {each["camera"] for each in kept} == {"hall"}


def test_what_is_not_there(ask):
    assert ask("viewer", "/pictures/999999").status_code == 404
    assert ask("viewer", "/identities/999999/pictures").status_code == 404
    for name in ("x", "../1", "1.jpg", "-1", "9" * 19, "1%00"):
        assert ask("viewer", f"/pictures/{name}").status_code in (404, 422)


def test_no_picture_outlives_an_erasure(videos, tmp_path, tokens, tokens_file):
    with running(videos, tmp_path) as found:
        site = Site(found.run, found.gallery, found.path, found.hub)
        with (
            serving(site, Keyring(tokens_file)) as url,
            httpx.Client(
                base_url=url + "/api/v1",
                headers={"Authorization": f"Bearer {tokens['admin']}"},
                timeout=20,
            ) as api,
        ):

            def names(global_id):
                answer = api.get(f"/identities/{global_id}/pictures")
                return [each["name"] for each in answer.json().get("pictures", ())]

            found.until(lambda: names(1))
            before = names(1)
            tracks = {
                tuple(key) for key in list(found.run.identities.online.people.by_id[1].members)
            }
            assert api.delete("/identities/1").status_code == 200
            looked = found.run.looked_at()["hall"]
            found.until(lambda: found.run.looked_at()["hall"] > looked + 10)  # still in the picture
            found.gallery.writer.flush()
            assert all(api.get(f"/pictures/{name}").status_code == 404 for name in before)
            with sqlite3.connect(found.path) as connection:
                kept = set(connection.execute("SELECT camera, track FROM pictures"))
            assert not kept & tracks
        site.close()


def test_who_looks_alike_is_found(ask, live):
    global_id, _ = someone_with_pictures(ask, live, "hall")
    answer = ask("operator", f"/identities/{global_id}/similar")
    assert answer.status_code == 200
    for each in answer.json()["matches"]:
        assert each["global_id"] != global_id
        assert each["similarity"] > 0.999  # in this run everybody looks the same
    assert ask("operator", "/identities/999999/similar").status_code == 404
    scoped = ask("hall", f"/identities/{global_id}/similar").json()["matches"]
    assert all(each["cameras"] == ["hall"] for each in scoped)
