"""Records through real brokers that are killed, frozen, started again, and that say no."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time

import pytest
from brokers import PASSWORD, USER, Listener, Mosquitto, make_broker, wait_for
from hypothesis import given
from hypothesis import strategies as st

from crosscam_deploy import log
from crosscam_edge.backoff import Backoff
from crosscam_edge.config.strict import CAMERA_ID
from crosscam_edge.sinks import mqtt as module
from crosscam_edge.sinks.base import Health
from crosscam_edge.sinks.forget import Seen
from crosscam_edge.sinks.mqtt import MqttSink
from crosscam_edge.types import TrackletKey
from crosscam_kernels.errors import InputError

BROKERS = ("amqtt", "mosquitto")


def person(n: int) -> dict:
    return {"type": "identity", "kind": "new", "global_id": n, "time_ns": n, "camera": "hall"}


def camera(name: str, state: str) -> dict:
    return {"type": "camera", "camera": name, "state": state}


def boxes(n: int) -> dict:
    return {"type": "tracks", "camera": "hall", "frame": n, "people": []}


@pytest.fixture
def opened():
    """Makes sinks, and closes what a test leaves open."""
    things = []

    def make(broker, **options):
        backoff = Backoff(0.05, 0.2, seed=0)
        options = {"prefix": "crosscam", "site": "shop", "backoff": backoff} | options
        sink = MqttSink("127.0.0.1", broker.port, **options)
        things.append(sink)
        return sink

    yield make
    for each in things:
        each.close()


@pytest.fixture(params=BROKERS)
def broker(request, tmp_path):
    found = make_broker(request.param, tmp_path)
    found.start()
    yield found
    found.kill()


def model(state: str) -> dict:
    return {"type": "model", "state": state, "old": "a", "new": "b"}


def numbers(listener: Listener) -> list[int]:
    return [json.loads(text)["global_id"] for text in listener.of("crosscam/shop/identity/")]


def test_records_arrive_under_their_topics(broker, opened):
    listener = Listener(broker)
    sink = opened(broker)
    wait_for(lambda: sink.health is Health.OK)
    sink.put(camera("hall", "running"))
    sink.put(person(7))
    sink.put(model("swapped"))
    sink.put(boxes(1))
    wait_for(lambda: listener.of("crosscam/shop/tracks/"))
    wait_for(lambda: sink.written == 4)
    heard = {each.topic: each for each in listener.heard}
    assert heard["crosscam/shop/identity/7"].qos == 1
    assert json.loads(heard["crosscam/shop/identity/7"].text) == person(7)
    assert heard["crosscam/shop/model"].qos == 1
    assert json.loads(heard["crosscam/shop/model"].text) == model("swapped")
    if isinstance(broker, Mosquitto):  # amqtt delivers with the QoS of the subscription
        assert heard["crosscam/shop/tracks/hall"].qos == 0
    assert heard["crosscam/shop/status"].text == "online"
    listener.close()
    late = Listener(broker)  # what was retained is for those who come later
    wait_for(lambda: late.topics() == {"crosscam/shop/camera/hall", "crosscam/shop/status"})
    assert all(each.retained for each in late.heard)
    sink.close()
    wait_for(lambda: late.of("crosscam/shop/status") == ["online", "offline"])
    assert (sink.written, sink.dropped) == (4, 0)
    late.close()


def test_nothing_is_lost_while_the_broker_is_killed_and_started_again(broker, opened):
    sink = opened(broker)
    sink.put(camera("yard", "running"))
    wait_for(lambda: sink.written == 1)
    broker.kill()
    wait_for(lambda: sink.health is Health.AWAY)
    for n in range(1, 201):
        sink.put(person(n))
        sink.put(boxes(n))
    for state in ("connecting", "running", "stalled"):
        sink.put(camera("hall", state))
    assert sink.dropped == 200 + 2  # all boxes, and states that nobody could read
    began = time.monotonic()
    broker.start()
    listener = Listener(broker)
    wait_for(lambda: sink.written == 1 + 200 + 1)
    assert time.monotonic() - began < 20
    listener.close()
    # The broker has forgotten everything: it is told of all cameras again, and that we are there.
    late = Listener(broker)
    wait_for(lambda: len(late.topics()) == 3)
    states = {each.topic: each.text for each in late.heard}
    assert json.loads(states["crosscam/shop/camera/yard"])["state"] == "running"
    assert json.loads(states["crosscam/shop/camera/hall"])["state"] == "stalled"
    assert states["crosscam/shop/status"] == "online"
    late.close()


class Held(Backoff):
    """Pauses that a test ends."""

    def __init__(self) -> None:
        super().__init__()
        self.over = threading.Event()

    def failed(self) -> float:
        self.over.wait(20)
        return 0.01 * super().failed()


@pytest.mark.parametrize(("events", "again"), [(10, 10), (40, 16)])
def test_what_a_broker_acknowledged_and_took_with_it_comes_again(broker, opened, events, again):
    held = Held()
    sink = opened(broker, backoff=held)
    for n in range(1, events + 1):
        sink.put(person(n))
    wait_for(lambda: sink.written == events)  # and nobody has heard of it
    broker.kill()
    wait_for(lambda: sink.health is Health.AWAY)
    for n in range(events + 1, events + 6):
        sink.put(person(n))
    broker.start()
    listener = Listener(broker)
    held.over.set()
    wait_for(lambda: len(numbers(listener)) >= again + 5)
    assert numbers(listener) == list(range(events - again + 1, events + 6))
    wait_for(lambda: sink.written == events + 5)
    assert sink.dropped == 0
    listener.close()


def told(n: int, kind: str = "new", **more) -> dict:
    nobody = {"other_id": None, "odds": None, "runner_up": None, "runner_up_id": None}
    return {**person(n), "kind": kind, "track": n, "cause": None, **nobody, **more}


def test_whoever_is_erased_does_not_come_again(broker, opened):
    """Neither what was acknowledged, nor what waits while the broker is away."""
    held = Held()
    sink = opened(broker, backoff=held)
    for record in (told(1), told(2), told(3, runner_up=1.0, runner_up_id=2), told(4, other_id=2)):
        sink.put(record)
    wait_for(lambda: sink.written == 4)
    broker.kill()
    wait_for(lambda: sink.health is Health.AWAY)
    sink.put(told(5))
    sink.put(told(2, "matched"))
    sink.put(told(6, runner_up=1.0, runner_up_id=2))
    assert sink.erase([2], [Seen(TrackletKey("hall", 2), 0, 1)]) == 2
    sink.put(told(2, "erased", camera=None, track=None))
    broker.start()
    listener = Listener(broker)
    held.over.set()
    wait_for(lambda: sink.written == 7)
    wait_for(lambda: len(numbers(listener)) >= 5)
    assert numbers(listener) == [1, 3, 5, 6, 2]
    heard = [json.loads(text) for text in listener.of("crosscam/shop/identity/")]
    assert [each["runner_up_id"] for each in heard] == [None] * 5
    assert heard[-1]["kind"] == "erased"
    assert sink.dropped == 1
    listener.close()


def test_what_was_acknowledged_long_ago_does_not_come_again(broker, opened, monkeypatch):
    monkeypatch.setattr(module, "_AGAIN_S", -1.0)
    held = Held()
    sink = opened(broker, backoff=held)
    sink.put(person(1))
    wait_for(lambda: sink.written == 1)
    broker.kill()
    broker.start()
    listener = Listener(broker)
    held.over.set()
    sink.put(person(2))
    wait_for(lambda: sink.written == 2)
    wait_for(lambda: numbers(listener))
    assert numbers(listener) == [2]
    listener.close()


def test_events_arrive_in_order_after_a_broker_was_frozen(broker, opened):
    listener = Listener(broker)
    sink = opened(broker)
    wait_for(lambda: sink.health is Health.OK)
    broker.signal(signal.SIGSTOP)
    began = time.monotonic()
    for n in range(1, 501):
        sink.put(person(n))
    assert time.monotonic() - began < 1
    time.sleep(0.3)
    assert sink.written == 0
    broker.signal(signal.SIGCONT)
    wait_for(lambda: len(numbers(listener)) >= 500)
    assert numbers(listener) == list(range(1, 501))
    wait_for(lambda: sink.written == 500)
    assert sink.dropped == 0
    listener.close()


def test_a_process_that_dies_leaves_its_last_will(broker):
    listener = Listener(broker)
    code = (
        "import time; from crosscam_edge.sinks.mqtt import MqttSink;"
        f"MqttSink('127.0.0.1', {broker.port}, prefix='crosscam', site='shop'); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_for(lambda: listener.of("crosscam/shop/status") == ["online"])
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: listener.of("crosscam/shop/status") == ["online", "offline"])
    listener.close()


def test_what_waits_is_bounded_and_the_oldest_goes(tmp_path, opened, monkeypatch):
    monkeypatch.setattr(module, "_CLOSE_S", 0.3)
    broker = make_broker("amqtt", tmp_path)  # not started
    sink = opened(broker, most=10)
    for n in range(25):
        sink.put(person(n))
    assert [record["global_id"] for record in sink._people] == list(range(15, 25))
    assert sink.dropped == 15
    began = time.monotonic()
    sink.close()
    assert time.monotonic() - began < 3
    assert (sink.written, sink.dropped) == (0, 25)
    sink.put(person(99))
    assert sink.dropped == 26


def test_what_a_frozen_broker_did_not_acknowledge_is_dropped_at_the_end(
    broker, opened, monkeypatch
):
    monkeypatch.setattr(module, "_CLOSE_S", 0.3)
    sink = opened(broker)
    wait_for(lambda: sink.health is Health.OK)
    broker.signal(signal.SIGSTOP)
    for n in range(1, 61):
        sink.put(person(n))
    wait_for(lambda: len(sink._unacknowledged) == module._UNDER_WAY)
    time.sleep(0.2)
    assert len(sink._people) in (40, 41)  # that we are there may be under way too
    sink.close()
    assert (sink.written, sink.dropped) == (0, 60)
    broker.signal(signal.SIGCONT)


@pytest.mark.parametrize("name", BROKERS)
def test_a_wrong_password_is_told_and_never_shown(name, tmp_path, opened, monkeypatch, capfd):
    monkeypatch.setattr(module, "_CLOSE_S", 0.3)
    log.configure(0)
    broker = make_broker(name, tmp_path, password=True)
    broker.start()
    try:
        wrong = opened(broker, username=USER, password="topsecret")
        right = opened(broker, username=USER, password=PASSWORD)
        wait_for(lambda: (wrong.health, right.health) == (Health.REFUSED, Health.OK))
        right.put(person(1))
        wait_for(lambda: right.written == 1)
        wrong.put(person(1))
        wrong.close()
        assert (wrong.written, wrong.dropped) == (0, 1)
    finally:
        broker.kill()
    wait_for(lambda: right.health is Health.AWAY)
    told = capfd.readouterr().err
    assert "broker: refused" in told
    assert "topsecret" not in told + repr(vars(wrong))
    assert PASSWORD not in told


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 with its key in one file, and itself as authority."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "ca.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    both = folder / "both.pem"
    both.write_text(cert.read_text() + key.read_text())
    return both, cert


@pytest.mark.parametrize("name", BROKERS)
def test_certificates_are_checked(name, tmp_path, opened, certificate, monkeypatch):
    monkeypatch.setattr(module, "_CLOSE_S", 0.3)
    both, ca = certificate
    broker = make_broker(name, tmp_path, certificate=both)
    broker.start()
    try:
        believed = opened(broker, tls=True, ca=str(ca))
        doubted = opened(broker, tls=True)
        wait_for(lambda: (believed.health, doubted.health) == (Health.OK, Health.REFUSED))
        believed.put(person(1))
        wait_for(lambda: believed.written == 1)
    finally:
        broker.kill()


def test_certificates_that_are_not_there(tmp_path, opened):
    broker = make_broker("amqtt", tmp_path)
    (tmp_path / "no.pem").write_text("nothing")
    for file in ("none.pem", "no.pem"):
        with pytest.raises(InputError, match=r"certificates .* cannot be read"):
            opened(broker, tls=True, ca=str(tmp_path / file))


def test_a_record_that_cannot_be_sent_is_dropped_alone(broker, opened):
    sink = opened(broker)
    sink.put(camera("a/+", "running"))  # no camera is called so: no name may hold these
    sink.put({"type": "identity", "global_id": 1, "odds": float("nan")})
    sink.put(person(2))
    wait_for(lambda: sink.written == 1)
    assert sink.dropped == 2


@given(st.from_regex(CAMERA_ID, fullmatch=True))
def test_no_camera_has_a_name_that_is_more_than_one_level(name):
    assert not set(name) & set("+#/$\0")
