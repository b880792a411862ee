"""How often one address may ask, and what is told of those who asked too often."""

from __future__ import annotations

import httpx
from serving_parts import serving

from crosscam_edge.server.app import make_app
from crosscam_edge.server.limits import Attempts
from crosscam_edge.server.tokens import Keyring


def test_attempts_are_bounded_and_forgiven():
    now = [0.0]
    attempts = Attempts(burst=3, pause_s=10, most=4, now_s=lambda: now[0])
    for _ in range(3):
        assert attempts.wait_s("a") == 0
        attempts.count("a")
    assert attempts.wait_s("a") == 10
    now[0] = 10.0
    assert attempts.wait_s("a") == 0
    for k in range(100):
        attempts.count(str(k))
    assert len(attempts) == 4


def test_who_asks_too_often_waits_and_is_counted(site, tokens, tokens_file):
    headers = {"Authorization": f"Bearer {tokens['viewer']}"}
    pace = Attempts(burst=5, pause_s=60.0)
    with serving(site, Keyring(tokens_file), pace=pace) as url:
        paths = ["/api/v1/me"] * 4 + ["/api/v1/health"] * 2 + ["/nothing"]
        told = [httpx.get(url + path, headers=headers) for path in paths]
        assert [each.status_code for each in told] == [200] * 5 + [429] * 2
        assert told[-1].json()["error"] == "too_many"
        assert 0 < int(told[-1].headers["retry-after"]) <= 60
        assert told[-1].headers["x-content-type-options"] == "nosniff"
        pace.forgive("127.0.0.1")
        found = httpx.get(url + "/api/v1/metrics", headers=headers).text
    assert "crosscam_requests_refused_total 2.0" in found


def test_a_console_may_ask_for_several_pages_of_pictures_at_once():
    pace = make_app(object(), None, loopback=True).state.pace
    for _ in range(600):
        assert pace.wait_s("a") == 0
        pace.count("a")
    for _ in range(500):  # forgiven in ten seconds: more than this loop takes
        pace.count("a")
    assert pace.wait_s("a") > 0
    assert pace.wait_s("b") == 0
