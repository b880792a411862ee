"""An interface that is encrypted, and keys and certificates that do not do."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
from urllib.parse import urlsplit

import httpx
import pytest
from serving_parts import serving

from crosscam_edge.cli import main
from crosscam_edge.server.tls import tls_context
from crosscam_edge.server.tokens import Keyring
from crosscam_kernels.errors import InputError

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl is not installed (apt-get install openssl)"
)


def make(folder, *more):
    folder.mkdir(exist_ok=True)
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", key, "-out", certificate, *(more or ("-nodes",))],
        check=True, capture_output=True,
    )  # fmt: skip
    os.chmod(key, 0o600)
    return certificate, key


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    return make(tmp_path_factory.mktemp("tls"))


def test_answers_are_encrypted_and_nothing_else_is_answered(site, tokens, tokens_file, pair):
    with serving(site, Keyring(tokens_file), tls=tls_context(*pair)) as url:
        headers = {"Authorization": f"Bearer {tokens['viewer']}"}
        believes = ssl.create_default_context(cafile=str(pair[0]))
        answer = httpx.get(url + "/api/v1/cameras", headers=headers, verify=believes)
        assert answer.status_code == 200
        with pytest.raises(httpx.ConnectError):
            httpx.get(url + "/api/v1/health")  # nobody vouches for it
        with pytest.raises(httpx.HTTPError):
            httpx.get(url.replace("https", "http") + "/api/v1/health")
        port = urlsplit(url).port
        for newest, taken in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)):
            client = ssl.create_default_context(cafile=str(pair[0]))
            client.set_ciphers("ALL:@SECLEVEL=0")
            client.minimum_version, client.maximum_version = ssl.TLSVersion.TLSv1, newest
            with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
                try:
                    with client.wrap_socket(plain, server_hostname="127.0.0.1") as found:
                        assert found.version() == "TLSv1.2"
                        assert taken
                except ssl.SSLError:
                    assert not taken


def test_old_versions_are_refused_by_us_and_not_only_by_the_system(pair):
    assert tls_context(*pair).minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o620, 0o666])
def test_keys_that_others_may_read_are_refused(tmp_path, pair, mode):
    key = tmp_path / "key.pem"
    shutil.copy(pair[1], key)
    os.chmod(key, mode)
    with pytest.raises(InputError, match=f"mode 0{mode:03o}"):
        tls_context(pair[0], key)
    os.chmod(key, 0o640)
    tls_context(pair[0], key)


def test_what_does_not_belong_together_is_refused(tmp_path, pair):
    other = make(tmp_path / "other")
    locked = make(tmp_path / "locked", "-passout", "pass:topsecret")
    (tmp_path / "text").write_text("no key\n")
    os.chmod(tmp_path / "text", 0o600)
    for certificate, key in (
        (pair[0], other[1]), locked, (pair[0], tmp_path / "text"), (tmp_path / "text", pair[1]),
    ):  # fmt: skip
        with pytest.raises(InputError, match="cannot be used") as caught:
            tls_context(certificate, key)
        assert "PRIVATE" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        tls_context(tmp_path / "none", pair[1])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--listen", "127.0.0.1:0", "--tls-cert", "{0}"], "one of --tls-cert and --tls-key"),
        (["--tls-cert", "{0}", "--tls-key", "{1}"], "without --listen"),
        (["--listen", "0.0.0.0:0", "--tls-cert", "{0}", "--tls-key", "{1}"], "everybody"),
        (["--listen", "127.0.0.1:0", "--tls-cert", "{0}", "--tls-key", "{0}"], "others"),
    ],
)
def test_what_is_not_safe_does_not_begin(tmp_path, pair, capsys, words, told):
    site = tmp_path / "site.yaml"
    site.write_text("cameras: [{id: hall, url: 'rtsp://127.0.0.1:1/x'}]\n")
    os.chmod(pair[0], 0o644)
    with pytest.raises(SystemExit) as left:
        main(
            ["run", str(site), "-o", str(tmp_path / "out"), *(word.format(*pair) for word in words)]
        )
    assert left.value.code in (2, 3)
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
