"""Who may ask for what: every route, every role, wrong tokens, wrong hosts, wrong sizes."""

from __future__ import annotations

import json
import os
import socket
import stat
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_parts import HOLDERS, SECRET, serving

from crosscam_edge.cli import main
from crosscam_edge.server.access import Access
from crosscam_edge.server.app import make_app
from crosscam_edge.server.errors import RefusedError
from crosscam_edge.server.serve import bind, parse_listen, refuse_open
from crosscam_edge.server.tokens import Keyring, Role, create_token, read_tokens, revoke_token
from crosscam_edge.server.web import console_routes
from crosscam_kernels.errors import InputError, RunError, UsageError

NOBODY = 999_999
# The least role of every route; a route that is not here fails a test.
RULES = {
    ("GET", "/api/v1/health"): None,
    ("GET", "/api/v1/cameras"): "viewer",
    ("GET", "/api/v1/cameras/{camera_id}"): "viewer",
    ("GET", "/api/v1/identities"): "viewer",
    ("GET", "/api/v1/identities/{global_id}"): "viewer",
    ("GET", "/api/v1/identities/{global_id}/export"): "operator",
    ("POST", "/api/v1/identities/{global_id}/merge"): "operator",
    ("POST", "/api/v1/identities/{global_id}/split"): "operator",
    ("DELETE", "/api/v1/identities/{global_id}"): "admin",
    ("GET", "/api/v1/events"): "viewer",
    ("GET", "/api/v1/metrics"): "viewer",
    ("GET", "/api/v1/me"): "viewer",
    ("GET", "/api/v1/settings"): "admin",
    ("GET", "/api/v1/live"): "viewer",
    ("GET", "/api/v1/identities/{global_id}/pictures"): "viewer",
    ("GET", "/api/v1/pictures/{name}"): "viewer",
    ("GET", "/api/v1/identities/{global_id}/similar"): "operator",
    ("POST", "/api/v1/search/picture"): "operator",
    ("POST", "/api/v1/search/text"): "operator",
    ("GET", "/api/v1/topology"): "viewer",
    ("PUT", "/api/v1/topology"): "admin",
}
ROLES = ("viewer", "operator", "admin")


def routes_of(router):
    for each in router.routes:
        inner = getattr(each, "original_router", None)  # FastAPI keeps what it includes whole
        yield from [each] if inner is None else routes_of(inner)


def test_every_route_has_a_rule(ask):
    """As the application has them: one that is kept out of the description has one too."""
    app = make_app(object(), None, loopback=True)
    files = {(method, each.path) for each in console_routes() for method in each.methods}
    found = {(method, each.path) for each in routes_of(app) for method in each.methods}
    described = ("/api/v1/openapi.json", {"GET", "HEAD"})
    found -= files | {(method, described[0]) for method in described[1]}
    assert found == set(RULES)
    paths = ask(None, "/openapi.json").json()["paths"]
    assert {(method.upper(), path) for path, told in paths.items() for method in told} == found
    assert not [path for _, path in files if path.startswith("/api")]


@pytest.mark.timeout(120)  # answers that never end are among them
@pytest.mark.parametrize(("method", "path"), RULES)
def test_every_route_keeps_its_rule(ask, url, tokens, method, path):
    rule = RULES[method, path]
    place = path.removeprefix("/api/v1").format(camera_id="nowhere", global_id=NOBODY, name=NOBODY)

    def status(holder):
        headers = (
            {} if holder is None else {"Authorization": f"Bearer {tokens.get(holder, holder)}"}
        )
        with httpx.stream(method, url + place, headers=headers, timeout=20) as answer:
            return answer.status_code

    if rule is None:
        assert status(None) == 200
        return
    assert status(None) == 401
    assert status("cc_000000000000_" + "x" * 43) == 401
    for role in ROLES:
        allowed = ROLES.index(role) >= ROLES.index(rule)
        assert (status(role) not in (401, 403)) == allowed, role


