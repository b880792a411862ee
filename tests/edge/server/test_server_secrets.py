"""A run with secrets everywhere: none of them is in what it says, answers, counts or writes."""

from __future__ import annotations

import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx
import pytest

from crosscam_edge.server.tokens import Role, create_token

CAMERA, BROKER, HOOK, SIGNING = "topsecret-camera", "topsecret-mqtt", "topsecret-hook", "topsecret"
PATHS = (
    "/openapi.json", "/health", "/me", "/cameras", "/cameras/dead", "/cameras/odd", "/identities",
    "/identities/1", "/identities/1/export", "/metrics", "/settings", "/nothing", "/../settings",
)  # fmt: skip

TOLD = ("/me", "/cameras", "/cameras/dead", "/cameras/odd", "/identities", "/metrics", "/settings")
FAULTS = {
    "away": ("web hook: away", "broker: away", "fault=refused"),
    "refused": ("web hook: refused", "broker: refused", "fault=unauthorised"),
}  # what is told of those who are away, and of those who know nobody


@contextmanager
def nobody():
    """A port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    yield port


class Refusing(socketserver.StreamRequestHandler):
    """A camera, a broker and a hook: none knows who asks, and they say loudly what they heard."""

    timeout = 5

    def handle(self):
        heard = b""
        while b"\r\n\r\n" not in heard and not heard.startswith(b"\x10"):
            more = self.connection.recv(65_536)
            if not more:
                return
            heard += more
        kind = b"mqtt" if heard.startswith(b"\x10") else heard.split()[2][:4].lower()
        self.server.heard.add(kind.decode())
        if kind == b"mqtt":
            self.wfile.write(b"\x20\x02\x00\x05")  # not authorised (MQTT 3.1.1, 3.2.2.3)
            return
        word = (
            f"{kind.decode().upper()}/1.{int(kind == b'http')} 401 {heard.split()[1].decode()}\r\n"
        )
        number = re.search(rb"CSeq: *\d+\r\n", heard)
        self.wfile.write(word.encode() + (number[0] if number else b""))
        self.wfile.write(b'WWW-Authenticate: Basic realm="x"\r\n')
        self.wfile.write(b"Content-Length: %d\r\n\r\n" % len(heard) + heard)


@contextmanager
def refusing():
    """A port where whoever asks is refused."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refusing) as server:
        server.daemon_threads, server.heard = True, set()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(10)
    assert server.heard == {"mqtt", "http", "rtsp"}


@pytest.mark.parametrize(
    ("others", "fault"),
    [(nobody, "away"), pytest.param(refusing, "refused", marks=pytest.mark.slow)],
)
def test_no_secret_leaves_a_run(tmp_path, others, fault):
    with others() as port:
        _watched(tmp_path, port, fault)


def _watched(tmp_path, port, fault):
    password = tmp_path / "password"
    password.write_text(CAMERA)
    site = tmp_path / "site.yaml"
    site.write_text(
        f"""
cameras:
  - {{id: dead, url: 'rtsp://admin:${{file:{password}}}@127.0.0.1:{port}/x?key={CAMERA}'}}
  - {{id: odd, url: 'http://127.0.0.1:{port}/video?password={CAMERA}'}}
detector: motion
embedder: colour
live:
  mqtt: {{host: 127.0.0.1, port: {port}, username: edge, password: '${{BROKER}}'}}
  webhooks:
    - {{url: 'http://u:{HOOK}@127.0.0.1:{port}/{HOOK}', secret: {SIGNING}-of-the-hook}}
  clips: {{}}
  parquet: {{kinds: [identity, camera, tracks]}}
"""
    )
    tokens = {
        role: create_token(tmp_path / "tokens.json", role, name=str(role))[1] for role in Role
    }
    program = [
        sys.executable, "-c", "from crosscam_edge.cli import main; main()", "-vv", "run", str(site),
        "-o", str(tmp_path / "out"), "--tracks", "--listen", "127.0.0.1:0",
        "--tokens", str(tmp_path / "tokens.json"),
    ]  # fmt: skip
    run = subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={"BROKER": BROKER}
    )
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(run.stderr), daemon=True)
    reader.start()
    try:
        until(lambda: any("listening on" in line for line in said))
        url = next(line for line in said if "listening on" in line).split()[-1]
        faults = FAULTS[fault]
        until(lambda: all(any(each in line for line in said) for each in faults))
        answers = []
        for token in (*tokens.values(), None, "cc_wrong"):  # wrong ones are too many soon
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            for path in PATHS:
                answer = httpx.get(url + path, headers=headers, timeout=20)
                assert answer.status_code < 500, path
                if token == tokens[Role.ADMIN] and path in TOLD:
                    assert answer.status_code == 200, path
                answers.append(answer.text + str(answer.headers))
        run.send_signal(signal.SIGINT)
        printed = run.stdout.read()
        assert run.wait(30) == 0
        reader.join(10)
    finally:
        run.kill()
    files = [each for each in (tmp_path / "out").rglob("*") if each.is_file()]
    assert {each.name for each in files} >= {"events.jsonl", "gallery.db"}
    assert any(each.suffix == ".parquet" for each in files)
    written = "".join(each.read_bytes().decode("latin-1") for each in files)
    everything = "".join([*said, *answers, printed, written])
    assert "refused" in everything  # of the cameras it is told all the same
    assert "topsecret" not in everything
    for token in tokens.values():
        assert token not in everything


def until(condition):
    ends = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends, "it did not come to that"
        time.sleep(0.05)
