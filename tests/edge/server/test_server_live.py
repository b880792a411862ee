"""What cameras see, followed over HTTP; who asks; how the run is set up."""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack, contextmanager

import cv2
import httpx
import numpy as np
import pytest
from serving_parts import deaf, serving

from crosscam_edge.config import CameraConfig, SiteConfig
from crosscam_edge.server.settings import shown_settings
from crosscam_edge.server.site import Site
from crosscam_edge.server.tokens import Keyring, create_token, revoke_token
from crosscam_edge.server.view import View
from crosscam_edge.track.live import LiveFrame
from crosscam_edge.types import Frame


class Frames:
    """Reads frames of the stream, one after the other."""

    def __init__(self, answer):
        self._bytes, self._rest = answer.iter_bytes(), b""

    def _take(self, count):
        while len(self._rest) < count:
            self._rest += next(self._bytes)
        out, self._rest = self._rest[:count], self._rest[count:]
        return out

    def next(self):
        header = json.loads(self._take(int.from_bytes(self._take(4), "big")))
        return header, self._take(header["jpeg"])

    def until(self, condition, most=200):
        for _ in range(most):
            header, picture = self.next()
            if condition(header):
                return header, picture
        raise AssertionError("no such frame")


@contextmanager
def following(url, token, **asked):
    headers = {"Authorization": f"Bearer {token}"}
    with (
        httpx.Client(timeout=20) as client,
        client.stream("GET", url + "/live", params=asked, headers=headers) as answer,
    ):
        assert answer.status_code == 200, answer.read()
        yield Frames(answer)


def test_pictures_come_with_boxes_and_ids(url, tokens):
    with following(url, tokens["viewer"], cameras="yard", fps=20, height=120) as frames:
        header, jpeg = frames.until(
            lambda h: h["camera"] and any(each["global_id"] for each in h["people"])
        )
        assert (header["camera"], header["width"], header["height"]) == ("yard", 480, 240)
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (120, 240, 3)
        # The box is where the bright bar is, in the camera's own pixels.
        x1, y1, x2, y2 = header["people"][0]["box"]
        inside = picture[int(y1 / 2) + 2 : int(y2 / 2) - 2, int(x1 / 2) + 2 : int(x2 / 2) - 2]
        assert inside.mean() > 130 > picture.mean()
        later, _ = frames.until(lambda h: h["camera"])
        assert later["ns"] > header["ns"]


def test_nothing_is_kept_while_nobody_looks(site, url, tokens, live):
    looked = live.run.looked_at()["hall"]
    live.until(lambda: live.run.looked_at()["hall"] > looked + 2)
    assert site.view.newest() == []
    with following(url, tokens["viewer"], fps=20) as frames:
        cameras = {frames.until(lambda h: h["camera"])[0]["camera"] for _ in range(20)}
        assert cameras == {"hall", "yard"}
        assert len(site.view.newest()) == 2
    live.until(lambda: site.view.newest() == [])


def test_who_knows_one_camera_sees_no_other(ask, url, tokens):
    with following(url, tokens["hall"], fps=25) as frames:
        assert {frames.next()[0]["camera"] for _ in range(12)} <= {"hall", None}
    for cameras in ("yard", "hall,yard", "nowhere"):
        assert ask("hall", f"/live?cameras={cameras}").status_code == 404


def test_a_client_is_told_that_it_is_heard(url, tokens):
    with following(url, tokens["viewer"], cameras="dead") as frames:
        assert frames.next() == ({"camera": None, "jpeg": 0}, b"")
        began = time.monotonic()
        assert frames.next()[0]["camera"] is None
        assert 1 < time.monotonic() - began < 10


@pytest.mark.parametrize(
    "asked",
    ["fps=0", "fps=26", "fps=nan", "height=63", "height=99999", "cameras=", "cameras=../x",
     "cameras=a,,b", "cameras=" + "a" * 70],
)  # fmt: skip
def test_strange_wishes_are_refused(ask, asked):
    assert ask("viewer", f"/live?{asked}").status_code == 422