def test_who_knows_one_camera_knows_of_no_other(ask, live):
    assert [each["id"] for each in ask("hall", "/cameras").json()["cameras"]] == ["hall"]
    assert ask("hall", "/cameras/yard").status_code == 404
    live.gallery.writer.flush()
    people = ask("viewer", "/identities").json()["identities"]
    both = next(each for each in people if {"hall", "yard"} <= set(each["cameras"]))
    answers = [
        ask("hall", "/identities"),
        ask("hall", "/identities?camera=yard"),
        ask("hall", f"/identities/{both['global_id']}"),
        ask("hall", f"/identities/{both['global_id']}/export"),
        ask("hall", "/metrics"),
        ask("hall", "/cameras"),
    ]
    for answer in answers:
        assert answer.status_code == 200
        assert "yard" not in answer.text
        assert "dead" not in answer.text
    assert answers[1].json()["identities"] == []
    seen = answers[2].json()
    assert {each["camera"] for each in seen["journey"]} == {"hall"}
    assert seen["cameras"] == ["hall"]
    assert "crosscam_people" not in answers[4].text
    assert "crosscam_people" in ask("viewer", "/metrics").text


def test_only_operators_see_where_cameras_are(ask):
    assert ask("viewer", "/cameras/dead").json()["address"] is None
    assert "127.0.0.1" in ask("operator", "/cameras/dead").json()["address"]


def test_no_answer_holds_a_secret(ask, tokens, live):
    live.gallery.writer.flush()
    someone = ask("admin", "/identities").json()["identities"][0]["global_id"]
    paths = [
        "/openapi.json", "/health", "/cameras", "/cameras/dead", "/identities", "/metrics",
        "/me", "/settings", "/topology",
        f"/identities/{someone}", f"/identities/{someone}/export", "/nothing", "/identities/x",
    ]  # fmt: skip
    for holder in (*HOLDERS, None, "cc_wrong"):  # wrong ones are too many soon
        for path in paths:
            answer = ask(holder, path)
            assert holder not in HOLDERS or answer.status_code not in (401, 429)
            told = answer.text + str(answer.headers)
            assert SECRET not in told, path
            assert not any(token in told for token in tokens.values()), path
            assert "Traceback" not in told


def test_guessing_is_slowed_and_the_right_token_is_not(ask):
    assert ask("viewer", "/cameras").status_code == 200
    guesses = [ask(f"cc_000000000000_{k:043d}", "/cameras").status_code for k in range(8)]
    assert guesses[:5] == [401] * 5
    assert guesses[5:] == [429] * 3
    late = ask("cc_0", "/cameras")
    assert 0 < int(late.headers["retry-after"]) <= 10
    assert ask("viewer", "/cameras").status_code == 200  # was right before


def test_guesses_from_many_addresses_are_slowed_together(tokens_file, tokens):
    access, guess = Access(Keyring(tokens_file)), "cc_000000000000_" + "x" * 43
    assert access.caller(tokens["viewer"], "10.1.0.0").name == "viewer"
    statuses = []
    for k in range(70):
        with pytest.raises(RefusedError) as caught:
            access.caller(guess, f"10.0.0.{k}")
        statuses.append(caught.value.status)
    assert statuses == [401] * 60 + [429] * 10
    with pytest.raises(RefusedError):  # it never was right before
        access.caller(tokens["admin"], "10.1.0.1")
    assert access.caller(tokens["viewer"], "10.0.0.1").name == "viewer"


def test_right_tokens_are_no_guesses(tokens_file, tokens):
    access = Access(Keyring(tokens_file))
    for _ in range(3):
        for holder in HOLDERS:
            assert access.caller(tokens[holder], "10.0.0.1").name == holder
            access._keyring._seen.clear()  # as if it had never been shown


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[", "localhost@evil"]
)
def test_other_hosts_are_refused(ask, host):
    answer = ask("viewer", "/health", headers={"Host": host})
    assert answer.status_code in (400, 421)
    assert "up" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080"])
def test_own_hosts_are_not(ask, host):
    assert ask(None, "/health", headers={"Host": host}).status_code == 200


