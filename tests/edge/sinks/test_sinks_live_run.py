"""`crosscam run` with a broker and a web hook, and what it says when they cannot be."""

from __future__ import annotations

import json
import threading

import pyarrow.parquet as pq
import pytest
from brokers import PASSWORD, USER, Listener, free_port, make_broker, wait_for
from test_sinks_webhook import SECRET, Receiver

from crosscam_edge.cli import main
from crosscam_edge.config.load import parse_config
from crosscam_edge.live.outputs import open_outputs
from crosscam_edge.live.swap import SwapReport, SwapState, model_record
from crosscam_edge.sinks import mqtt, webhook
from crosscam_kernels.errors import CrosscamError

CAMERA = "cameras: [{id: dead, url: 'rtsp://127.0.0.1:1/x'}]\ndetector: motion\nembedder: colour\n"


def test_a_run_tells_a_broker_and_a_hook(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(webhook, "_CLOSE_S", 1.0)
    broker = make_broker("amqtt", tmp_path, password=True)
    broker.start()
    listener, receiver = Listener(broker), Receiver()
    monkeypatch.setenv("HOOK", receiver.url)
    monkeypatch.setenv("BROKER_PASSWORD", PASSWORD)
    (tmp_path / "secret").write_text(SECRET)
    site = tmp_path / "site.yaml"
    away = f"http://127.0.0.1:{free_port()}/topsecret"
    site.write_text(
        CAMERA + "live:\n  name: shop\n"
        f"  mqtt: {{host: 127.0.0.1, port: {broker.port}, username: {USER}, "
        "password: '${BROKER_PASSWORD}'}\n  webhooks:\n"
        f"    - {{url: '${{HOOK}}', secret: '${{file:{tmp_path / 'secret'}}}'}}\n"
        f"    - {{url: '{away}', secret: {SECRET}, kinds: [identity, camera, tracks]}}\n"
    )
    out = tmp_path / "out"
    try:
        with pytest.raises(SystemExit) as left:
            main(["run", str(site), "-o", str(out), "--seconds", "3", "--json"])
        assert left.value.code == 0
        wait_for(lambda: listener.of("crosscam/shop/status")[-1:] == ["offline"])
        last = json.loads(listener.of("crosscam/shop/camera/dead")[-1])
    finally:
        receiver.stop()
        listener.close()
        broker.kill()
    printed = capsys.readouterr()
    outputs = json.loads(printed.out)["outputs"]
    lines = (out / "events.jsonl").read_text().splitlines()
    told = len(lines)
    assert outputs["events.jsonl"] == {"written": told, "dropped": 0, "health": "ok"}
    assert outputs["webhook 1"] == {"written": told, "dropped": 0, "health": "ok"}
    assert outputs["webhook 2"] == {"written": 0, "dropped": told, "health": "away"}
    assert outputs["mqtt"]["written"] + outputs["mqtt"]["dropped"] == told >= 2
    posted = [r for _, body, _ in receiver.requests for r in json.loads(body)["records"]]
    assert posted == [json.loads(line) for line in lines]
    assert last == posted[-1]
    everything = printed.out + printed.err + "".join(lines)
    assert "topsecret" not in everything
    assert PASSWORD not in everything


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mqtt: {host: h, username: u, password: '${NONE}'}", "'live.mqtt.password' needs the"),
        ("mqtt: {host: h, username: '${NONE}'}", "'live.mqtt.username' needs the"),
        ("mqtt: {host: h, tls: true, ca: /none.pem}", "certificates '/none.pem' cannot be read"),
        (f"webhooks: [{{url: '${{NONE}}', secret: {SECRET}}}]", "'url of webhook 1' needs the"),
        ("webhooks: [{url: 'http://h', secret: topsecret}]", "has 9 characters"),
        (f"webhooks: [{{url: 'ftp://h/topsecret', secret: {SECRET}}}]", "not the address of a web"),
        (f"webhooks: [{{url: 'http:///topsecret', secret: {SECRET}}}]", "not the address of a web"),
        (f"webhooks: [{{url: 'http://h:x/', secret: {SECRET}}}]", "not the address of a web"),
        (f"webhooks: [{{url: 'http://h/', secret: {SECRET}, ca: /none}}]", "certificates '/none'"),
    ],
)
def test_what_cannot_be_opened_is_told_without_secrets(tmp_path, monkeypatch, text, words):
    monkeypatch.setattr(mqtt, "_CLOSE_S", 0.2)
    config = parse_config(f"live: {{{text}}}", tmp_path / "site.yaml")
    before = {*threading.enumerate()}
    with pytest.raises(CrosscamError, match=words) as caught:
        open_outputs(tmp_path, config.live, tracks=False)
    assert "topsecret" not in str(caught.value)
    # What had been opened before is closed.
    left = {each.name for each in threading.enumerate() if each not in before}
    assert not {"lines", "mqtt", "webhook"} & left


def test_all_are_told_of_a_swap(tmp_path):
    """Also those that name no kinds."""
    broker = make_broker("amqtt", tmp_path)
    broker.start()
    listener, receiver = Listener(broker), Receiver()
    text = (
        f"live: {{name: shop, mqtt: {{host: 127.0.0.1, port: {broker.port}}}, parquet: {{}}, "
        f"webhooks: [{{url: '{receiver.url}', secret: {SECRET}}}]}}"
    )
    record = model_record(SwapReport(SwapState.SWAPPED, "a", "b", people=3, lost=1), 5)
    try:
        outputs = open_outputs(tmp_path, parse_config(text, tmp_path / "s").live, tracks=False)
        outputs.put(record)
        outputs.close()
        wait_for(lambda: listener.of("crosscam/shop/model"))
        (told,) = listener.of("crosscam/shop/model")
    finally:
        receiver.stop()
        listener.close()
        broker.kill()
    posted = [r for _, body, _ in receiver.requests for r in json.loads(body)["records"]]
    (columns,) = (tmp_path / "parquet").glob("*_model.parquet")
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(told)] == posted == pq.read_table(columns).to_pylist() == [record]
    assert [json.loads(line) for line in lines] == [record]


def test_secrets_in_an_address_are_escaped_when_they_are_a_part_of_it(tmp_path, monkeypatch):
    receiver = Receiver()
    (tmp_path / "token").write_text("a/b ?\n")
    address = f"http://127.0.0.1:{receiver.port}/${{file:{tmp_path / 'token'}}}"
    text = f"live: {{webhooks: [{{url: '{address}', secret: {SECRET}, kinds: [tracks]}}]}}"
    outputs = open_outputs(tmp_path, parse_config(text, tmp_path / "s").live, tracks=False)
    assert outputs.wants("tracks")
    outputs.put({"type": "tracks", "camera": "hall"})
    outputs.put({"type": "identity", "global_id": 1})
    outputs.close()
    receiver.stop()
    assert receiver.paths == ["/a%2Fb%20%3F"]
    assert outputs.counts()["webhook 1"]["written"] == 1
    assert outputs.counts()["events.jsonl"]["written"] == 1
