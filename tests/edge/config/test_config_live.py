"""The block `live` of a site file, and secrets that no message shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from crosscam_edge.config import load_config
from crosscam_edge.config.load import parse_config
from crosscam_edge.config.secrets import with_secrets
from crosscam_kernels.errors import UsageError

SITE = Path("site.yaml")
HOOK = "url: 'https://example.com/topsecret', secret: topsecret-topsecret"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("mqtt: {host: b, hots: a}", "live.mqtt.hots: unknown key"),
        ("mqtt: {}", "live.mqtt.host: there is nothing"),
        ("harvest: true, pictures: false", "live: 'harvest: true' is given, but"),
        ("mqtt: {host: 'a b'}", "live.mqtt.host: this is no name"),
        ("mqtt: {host: 'mqtt://u:topsecret@h'}", "live.mqtt.host: this is no name"),
        ("mqtt: 'mqtt://u:topsecret@h'", "live.mqtt: found a value that is not shown"),
        ("mqtt: {host: a, port: 0}", "live.mqtt.port: found '0'"),
        ("mqtt: {host: a, prefix: a/+}", "live.mqtt.prefix: a prefix is letters"),
        ("mqtt: {host: a, prefix: /a}", "live.mqtt.prefix: a prefix is letters"),
        ("mqtt: {host: a, kinds: [identty]}", "live.mqtt.kinds[0]: found text 'identty'"),
        ("mqtt: {host: a, kinds: []}", "live.mqtt.kinds: found a list of 0"),
        ("mqtt: {host: a, kinds: [camera, camera]}", "live.mqtt.kinds: a kind is given twice"),
        ("mqtt: {host: a, ca: x.pem}", "'ca' is given, but not 'tls: true'"),
        ("mqtt: {host: a, password: topsecret}", "'password' is given, but no 'username'"),
        ("mqtt: {host: a, username: b, password: 4711}", "password: found a value that is not"),
        ("mqtt: {host: a, username: 4711}", "username: found a value that is not shown"),
        ("webhooks: [https://example.com/topsecret]", "webhooks[0]: found a value that is not"),
        ("webhooks: [{url: a}]", "live.webhooks[0].secret: there is nothing"),
        (f"webhooks: [{{{HOOK}, secrt: a}}]", "live.webhooks[0].secrt: unknown key"),
        ("name: a/b", "live.name: found text 'a/b'"),
        ("name: '#'", "live.name: found text '#'"),
    ],
)
def test_mistakes_are_named_and_secrets_are_not(text: str, found: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_config(f"live: {{{text}}}", SITE)
    assert found in caught.value.found
    assert "topsecret" not in str(caught.value)
    assert "4711" not in str(caught.value)


def test_what_may_be_left_out(tmp_path: Path) -> None:
    assert parse_config("{}", SITE).live.mqtt is None
    file = tmp_path / "site.yaml"
    file.write_text(
        "live:\n  mqtt: {host: h, tls: true, ca: ca.pem}\n"
        f"  webhooks:\n    - {{{HOOK}}}\n    - {{{HOOK}, ca: hook.pem, kinds: [tracks]}}\n"
    )
    config = load_config(file)
    assert config.live.name == "site"
    assert config.live.mqtt is not None
    assert config.live.mqtt.kinds == ["identity", "camera", "model"]
    assert config.live.mqtt.ca == str(tmp_path / "ca.pem")
    assert [hook.ca for hook in config.live.webhooks] == [None, str(tmp_path / "hook.pem")]
    assert "topsecret" not in repr(config) + config.model_dump_json()


def test_secrets_from_variables_and_files(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("one line\nand another\n")
    text = f"${{A}}-${{file:{file}}}"
    assert with_secrets(text, "it", environment={"A": "${B}"}) == "${B}-one line"
    assert with_secrets(text, "it", environment={"A": "b"}, escape=str.upper) == "B-ONE LINE"
    file.write_bytes(b"\xff\xfe")
    for wrong in (text, "${A}", "${file:/none}", "${}"):
        with pytest.raises(UsageError, match="'it'"):
            with_secrets(wrong, "it", environment={"B": "topsecret"})
