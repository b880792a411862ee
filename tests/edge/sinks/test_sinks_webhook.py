"""Records to a real HTTP server that fails, is slow, goes away and comes back."""

from __future__ import annotations

import json
import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from brokers import free_port, wait_for

from crosscam_deploy import log
from crosscam_edge.backoff import Backoff
from crosscam_edge.sinks import webhook as module
from crosscam_edge.sinks.base import Health
from crosscam_edge.sinks.signature import is_signed
from crosscam_edge.sinks.webhook import WebhookSink

SECRET = "topsecret-of-the-hook"


class Receiver:
    """Takes batches; `answers` are given first, then 200."""

    def __init__(self, port: int = 0) -> None:
        self.answers: list[int | tuple[int, dict[str, str]]] = []
        self.requests: list[tuple[dict[str, str], bytes, int]] = []
        self.paths: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.gate.wait(30)
                answer = receiver.answers.pop(0) if receiver.answers else 200
                status, headers = answer if isinstance(answer, tuple) else (answer, {})
                receiver.paths.append(self.path)
                receiver.requests.append((dict(self.headers), body, status))
                try:
                    self.send_response(status)
                    for key, value in headers.items():
                        self.send_header(key, value)
                    self.end_headers()
                except OSError:
                    pass  # nobody waits for it any more

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/topsecret-path"

    def taken(self) -> list[int]:
        """Numbers of the records that were answered with 200."""
        return [
            record["global_id"]
            for _, body, status in list(self.requests)
            if status == 200
            for record in json.loads(body)["records"]
        ]

    def stop(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver():
    found = Receiver()
    yield found
    found.stop()


@pytest.fixture
def opened(monkeypatch):
    monkeypatch.setattr(module, "_GATHER_S", 0.05)
    sinks = []

    def make(url, **options):
        options = {"backoff": Backoff(0.02, 0.1, seed=0), "timeout_s": 5.0} | options
        sink = WebhookSink(url, SECRET, name="webhook 1", site="shop", **options)
        sinks.append(sink)
        return sink

    yield make
    for each in sinks:
        each.close()


def person(n: int, kind: str = "identity") -> dict:
    return {"type": kind, "global_id": n}


def test_whoever_is_erased_does_not_wait_any_more(receiver, opened):
    receiver.gate.clear()
    sink = opened(receiver.url)
    nobody = {"other_id": None, "runner_up": None, "runner_up_id": None}

    def told(n, kind="new"):
        return person(n) | nobody | {"kind": kind, "camera": "hall", "track": n}

    sink.put(told(1))
    wait_for(lambda: sink._under_way == 1)
    for n in (2, 3, 2):
        sink.put(told(n))
    assert sink.erase([2], []) == 2
    sink.put(told(2, "erased"))
    receiver.gate.set()
    wait_for(lambda: sink.written == 3)
    assert receiver.taken() == [1, 3, 2]
    assert sink.dropped == 2


def test_a_receiver_can_check_who_sent_a_batch(receiver, opened):
    """With the code of the guide."""
    sink = opened(receiver.url)
    sink.put(person(1) | {"camera": "Tür"})
    wait_for(lambda: sink.written == 1)
    headers, body, _ = receiver.requests[0]
    guide = (Path(__file__).parents[3] / "docs" / "guides" / "run.md").read_text()
    code = next(part for part in guide.split("```python\n") if "def is_from_crosscam" in part)
    known: dict[str, Any] = {}
    exec(code.split("```")[0], known)
    header = headers["X-Crosscam-Signature"]
    assert known["is_from_crosscam"](header, body, SECRET)
    assert not known["is_from_crosscam"](header, body + b" ", SECRET)
    assert not known["is_from_crosscam"](header, body, SECRET + "x")
    assert is_signed(header, body, SECRET, time.time())
    assert json.loads(body) == {"site": "shop", "records": [person(1) | {"camera": "Tür"}]}
    assert headers["Content-Type"] == "application/json"
    assert len(headers["Idempotency-Key"]) == 32


def test_records_go_in_batches_and_in_order(receiver, opened):
    sink = opened(receiver.url)
    receiver.gate.clear()
    for n in range(350):
        sink.put(person(n))
    receiver.gate.set()
    wait_for(lambda: sink.written == 350)
    assert receiver.taken() == list(range(350))
    assert len(receiver.requests) <= 6
    keys = [headers["Idempotency-Key"] for headers, _, _ in receiver.requests]
    assert len(set(keys)) == len(keys)


def test_what_fails_for_a_while_is_tried_again_with_the_same_key(receiver, opened):
    receiver.answers = [500, 503, (429, {"Retry-After": "1"}), 408]
    sink = opened(receiver.url)
    began = time.monotonic()
    sink.put(person(1))
    wait_for(lambda: sink.written == 1)
    assert time.monotonic() - began > 0.9  # as it was asked for
    assert [status for _, _, status in receiver.requests] == [500, 503, 429, 408, 200]
    assert len({headers["Idempotency-Key"] for headers, _, _ in receiver.requests}) == 1
    assert (sink.dropped, sink.health) == (0, Health.OK)


@pytest.mark.parametrize("answer", [400, 401, 404, 410, (302, {"Location": "/elsewhere"}), 301])
def test_what_is_refused_is_given_up(receiver, opened, answer):
    receiver.answers = [answer]
    sink = opened(receiver.url)
    sink.put(person(1))
    wait_for(lambda: sink.dropped == 1)
    wait_for(lambda: sink.health is Health.REFUSED)
    sink.put(person(2))
    wait_for(lambda: sink.written == 1)
    assert receiver.taken() == [2]
    assert len(receiver.requests) == 2
    wait_for(lambda: sink.health is Health.OK)


def test_errors_of_the_server_are_given_up_some_day(receiver, opened, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE_S", 0.3)
    receiver.answers = [500] * 1000
    sink = opened(receiver.url)
    sink.put(person(1))
    wait_for(lambda: sink.dropped == 1)
    assert len(receiver.requests) > 3


def test_a_receiver_that_is_away_gets_everything_when_it_is_back(opened):
    port = free_port()
    sink = opened(f"http://127.0.0.1:{port}/hook")
    for n in range(120):
        sink.put(person(n))
    wait_for(lambda: sink.health is Health.AWAY)
    receiver = Receiver(port)
    wait_for(lambda: sink.written == 120)
    assert receiver.taken() == list(range(120))
    receiver.stop()
    sink.put(person(120))
    wait_for(lambda: sink.health is Health.AWAY)
    receiver = Receiver(port)
    wait_for(lambda: sink.written == 121)
    receiver.stop()
    assert sink.dropped == 0


def test_a_slow_receiver_holds_up_nobody(receiver, opened):
    sink = opened(receiver.url, most=50, timeout_s=0.3)
    receiver.gate.clear()
    sink.put(person(-1))
    wait_for(lambda: sink.health is Health.AWAY)  # it did not answer in time
    began = time.monotonic()
    for n in range(1000):
        sink.put(person(n))
    assert time.monotonic() - began < 1
    assert sink.dropped == 950
    receiver.gate.set()
    wait_for(lambda: sink.written == 51)
    assert receiver.taken()[-50:] == list(range(950, 1000))


def test_boxes_never_push_out_what_happened(receiver, opened, monkeypatch):
    monkeypatch.setattr(module, "_TRACKS", 20)
    sink = opened(receiver.url, most=50)
    receiver.gate.clear()
    sink.put(person(-1))
    wait_for(lambda: not sink._waiting)
    for n in range(100):
        sink.put(person(n, "tracks"))
        if n % 4 == 0:
            sink.put(person(n))
    assert sink.dropped == 80
    receiver.gate.set()
    wait_for(lambda: sink.written == 46)
    texts = b"".join(body for _, body, _ in receiver.requests)
    assert texts.count(b'"identity"') == 26


def test_closing_delivers_what_waits_and_ends_in_time(receiver, opened, monkeypatch):
    sink = opened(receiver.url)
    for n in range(250):
        sink.put(person(n))
    sink.close()
    assert (sink.written, sink.dropped) == (250, 0)
    monkeypatch.setattr(module, "_CLOSE_S", 0.4)
    for stuck in (opened(receiver.url), opened(f"http://127.0.0.1:{free_port()}/")):
        receiver.gate.clear()
        for n in range(250):
            stuck.put(person(n))
        time.sleep(0.2)
        began = time.monotonic()
        stuck.close()
        assert time.monotonic() - began < 2
        assert (stuck.written, stuck.dropped) == (0, 250)
        receiver.gate.set()


def test_closing_cuts_a_long_pause_short(receiver, opened):
    receiver.answers = [(503, {"Retry-After": "200"})] * 2
    sink = opened(receiver.url)
    sink.put(person(1))
    wait_for(lambda: sink.health is Health.AWAY)
    time.sleep(0.5)
    assert len(receiver.requests) == 1  # it is in the pause that it was asked for
    began = time.monotonic()
    sink.close()
    # One try at once, which is told to wait again, and one after the short pause of closing.
    assert time.monotonic() - began < 4
    assert [status for _, _, status in receiver.requests] == [503, 503, 200]
    assert (sink.written, sink.dropped) == (1, 0)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("301", 300.0), ("999999999", 300.0), ("9999999999", 0.0), ("-1", 0.0),
     ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0), ("\u00b2", 0.0), (None, 0.0)],
)  # fmt: skip
def test_a_receiver_asks_for_so_long_and_no_longer(header, seconds):
    headers = {} if header is None else {"retry-after": header.encode("latin-1", "replace")}
    assert module._asked(httpx.Response(503, headers=headers)) == seconds


