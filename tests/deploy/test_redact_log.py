"""Secrets never reach a log."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscam_deploy.log import configure, get_logger
from crosscam_deploy.redact import redact

_SECRET = st.text("abcdefghijklmnopqrstuvwxyzABC0123456789!$%()", min_size=6, max_size=20)


@given(secret=_SECRET)
def test_url_passwords_are_masked(secret: str) -> None:
    text = redact(f"cannot open rtsp://admin:Q{secret}Q@10.0.0.7:554/stream")
    assert f"Q{secret}Q" not in text
    assert "10.0.0.7:554/stream" in text


@given(secret=_SECRET, key=st.sampled_from(["token", "api_key", "password", "PASSWORD", "secret"]))
def test_secret_pairs_are_masked(secret: str, key: str) -> None:
    for text in (
        f"{key}=Q{secret}Q rest",
        f'{{"{key}": "Q{secret}Q"}}',
        f"?a=1&{key}=Q{secret}Q&b=2",
    ):
        assert f"Q{secret}Q" not in redact(text)


@pytest.mark.parametrize("secret", ["top/secret", "12/34", "a/b@c/d", "${file:/run/pass}"])
def test_passwords_that_should_have_been_escaped_are_masked(secret: str) -> None:
    text = redact(f"'rtsp://admin:{secret}@10.0.0.7:554/stream' is no camera")
    assert text == "'rtsp://***@10.0.0.7:554/stream' is no camera"


@given(secret=_SECRET, key=st.sampled_from(["p", "usr", "auth", "x-y"]))
def test_what_cameras_take_in_their_addresses_is_masked(secret: str, key: str) -> None:
    text = redact(f"[Errno 111] refused: 'RTSP://10.0.0.7/cam?channel=1&{key}=Q{secret}Q' again")
    assert text == "[Errno 111] refused: 'RTSP://10.0.0.7/cam?***' again"
    assert f"Q{secret}Q" not in redact(f"http://10.0.0.7/video?a=1&auth=Q{secret}Q")


@pytest.mark.parametrize(
    "text",
    [
        "decoded 795 frames of vtest.avi at https://example.org/a?b=1",
        "cannot open rtsp://10.0.0.7:554/live; write to me@example.org",
        "rtsp://cam/live@2x",
    ],
)
def test_text_without_secrets_is_unchanged(text: str) -> None:
    assert redact(text) == text


def test_logger_is_quiet_by_default_and_redacts(capsys: pytest.CaptureFixture[str]) -> None:
    configure(as_json=True)
    log = get_logger("test")
    log.info("hidden")
    log.warning("failed", url="rtsp://u:hunter2@cam/1", error=ValueError("token=hunter2"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "hunter2" not in lines[0]
    assert json.loads(lines[0])["component"] == "test"
    configure(level=logging.WARNING)


def test_a_quiet_program_does_not_load_structlog() -> None:
    code = """
import sys
from crosscam_deploy.log import configure, get_logger
configure()
get_logger("test").info("hidden")
assert not {"structlog", "rich"} & set(sys.modules), "loaded for nothing"
get_logger("test").warning("shown", password="x")
assert "structlog" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "shown" in done.stderr
    assert done.stdout == ""


def test_level_and_form_can_change(capsys: pytest.CaptureFixture[str]) -> None:
    log = get_logger("test")
    configure(level=logging.INFO, as_json=True)
    log.info("one", number=1)
    configure(level=logging.WARNING)
    log.info("two")
    log.warning("three")
    first, second = capsys.readouterr().err.splitlines()
    assert json.loads(first) | {"event": "one", "level": "info", "number": 1} == json.loads(first)
    assert "three" in second


def test_the_set_up_of_a_host_program_stays_and_gets_no_secrets() -> None:
    code = """
import structlog
from crosscam_deploy.log import get_logger
with structlog.testing.capture_logs() as logs:
    get_logger("test").warning("failed at rtsp://u:hunter2@cam/1", url="rtsp://u:hunter2@cam/1")
assert len(logs) == 1 and logs[0]["component"] == "test", logs
assert "cam/1" in str(logs) and "hunter2" not in str(logs), logs
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_under_standard_error_breaks_nobody(monkeypatch):
    """A thread that tells of a full disk must live on to see it emptied."""
    full = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115 (to close it fails)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stderr", full)
            get_logger("lines").warning("records are dropped", reason="no space left on device")
            with pytest.raises(OSError, match="No space left"):
                full.flush()  # it was tried
    finally:
        with suppress(OSError):
            full.close()
