"""A run with secrets everywhere: none of them is in what it says, answers, counts or writes."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time

import httpx

from crosscam_edge.server.tokens import Role, create_token

CAMERA, BROKER, HOOK, SIGNING = "topsecret-camera", "topsecret-mqtt", "topsecret-hook", "topsecret"
PATHS = (
    "/openapi.json", "/health", "/me", "/cameras", "/cameras/dead", "/cameras/odd", "/identities",
    "/identities/1", "/identities/1/export", "/metrics", "/settings", "/nothing", "/../settings",
)  # fmt: skip


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_no_secret_leaves_a_run(tmp_path):
    port = closed_port()
    (tmp_path / "password").write_text(CAMERA)
    site = tmp_path / "site.yaml"
    site.write_text(
        f"""
cameras:
  - {{id: dead, url: 'rtsp://admin:${{file:{tmp_path / "password"}}}@127.0.0.1:{port}/x'}}
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
        until(lambda: sum("away" in line for line in said) >= 2)  # broker and hook
        answers = []
        for token in (None, "cc_wrong", *tokens.values()):
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            for path in PATHS:
                answer = httpx.get(url + path, headers=headers, timeout=20)
                assert answer.status_code < 500, path
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