def test_boxes_have_room_again_when_some_were_taken(receiver, opened, monkeypatch):
    monkeypatch.setattr(module, "_TRACKS", 20)
    sink = opened(receiver.url, most=50)
    for turn in range(1, 4):
        for n in range(20):
            sink.put(person(n, "tracks"))
        wait_for(lambda turn=turn: sink.written == 20 * turn)
    assert sink.dropped == 0


def test_a_batch_is_no_larger_than_a_megabyte_and_a_record(receiver, opened):
    sink = opened(receiver.url)
    receiver.gate.clear()
    for n in range(20):
        sink.put(person(n) | {"padding": "x" * 200_000})
    receiver.gate.set()
    wait_for(lambda: sink.written == 20)
    assert receiver.taken() == list(range(20))
    assert max(len(body) for _, body, _ in receiver.requests) < (1 << 20) + 201_000


def test_a_pause_is_short_again_after_a_batch_was_taken(receiver, opened):
    sink = opened(receiver.url, backoff=Backoff(0.02, 60.0, seed=0))
    for n in range(1, 5):  # twelve doublings, were the count not begun anew
        receiver.answers = [503, 503, 503]
        sink.put(person(n))
        wait_for(lambda n=n: sink.written == n, seconds=10)
    assert sink._backoff.failures == 0


