"""Downloads against a real HTTP server that cuts, lies, changes and disappears."""

from __future__ import annotations

import hashlib
import http.server
import json
import multiprocessing
import threading
from pathlib import Path

import pytest

from crosscam_deploy.zoo import download, trust
from crosscam_deploy.zoo.download import fetch
from crosscam_deploy.zoo.entries import ZooFile
from crosscam_kernels.errors import InputError, RunError

CONTENT = bytes(range(256)) * 8000  # 2 MB
SHA = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """A server whose behaviour a test can change while it runs."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.cut_after: list[int] = []  # bytes after which the next answers break off
        self.ranges = True
        self.etag: str | None = '"v1"'
        self.status = 200
        self.requests: list[str | None] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.answer(self)

            def log_message(self, *args):
                del args

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        serve = self.httpd.serve_forever
        threading.Thread(target=serve, args=(0.02,), daemon=True).start()

    def answer(self, handler) -> None:
        wanted = handler.headers.get("Range")
        self.requests.append(wanted)
        if self.status != 200:
            handler.send_response(self.status)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        start = 0
        matches = handler.headers.get("If-Range") in (None, self.etag)
        if wanted and self.ranges and matches:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(self.content):
                handler.send_response(416)
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return
            handler.send_response(206)
            total = len(self.content)
            handler.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            handler.send_response(200)
        if self.etag:
            handler.send_header("ETag", self.etag)
        body = self.content[start:]
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if self.cut_after:
            handler.wfile.write(body[: self.cut_after.pop(0)])
            handler.wfile.flush()
            handler.close_connection = True
            handler.connection.close()
            return
        handler.wfile.write(body)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.httpd.server_port}/model.onnx"

    def close(self) -> None:
        self.httpd.shutdown()
        self.httpd.server_close()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda _s: None)
    monkeypatch.setenv("NO_PROXY", "*")
    running = Server()
    yield running
    running.close()


def file_of(server: Server, **fields) -> ZooFile:
    return ZooFile(name="model.onnx", url=server.url, **fields)


def test_plain_download_and_second_call_without_network(server, tmp_path):
    target = tmp_path / "d" / "model.onnx"
    assert fetch(file_of(server, sha256=SHA), target) == target
    assert target.read_bytes() == CONTENT
    server.close()
    fetch(file_of(server, sha256=SHA), target)
    assert not list(target.parent.glob("*.part*"))


@pytest.mark.parametrize("pinned", [True, False])
def test_continues_after_cuts(server, tmp_path, pinned):
    server.cut_after = [700_000, 500_000]
    target = tmp_path / "model.onnx"
    fetch(file_of(server, sha256=SHA if pinned else None), target)
    assert target.read_bytes() == CONTENT
    assert server.requests[0] is None
    starts = [int(r.removeprefix("bytes=").rstrip("-")) for r in server.requests[1:] if r]
    assert len(starts) == 2
    assert 0 < starts[0] < starts[1] <= 1_200_000


def test_continues_in_a_later_run(server, tmp_path):
    server.cut_after = [300_000] * download._ATTEMPTS
    target = tmp_path / "model.onnx"
    with pytest.raises(RunError, match="cannot be downloaded"):
        fetch(file_of(server, sha256=SHA), target)
    assert not target.exists()
    kept = (tmp_path / "model.onnx.part").stat().st_size
    assert kept > 0
    fetch(file_of(server, sha256=SHA), target)
    assert target.read_bytes() == CONTENT
    assert server.requests[-1] == f"bytes={kept}-"


def test_file_that_changes_between_two_halves_is_not_glued(server, tmp_path):
    """Without a known hash only the validator tells; the old half must be thrown away."""
    server.cut_after = [200_000] * download._ATTEMPTS
    target = tmp_path / "model.onnx"
    with pytest.raises(RunError):
        fetch(file_of(server), target)
    server.content, server.etag = CONTENT[::-1], '"v2"'
    fetch(file_of(server), target)
    assert target.read_bytes() == CONTENT[::-1]


def test_without_validator_and_hash_it_starts_anew(server, tmp_path):
    server.etag = None
    server.cut_after = [200_000] * download._ATTEMPTS
    target = tmp_path / "model.onnx"
    with pytest.raises(RunError):
        fetch(file_of(server), target)
    server.content = CONTENT[::-1]
    fetch(file_of(server), target)
    assert target.read_bytes() == CONTENT[::-1]
    assert server.requests[-1] is None


def test_server_without_ranges(server, tmp_path):
    server.ranges = False
    server.cut_after = [900_000]
    target = tmp_path / "model.onnx"
    fetch(file_of(server, sha256=SHA), target)
    assert target.read_bytes() == CONTENT


def test_part_longer_than_the_file(server, tmp_path):
    target = tmp_path / "model.onnx"
    (tmp_path / "model.onnx.part").write_bytes(CONTENT + b"more")
    fetch(file_of(server, sha256=SHA), target)
    assert target.read_bytes() == CONTENT


def test_wrong_hash_is_refused_and_not_kept(server, tmp_path):
    target = tmp_path / "model.onnx"
    with pytest.raises(InputError) as caught:
        fetch(file_of(server, sha256="0" * 64), target)
    assert SHA in caught.value.found
    assert "0" * 64 in caught.value.expected
    assert not list(tmp_path.glob("model.onnx*[!k]"))  # only the lock


def test_wrong_sha384(server, tmp_path):
    with pytest.raises(InputError, match="sha384"):
        fetch(file_of(server, sha384="0" * 96), tmp_path / "model.onnx")
    good = hashlib.sha384(CONTENT).hexdigest()
    fetch(file_of(server, sha384=good), tmp_path / "model.onnx")
    assert trust.recorded_hash(server.url) == SHA


def test_first_use_is_recorded_and_a_change_refused(server, tmp_path):
    fetch(file_of(server), tmp_path / "a.onnx")
    record = json.loads(trust.trust_file().read_text())[server.url]
    assert record["sha256"] == SHA
    assert record["size"] == len(CONTENT)
    server.content, server.etag = CONTENT[::-1], '"v2"'
    with pytest.raises(InputError, match="now serves a file") as caught:
        fetch(file_of(server), tmp_path / "b.onnx")
    assert SHA in caught.value.expected
    assert "delete its line" in caught.value.fix
    assert not (tmp_path / "b.onnx").exists()


def test_damaged_trust_record_is_not_taken_for_an_empty_one(server, tmp_path):
    fetch(file_of(server), tmp_path / "a.onnx")
    trust.trust_file().write_text("{oops")
    with pytest.raises(InputError, match="cannot be read"):
        fetch(file_of(server), tmp_path / "b.onnx")


def test_offline_names_address_and_way_out(server, tmp_path):
    url = server.url
    server.close()
    secret = url.replace("http://", "http://user:pa55@") + "?token=abc"
    with pytest.raises(RunError) as caught:
        fetch(ZooFile(name="model.onnx", url=secret), tmp_path / "model.onnx")
    message = str(caught.value)
    assert "/model.onnx" in message
    assert "CROSSCAM_MODELS" in message
    assert "pa55" not in message
    assert "abc" not in message


@pytest.mark.parametrize("status", [404, 403, 500])
def test_server_says_no(server, tmp_path, status):
    server.status = status
    with pytest.raises(RunError, match=str(status)):
        fetch(file_of(server), tmp_path / "model.onnx")


@pytest.mark.parametrize("url", ["http://example.org/x", "ftp://example.org/x", "file:///etc/x"])
def test_only_encrypted_connections(url, tmp_path):
    with pytest.raises(InputError, match="not an https address"):
        fetch(ZooFile(name="x", url=url), tmp_path / "x")


def test_unwritable_folder(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="cannot be written"):
        fetch(file_of(server, sha256=SHA), tmp_path / "file" / "model.onnx")


def _fetch_in_process(url: str, target: str, cache: str) -> None:
    import os

    os.environ["CROSSCAM_CACHE"] = cache
    fetch(ZooFile(name="model.onnx", url=url), Path(target), progress=False)


def test_two_processes_download_once(server, tmp_path):
    target = tmp_path / "model.onnx"
    context = multiprocessing.get_context("spawn")
    arguments = (server.url, str(target), str(tmp_path / "cache"))
    workers = [context.Process(target=_fetch_in_process, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert target.read_bytes() == CONTENT
    assert len(server.requests) == 1
