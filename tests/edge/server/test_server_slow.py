"""Requests that come slowly: each has its time, and holds no connection for longer."""

from __future__ import annotations

import json
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest
from serving_parts import serving

from crosscam_edge.server import patience
from crosscam_edge.server.patience import patience_s
from crosscam_edge.server.tokens import Keyring


@pytest.fixture
def hasty(site, tokens, tokens_file, monkeypatch):
    """An interface that waits for half a second; returns its address and who counts."""
    monkeypatch.setattr(patience, "HEAD_S", 0.5)
    monkeypatch.setattr(patience, "_BODY_S", 0.5)
    monkeypatch.setattr(patience, "_RATE", 1 << 40)
    monkeypatch.setattr(patience, "_GRACE_S", 0.3)
    with serving(site, Keyring(tokens_file)) as url:

        def slow():
            headers = {"Authorization": f"Bearer {tokens['viewer']}"}
            text = httpx.get(url + "/api/v1/metrics", headers=headers, timeout=20).text
            lines = dict(line.split() for line in text.splitlines() if not line.startswith("#")
                         and "{" not in line)  # fmt: skip
            return float(lines["crosscam_slow_requests_total"])

        yield url, slow


def drip(url, head, seconds=8.0):
    """Send a head, then a byte now and then; returns what came back until it was hung up on."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=0.1) as client:
        client.sendall(head)
        answer, ends = b"", time.monotonic() + seconds
        while time.monotonic() < ends:
            try:
                client.sendall(b"x")
                more = client.recv(65_536)
            except TimeoutError:
                continue
            except OSError:
                return answer
            if not more:
                return answer
            answer += more
    raise AssertionError("nobody hung up")


def head(path, token, length):
    return (f"POST /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n"
            f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\r\n"
            ).encode()  # fmt: skip


@pytest.mark.parametrize("path", ["/identities/1/merge", "/search/picture"])
def test_a_body_that_does_not_come_in_time_is_refused(hasty, tokens, path):
    url, slow = hasty
    before = slow()
    answer = drip(url, head(path, tokens["operator"], 60_000))
    assert b" 408 " in answer.splitlines()[0]
    told = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert told["error"] == "too_slow"
    assert slow() == before + 1


def test_who_is_refused_holds_no_connection_with_the_rest_of_a_body(hasty):
    url, slow = hasty
    before = slow()
    answer = drip(url, head("/search/picture", "cc_nobody", 8_000_000))
    assert b" 401 " in answer.splitlines()[0]
    assert slow() == before + 1


def test_a_head_that_never_ends_is_hung_up_on(hasty):
    url, slow = hasty
    before = slow()
    assert drip(url, b"GET /api/v1/health HTTP/1.1\r\nX-") == b""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=8) as silent:
        assert silent.recv(1) == b""
    assert slow() == before + 2


def test_a_second_head_that_never_ends_is_hung_up_on(hasty):
    url, slow = hasty
    before = slow()
    first = b"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert b" 200 " in drip(url, first + b"GET /api/v1/health HTTP/1.1\r\nX-")
    assert slow() == before + 1


def test_who_follows_or_is_silent_between_two_requests_is_not_slow(hasty, tokens):
    url, slow = hasty
    before = slow()
    headers = {"Authorization": f"Bearer {tokens['viewer']}"}
    with httpx.Client(base_url=url + "/api/v1", headers=headers, timeout=20) as client:
        assert client.get("/cameras").status_code == 200
        with client.stream("GET", "/live?height=64&fps=25") as answer:
            ends = time.monotonic() + 1.5
            for _ in answer.iter_raw():
                if time.monotonic() > ends:
                    break
            else:
                raise AssertionError("it ended")
        time.sleep(0.8)
        assert client.get("/cameras").status_code == 200
    assert slow() == before


def test_large_bodies_have_more_time():
    assert patience_s(0) == 10
    assert patience_s(8 << 20) == 74