def test_what_is_taken_after_the_end_was_told_as_dropped_is_not_counted_twice(
    receiver, opened, monkeypatch
):
    monkeypatch.setattr(module, "_CLOSE_S", 0.1)
    sink = opened(receiver.url)
    receiver.gate.clear()
    sink.put(person(1))
    wait_for(lambda: sink._under_way == 1)
    sink.close()
    assert (sink.written, sink.dropped) == (0, 1)
    receiver.gate.set()
    sink._thread.join(10)
    assert receiver.taken() == [1]
    assert (sink.written, sink.dropped) == (0, 1)


def test_secrets_are_never_told(receiver, opened, capfd, caplog, monkeypatch):
    monkeypatch.setattr(module, "_CLOSE_S", 0.3)
    log.configure(0)
    caplog.set_level(logging.INFO)
    receiver.answers = [500, 404]
    sink = opened(receiver.url.replace("http://", "http://user:topsecret-user@"))
    away = opened(f"http://u:topsecret-user@127.0.0.1:{free_port()}/topsecret-path")
    sink.put(person(1))
    away.put(person(1))
    wait_for(lambda: sink.dropped == 1 and away.health is Health.AWAY)
    wait_for(lambda: sink.health is Health.REFUSED)
    told = capfd.readouterr()
    assert "web hook: refused" in told.err
    assert "topsecret" not in told.err + told.out + caplog.text


def test_records_that_json_cannot_hold_are_dropped_alone(receiver, opened):
    sink = opened(receiver.url)
    sink.put(person(1) | {"odds": float("inf")})
    sink.put(person(2))
    wait_for(lambda: sink.written == 1)
    assert (receiver.taken(), sink.dropped) == ([2], 1)