def test_large_bodies_are_refused_before_they_come(url):
    parts = urlsplit(url)
    for request, header, status in (
        (b"DELETE /api/v1/identities/1", b"Content-Length: 99999999999", b"413"),
        (b"DELETE /api/v1/identities/1", b"Transfer-Encoding: chunked", b"411"),
        (b"DELETE /api/v1/identities/1", b"Content-Length: 70000", b"413"),
        (b"PUT /api/v1/search/picture", b"Content-Length: 70000", b"413"),
        (b"POST /api/v1/search/picture", b"Content-Length: 8388609", b"413"),
        (b"POST /api/v1/search/picture", b"Content-Length: 8388608", b"401"),  # unread
    ):
        with socket.create_connection((parts.hostname, parts.port), timeout=5) as client:
            client.sendall(request + b" HTTP/1.1\r\nHost: localhost\r\n" + header + b"\r\n\r\n")
            assert client.recv(4096).split()[1] == status


@pytest.mark.parametrize(
    "path",
    [
        "/../../../etc/passwd", "/cameras/..%2f..%2fgallery.db", "/cameras/%2e%2e", "/identities/0",
        "/identities/-1", "/identities/1e9", "/identities/99999999999999999999",
        "/identities?limit=100000", "/identities?cursor=x", "/identities?camera=../x",
        "/cameras/%00", "/identities/1'--", "//etc/passwd", "/docs", "/redoc",
    ],
)  # fmt: skip
def test_strange_paths_are_told_apart_and_nothing_more(ask, path):
    answer = ask("admin", path)
    assert answer.status_code in (404, 422)
    assert set(answer.json()) == {"error", "found", "expected", "fix"}


