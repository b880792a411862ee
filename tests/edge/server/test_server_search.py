"""People found by a picture over HTTP: who is found, for whom, and what is refused."""

from __future__ import annotations

import inspect
import threading

import cv2
import httpx
import numpy as np
import pytest
from serving_parts import running, serving, write_people
from test_live_run import BarDetector

from crosscam_edge.embed.colour import ColourEmbedder
from crosscam_edge.gallery import Reader
from crosscam_edge.opening import Models
from crosscam_edge.server import searches
from crosscam_edge.server.errors import RefusedError
from crosscam_edge.server.site import Site
from crosscam_edge.server.tokens import Keyring

RED, BLUE = (120, 120, 255), (255, 120, 120)


def encoded(image, kind=".png"):
    return cv2.imencode(kind, image)[1].tobytes()


def scene(*people, size=(320, 240)):
    """A picture with bars: `(left, width, colour)` of each."""
    image = np.full((size[1], size[0], 3), 40, np.uint8)
    for left, width, colour in people:
        image[:, left : left + width] = colour
    return image


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A red person in the hall, a blue one in the yard."""
    folder = tmp_path_factory.mktemp("colours")
    write_people(folder, hall=RED, yard=BLUE)
    models = Models(BarDetector(), ColourEmbedder(), {}, 1)
    with running(folder, folder, models) as found:
        found.until(lambda: len(found.run.identities.online.people) > 1)
        found.until(lambda: all(found.run.looked_at()[name] > 40 for name in ("hall", "yard")))
        made = Site(found.run, found.gallery, found.path, found.hub)
        made.live = found
        yield made
        made.close()


@pytest.fixture
def search(site, tokens, tokens_file):
    site.live.gallery.writer.flush()
    with (
        serving(site, Keyring(tokens_file)) as url,
        httpx.Client(base_url=url + "/api/v1", timeout=20) as client,
    ):

        def asked(data, holder="operator", **query):
            headers = {"Authorization": f"Bearer {tokens[holder]}", "Content-Type": "image/png"}
            return client.post("/search/picture", content=data, headers=headers, params=query)

        asked.url = url + "/api/v1"
        yield asked


def best(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["matches"][0]


@pytest.mark.parametrize("kind", [".png", ".jpg", ".webp"])
def test_a_scene_finds_who_is_in_it(search, kind):
    answer = search(encoded(scene((200, 80, BLUE)), kind))
    assert best(answer)["cameras"] == ["yard"]
    assert best(answer)["similarity"] > 0.9
    found = answer.json()
    box = pytest.approx([200, 10, 280, 230], abs=3)
    assert found["person"] == {"box": box, "people": 1, "confidence": 0.9}
    assert set(found["matches"][0]) == {
        "global_id", "similarity", "cameras", "last_ns", "picture",
    }  # fmt: skip
    order = [each["similarity"] for each in found["matches"]]
    assert order == sorted(order, reverse=True)
    assert best(search(encoded(scene((20, 80, RED)), kind)))["cameras"] == ["hall"]


def test_a_crop_is_taken_as_it_is(search):
    crop = np.full((200, 70, 3), RED, np.uint8)
    answer = search(encoded(crop))
    assert best(answer)["cameras"] == ["hall"]
    assert answer.json()["person"] == {
        "box": [0, 0, 70, 200], "people": 1, "confidence": 0.9,
    }  # fmt: skip
    wide = search(encoded(scene((0, 320, RED))), crop=True).json()["person"]
    assert wide == {"box": [0, 0, 320, 240], "people": 1, "confidence": None}


def test_who_is_nobody_is_told_so(search):
    answer = search(encoded(scene()))
    assert (answer.status_code, answer.json()["error"]) == (422, "nobody")
    assert "crop=true" in answer.json()["fix"]
    answer = search(encoded(np.full((300, 100, 3), 40, np.uint8)))  # upright, and empty
    assert (answer.status_code, answer.json()["error"]) == (422, "nobody")
    answer = search(b"no picture at all")
    assert (answer.status_code, answer.json()["error"]) == (422, "not_a_picture")
    assert search(b"").status_code == 422


def test_a_token_of_one_camera_finds_nobody_of_another(search, site):
    crop = encoded(np.full((200, 70, 3), BLUE, np.uint8))
    everybody = {each["global_id"] for each in search(crop, limit=100).json()["matches"]}
    found = search(crop, "hall", limit=100)
    assert "yard" not in found.text
    scoped = found.json()["matches"]
    assert scoped
    assert all(each["cameras"] == ["hall"] for each in scoped)
    assert all(each["similarity"] < 0.9 for each in scoped)  # as the hall has seen them
    assert {each["global_id"] for each in scoped} < everybody


def test_no_more_are_told_than_were_asked_for(search):
    crop = encoded(np.full((200, 70, 3), BLUE, np.uint8))
    assert len(search(crop).json()["matches"]) > 1
    assert [each["cameras"] for each in search(crop, limit=1).json()["matches"]] == [["yard"]]
    assert search(crop, limit=0).status_code == 422


def test_who_looks_like_somebody_is_asked_by_id(search, site, tokens):
    crop = encoded(np.full((200, 70, 3), BLUE, np.uint8))
    blue = best(search(crop))["global_id"]
    red = best(search(encoded(np.full((200, 70, 3), RED, np.uint8))))["global_id"]

    def similar(holder, global_id):
        headers = {"Authorization": f"Bearer {tokens[holder]}"}
        address = f"{search.url}/identities/{global_id}/similar"
        return httpx.get(address, headers=headers, timeout=20)

    found = {e["global_id"]: e["similarity"] for e in similar("operator", blue).json()["matches"]}
    assert blue not in found
    assert found[red] < 0.9
    # Whom the hall has never seen is nobody to who may see the hall alone.
    assert similar("hall", blue).status_code == 404
    assert blue not in {e["global_id"] for e in similar("hall", red).json()["matches"]}


def test_one_stay_of_somebody_is_searched_by(search, site, tokens):
    crop = encoded(np.full((200, 70, 3), BLUE, np.uint8))
    blue = best(search(crop))["global_id"]
    reader = site.reader
    stay = next(row for row in reader.stored(blue) if row["embeddings"] is not None)

    def similar(holder="operator", **query):
        headers = {"Authorization": f"Bearer {tokens[holder]}"}
        address = f"{search.url}/identities/{blue}/similar"
        return httpx.get(address, headers=headers, params=query, timeout=20)

    found = similar(camera=stay["camera"], track=stay["track"])
    assert found.status_code == 200
    assert found.json()["matches"]
    site.live.gallery.writer.flush()
    (row,) = reader._ask(
        "SELECT detail FROM audit WHERE action = 'search' ORDER BY id DESC LIMIT 1"
    )
    assert row["detail"] == f"like track yard/{stay['track']} of identity {blue}"
    for wrong in ({"camera": "yard"}, {"track": 1}, {"camera": "../x", "track": 1}):
        assert similar(**wrong).status_code == 422
    for other in ({"camera": "hall", "track": stay["track"]}, {"camera": "yard", "track": 99999}):
        assert similar(**other).status_code == 404
    assert similar("hall", camera="yard", track=stay["track"]).status_code == 404


def test_looks_that_other_cameras_have_seen_are_not_compared(search, tokens, monkeypatch):
    """Neither of who is looked for nor of who is found: how alike they are would tell of them."""
    scopes = []

    def noting(name):
        inner, told = getattr(searches, name), inspect.signature(getattr(searches, name))

        def noted(*args, **more):
            scopes.append((name, told.bind(*args, **more).arguments.get("cameras")))
            return inner(*args, **more)

        monkeypatch.setattr(searches, name, noted)

    noting("most_alike")
    noting("looks_of_person")
    red = best(search(encoded(np.full((200, 70, 3), RED, np.uint8)), "hall"))["global_id"]
    headers = {"Authorization": f"Bearer {tokens['hall']}"}
    address = f"{search.url}/identities/{red}/similar"
    assert httpx.get(address, headers=headers, timeout=20).status_code == 200
    hall = frozenset({"hall"})
    assert scopes == [("most_alike", hall), ("looks_of_person", hall), ("most_alike", hall)]


def test_searches_are_noted(search, site):
    search(encoded(scene((20, 80, RED))))
    site.live.gallery.writer.flush()
    reader = Reader(site.live.path)
    (row,) = reader._ask("SELECT who, action, detail FROM audit ORDER BY id DESC LIMIT 1")
    reader.close()
    assert row == {"who": "operator", "action": "search",
                   "detail": "like a picture of 320 x 240 pixels"}  # fmt: skip


def test_one_search_at_a_time_and_the_cameras_go_on(search, site):
    """The refused one says when to ask again, and is counted."""
    before, looked = site.searches.refused, site.run.looked_at()["hall"]
    with site.searches.turn():
        answer = search(encoded(scene((20, 80, RED))))
        site.live.until(lambda: site.run.looked_at()["hall"] > looked + 3)
    assert (answer.status_code, answer.json()["error"]) == (503, "busy")
    assert answer.headers["retry-after"] == "1"
    assert site.searches.refused == before + 1
    assert search(encoded(scene((20, 80, RED)))).status_code == 200


def test_a_search_that_fails_leaves_the_turn_to_others(site):
    with pytest.raises(RefusedError), site.searches.turn():
        raise RefusedError(422, "x", "x")
    with site.searches.turn():
        pass


def test_the_picture_is_looked_at_by_no_thread_of_the_cameras(search, site):
    site.run.detector.threads.clear()
    search(encoded(scene((20, 80, RED))))
    names = {name for name in site.run.detector.threads if "AnyIO" in name}
    assert names, site.run.detector.threads
    assert threading.current_thread().name not in names


def test_motion_finds_nobody_in_a_single_picture(search, site, monkeypatch):
    monkeypatch.setattr(site.run.detector, "sequential", True)
    monkeypatch.setattr(site.searches, "_eyes", type(site.searches._eyes)(site.run))
    answer = search(encoded(scene((20, 80, RED))))
    assert (answer.status_code, answer.json()["error"]) == (409, "no_detector")
    crop = search(encoded(np.full((200, 70, 3), RED, np.uint8)))
    assert best(crop)["cameras"] == ["hall"]
    assert crop.json()["person"]["confidence"] is None


def test_a_model_that_knows_no_words_says_so(site, tokens, tokens_file):
    headers = {"Authorization": f"Bearer {tokens['operator']}"}
    with serving(site, Keyring(tokens_file)) as url:
        address = url + "/api/v1/search/text"
        answer = httpx.post(address, headers=headers, json={"text": "a red coat"}, timeout=20)
        for wrong in ({}, {"text": ""}, {"text": "x" * 501}, {"text": "x", "more": 1}):
            assert httpx.post(address, headers=headers, json=wrong).status_code == 422
    assert (answer.status_code, answer.json()["error"]) == (409, "no_text_tower")


def test_whom_both_have_seen_is_alike_as_the_one_camera_saw_them(search, site):
    """Last in this file: it makes one person of the red one and the blue one."""
    blue = encoded(np.full((200, 70, 3), BLUE, np.uint8))
    red = encoded(np.full((200, 70, 3), RED, np.uint8))
    ids = [best(search(each))["global_id"] for each in (blue, red)]
    merged = site.ask(lambda: site.run.merge(*ids))

    def found(holder="operator"):
        """Tell of them alone: on a busy machine a bar may be lost, and come back as another one."""
        matches = search(blue, holder).json()["matches"]
        return next((each for each in matches if each["global_id"] == merged), None)

    site.live.until(lambda: site.live.gallery.writer.flush() and (found() or {}).get("cameras") == [
        "hall", "yard"])  # fmt: skip
    whole, scoped = found(), found("hall")
    assert whole["similarity"] > 0.9
    assert scoped["cameras"] == ["hall"]
    assert scoped["similarity"] < 0.9
