"""Signatures: whoever has the secret can tell, and nobody else can make one."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crosscam_edge.sinks.signature import is_signed, signature

SECRETS = st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable())
TIMES = st.integers(0, 4_000_000_000)


@given(SECRETS, st.binary(max_size=200), TIMES, st.integers(-300, 300))
def test_what_was_signed_is_signed(secret, body, at, off):
    assert is_signed(signature(secret, body, at), body, secret, at + off)


@given(SECRETS, st.binary(max_size=200), TIMES, st.data())
def test_whatever_is_changed_breaks_it(secret, body, at, data):
    header = signature(secret, body, at)
    other = data.draw(st.binary(max_size=200))
    assume(other != body)
    assert not is_signed(header, other, secret, at)
    stranger = data.draw(SECRETS)
    # HMAC pads its key with zeros: the same key, then. No text that prints ends with one.
    assume(stranger != secret)
    assert not is_signed(header, body, stranger, at)
    later = header.replace(f"t={at}", f"t={at + 1}")
    assert not is_signed(later, body, secret, at)
    assert not is_signed(header, body, secret, at + 301)
    assert not is_signed(header, body, secret, at - 301)


@given(st.text(max_size=80), st.binary(max_size=20))
def test_any_text_is_judged_and_none_believed(header, body):
    assert not is_signed(header, body, "a secret of ours", 1_700_000_000)


@pytest.mark.parametrize("text", ["t=5", "v1=00", "t=x,v1=00", "t=5,t=5,v1={v1}", "t=²,v1={v1}"])
def test_headers_that_lack_something(text):
    v1 = hmac.new(b"secret", b"5.{}", hashlib.sha256).hexdigest()
    assert is_signed(f"t=5,v1={v1}", b"{}", "secret", 5)
    assert is_signed(f"t=5,v1=00,v1={v1},v2=x", b"{}", "secret", 5)  # a secret being changed
    assert not is_signed(text.format(v1=v1), b"{}", "secret", 5)