@pytest.mark.parametrize("body", [b"", b"{", b"\xff{}", b"[" * 60_000, b'{"into": 1e999}'])
def test_bodies_that_are_no_json_are_told_so(ask, body):
    headers = {"Content-Type": "application/json"}
    answer = ask("operator", "/identities/1/merge", "POST", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid")


@pytest.mark.parametrize(
    "path",
    [
        b"/../../../../etc/passwd", b"/api/v1/../../etc/passwd", b"/assets/../../tokens.json",
        b"/api/v1/pictures/../../gallery.db", b"/api/v1/cameras/../settings", b"//etc/passwd",
        b"/%2e%2e/%2e%2e/etc/passwd", b"/api/v1/pictures/..%2fgallery.db", b"/..\\..\\gallery.db",
        b"/api/v1/pictures/%252e%252e%252fgallery.db", b"/\xff\xfe", b"/gallery.db",
        b"/events.jsonl", b"file:///etc/passwd", b"http://127.0.0.1/etc/passwd",
    ],
)  # fmt: skip
def test_no_path_leads_out_as_it_stands_on_the_wire(url, tokens, path):
    """By hand: clients tidy up paths before they send them."""
    parts, token = urlsplit(url), tokens["admin"].encode()
    head = b"Host: localhost\r\nConnection: close\r\nAuthorization: Bearer " + token
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as client:
        client.sendall(b"GET " + path + b" HTTP/1.1\r\n" + head + b"\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65_536), b""))
    assert answer.split()[1] in (b"400", b"404", b"422"), answer[:200]
    assert b"root:" not in answer
    assert b"SQLite" not in answer


def test_answers_are_not_kept_or_framed(ask):
    for holder, path in (("viewer", "/cameras"), (None, "/cameras"), (None, "/nothing")):
        headers = ask(holder, path, headers={"Origin": "https://evil.example"}).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert not [name for name in headers if name.startswith("access-control")]
        assert "server" not in headers


@pytest.mark.timeout(120)  # answers that never end are among them
def test_without_tokens_this_machine_may_only_look(site, live):
    with serving(site, None) as url:
        for (method, path), rule in RULES.items():
            place = path.format(camera_id="nowhere", global_id=NOBODY, name=NOBODY)
            with httpx.stream(method, url + place, timeout=20) as answer:
                looks = rule in (None, "viewer")
                assert (answer.status_code != 403) == looks, (method, path)
                assert answer.status_code != 401
    with serving(site, None) as url, httpx.Client(base_url=url + "/api/v1") as client:
        assert client.get("/cameras").status_code == 200
        assert client.get("/cameras").json()["cameras"][0]["address"] is None
        assert client.get("/identities/1/export").status_code == 403
        assert client.delete("/identities/1").status_code == 403


def test_a_token_that_is_revoked_is_refused_at_once(tmp_path, site):
    path = tmp_path / "t.json"
    token = create_token(path, Role.VIEWER, name="guest")[1]
    other = create_token(path, Role.VIEWER)[1]
    with serving(site, Keyring(path)) as url, httpx.Client(base_url=url + "/api/v1") as client:

        def status(token):
            headers = {"Authorization": f"Bearer {token}"}
            return client.get("/cameras", headers=headers).status_code

        assert (status(token), status(other)) == (200, 200)
        revoke_token(path, "guest")
        assert (status(token), status(other)) == (401, 200)
        path.write_text("{")
        assert status(other) == 401


def test_tokens_are_kept_as_hashes_for_the_owner_alone(tmp_path, capsys):
    path = tmp_path / "t.json"
    args = ["--file", str(path)]

    def run(*words):
        with pytest.raises(SystemExit) as left:
            main(["token", *words, *args])
        return left.value.code, capsys.readouterr()

    code, printed = run("create", "--role", "viewer", "--cameras", "a,b")
    token = printed.out.strip()
    assert code == 0
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert token.split("_", 2)[2] not in path.read_text()
    found = Keyring(path).check(token)
    assert (found.role, found.cameras) == (Role.VIEWER, {"a", "b"})
    code, printed = run("list", "--json")
    assert json.loads(printed.out) == [{"name": "viewer1", "role": "viewer", "cameras": ["a", "b"]}]
    assert run("create", "--role", "admin", "--cameras", "a")[0] == 2
    assert run("create", "--role", "viewer", "--name", "../x")[0] == 2
    assert run("create", "--role", "viewer", "--name", "viewer1")[0] == 2
    assert run("revoke", "nobody")[0] == 2
    assert run("revoke", "viewer1")[0] == 0
    assert read_tokens(path) == []
    path.write_text('{"version": 1, "tokens": [{"hash": "topsecret"}]}')
    with pytest.raises(InputError) as caught:
        Keyring(path)
    assert SECRET not in str(caught.value)


@pytest.fixture(scope="module")
def keyring(tokens_file, tokens):
    return Keyring(tokens_file)


@given(st.text(max_size=80))
def test_any_text_is_nobodys_token(keyring, text):
    assert keyring.check(text) is None


def test_a_right_id_with_a_wrong_secret_is_nobodys_token(ask, keyring, tokens):
    for token in tokens.values():
        head, last = token[:-1], "b" if token.endswith("a") else "a"
        for wrong in (head + last, token[:16] + "x" * 43, token[:16] + token[16:].swapcase()):
            assert wrong != token
            assert keyring.check(wrong) is None
            assert keyring.known(wrong) is None
    assert ask(head + last, "/cameras").status_code == 401


def test_nobody_is_let_in_from_outside_without_tokens(tmp_path):
    for host in ("0.0.0.0", "::", "192.168.1.4", "example.org"):
        with pytest.raises(UsageError, match="everybody"):
            refuse_open(host, None)
    for host in ("127.0.0.1", "::1", "localhost"):
        refuse_open(host, None)
    path = tmp_path / "t.json"
    create_token(path, Role.VIEWER, name="x")
    revoke_token(path, "x")
    with pytest.raises(UsageError, match="has none"):
        refuse_open("0.0.0.0", Keyring(path))


def test_addresses_to_listen_on():
    assert parse_listen("127.0.0.1:80") == ("127.0.0.1", 80)
    assert parse_listen("[::1]:0") == ("::1", 0)
    for text in ("8080", ":8080", "::1:80", "host", "host:x", "host:70000", "[host:1"):
        with pytest.raises(UsageError):
            parse_listen(text)
    with bind("127.0.0.1", 0) as taken, pytest.raises(RunError, match="cannot be listened on"):
        bind("127.0.0.1", taken.getsockname()[1])
