"""The console's files as they are served."""

from __future__ import annotations

import httpx
import pytest
from starlette.applications import Starlette

from crosscam_edge.server.guard import LOOPBACK, Guard
from crosscam_edge.server.limits import Attempts
from crosscam_edge.server.patience import Slow
from crosscam_edge.server.serve import Server, bind
from crosscam_edge.server.web import console_routes


@pytest.fixture
def built(tmp_path):
    folder = tmp_path / "console"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html>")
    (folder / "icon.svg").write_text("<svg/>")
    (folder / "assets" / "index-abc123.js").write_text("start()")
    (folder / "assets" / "index-abc123.js.map").write_text("{}")
    (tmp_path / "secret.html").write_text("secret")
    return folder


@pytest.fixture
def ask():
    servers = []

    def asked(folder):
        app = Starlette(routes=console_routes(folder))
        app.state.slow = Slow()
        app.add_middleware(
            Guard, hosts=LOOPBACK, slow=app.state.slow, pace=Attempts(600, 0.02), larger={}
        )
        server = Server(app, bind("127.0.0.1", 0))
        server.start()
        servers.append(server)
        return httpx.Client(base_url=f"http://127.0.0.1:{server.address[1]}", timeout=10)

    yield asked
    for each in servers:
        each.stop()


def test_the_console_may_load_its_own_files_and_nothing_else(ask, built):
    with ask(built) as client:
        page = client.get("/")
        assert page.text == "<!doctype html>"
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["cache-control"] == "no-cache"
        rules = dict(
            each.strip().split(" ", 1)
            for each in page.headers["content-security-policy"].split(";")
        )
        assert rules["default-src"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == "'self'"
        assert "unsafe" not in str(rules)
        assert page.headers["x-content-type-options"] == "nosniff"
        assert len(page.headers.get_list("cache-control")) == 1


def test_files_with_a_hash_are_cached_for_ever_and_others_asked_for_anew(ask, built):
    with ask(built) as client:
        script = client.get("/assets/index-abc123.js")
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        assert "immutable" in script.headers["cache-control"]
        icon = client.get("/icon.svg")
        assert icon.headers["cache-control"] == "no-cache"
        tag = {"If-None-Match": icon.headers["etag"]}
        again = client.get("/icon.svg", headers=tag)
        assert (again.status_code, again.content) == (304, b"")
        assert client.get("/", headers=tag).status_code == 200
        assert client.head("/").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.html",
        "/assets/..%2f..%2fsecret.html",
        "/%2e%2e/secret.html",
        "/assets/index-abc123.js.map",
        "/assets/",
        "/index",
    ],
)
def test_nothing_else_is_served(ask, built, path):
    with ask(built) as client:
        assert client.get(httpx.URL(client.base_url, raw_path=path.encode())).status_code == 404


def test_a_host_of_the_web_does_not_get_the_console(ask, built):
    with ask(built) as client:
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 421


def test_without_the_files_it_says_what_to_do(ask, tmp_path):
    with ask(tmp_path / "none") as client:
        answer = client.get("/")
        assert answer.status_code == 404
        assert "make web" in answer.text
        assert answer.headers["content-type"].startswith("text/plain")