def test_so_many_may_look_and_places_come_back(url, tokens, live):
    headers = {"Authorization": f"Bearer {tokens['viewer']}"}

    def status():
        with (
            httpx.Client(timeout=20) as client,
            client.stream("GET", url + "/live", headers=headers) as answer,
        ):
            return answer.status_code

    with ExitStack() as many:
        held = [many.enter_context(following(url, tokens["viewer"])) for _ in range(8)]
        for each in held:
            each.next()
        assert status() == 503
    live.until(lambda: status() == 200)


def test_who_takes_nothing_is_hung_up_on_and_holds_up_nobody(live, tokens, tokens_file):
    site = Site(live.run, None, live.path, live.hub)
    with serving(site, Keyring(tokens_file), send_s=0.3) as base:
        one = deaf(base, "/api/v1/live?fps=25&height=2160", tokens["viewer"])
        live.until(lambda: site.view.newest())
        looked = live.run.looked_at()["hall"]
        live.until(lambda: live.run.looked_at()["hall"] > looked + 5, seconds=5)
        live.until(lambda: not site.view.newest(), seconds=60)
        one.close()
        with following(base + "/api/v1", tokens["viewer"]) as frames:  # others are well
            frames.until(lambda h: h["camera"])
    site.close()


def test_a_token_that_is_revoked_sees_no_more(live, tmp_path):
    path = tmp_path / "t.json"
    token = create_token(path, "viewer", name="guest")[1]
    site = Site(live.run, None, live.path, live.hub)
    with serving(site, Keyring(path)) as base, following(base + "/api/v1", token) as frames:
        frames.until(lambda h: h["camera"])
        revoke_token(path, "guest")
        with pytest.raises(StopIteration):
            frames.until(lambda _: False)
    site.close()


def frame(camera, number, value=0):
    return Frame(camera, number, number, np.full((40, 30, 3), value, np.uint8))


def test_a_picture_is_encoded_once_for_all_and_not_by_who_hands_it_over():
    view = View(lambda _: 7)
    view.enter()
    view.look(frame("a", 1), LiveFrame("a"))
    (shown,) = view.newest()
    assert view.jpeg(shown, 20) is view.jpeg(shown, 20)
    assert view.jpeg(shown, 20) is not view.jpeg(shown, 10)
    names = {each.name for each in threading.enumerate()}
    assert any(name.startswith("live-pictures") for name in names)
    view.look(frame("a", 2), LiveFrame("a"))
    assert [each.time_ns for each in view.newest()] == [2]
    view.leave()
    assert view.newest() == []


def test_who_is_erased_is_in_no_picture_that_is_yet_to_be_sent(live):
    view = View(live.run.identities.id_of)
    view.enter()
    live.run.watchers.append(view.look)
    live.until(lambda: any(p[1] for each in view.newest() for p in each.people))
    live.run.watchers.remove(view.look)
    shown = next(each for each in view.newest() if any(p[1] for p in each.people))
    view.forget(shown.people[0][1])
    assert shown.camera_id not in {each.camera_id for each in view.newest()}


def test_who_asks_is_told_who_they_are(ask):
    hall = {"name": "hall", "role": "operator", "cameras": ["hall"], "words": False}
    assert ask("hall", "/me").json() == hall
    assert ask("admin", "/me").json() == {**hall, "name": "admin", "role": "admin", "cameras": None}


def test_settings_are_told_without_secrets(ask):
    found = ask("admin", "/settings").json()["settings"]
    assert [each["id"] for each in found["cameras"]] == ["hall", "yard", "dead"]
    assert found["cameras"][2]["url"] == "rtsp://***@127.0.0.1:1/x"
    assert found["min_confidence"] == 0.1


def test_no_secret_is_in_settings_wherever_it_stands():
    settings = SiteConfig(
        cameras=[
            CameraConfig(id="a", url="http://cam/x?usr=topsecret1&psw=topsecret2"),
            CameraConfig(id="b", url="rtsp://u:topsecret3@cam/x"),
        ],
        live={
            "mqtt": {"host": "broker", "username": "topsecret4", "password": "topsecret5"},
            "webhooks": [{"url": "https://x/topsecret6", "secret": "topsecret7topsecret"}],
        },
    )
    told = json.dumps(shown_settings(settings))
    assert "topsecret" not in told
    assert "broker" in told
