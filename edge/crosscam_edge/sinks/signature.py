"""Signatures of web hooks: whoever has the secret can tell who sent a body, and when.

The scheme is the one that Stripe made common: HMAC-SHA256 (RFC 2104) over the time, a dot and the
body. The time is signed too, so that an old request cannot be sent again.
"""

from __future__ import annotations

import hashlib
import hmac

HEADER = "X-Crosscam-Signature"
TOLERANCE_S = 300


def signature(secret: str, body: bytes, at_s: int) -> str:
    """Return the header of a body: ``t=SECONDS,v1=HEX``.

    Args:
        secret: Shared with the receiver.
        body: Exactly the bytes that are sent.
        at_s: UTC seconds since 1970, now.
    """
    return f"t={at_s},v1={_digest(secret, body, str(at_s))}"


def is_signed(
    header: str, body: bytes, secret: str, now_s: float, tolerance_s: float = TOLERANCE_S
) -> bool:
    """Tell whether a request is from somebody who has the secret, and new.

    Args:
        header: Of the request; parts that are not known are passed over.
        body: The bytes that were received, before anything reads them.
        secret: Shared with the sender.
        now_s: UTC seconds since 1970.
        tolerance_s: How far the sender's clock may be off, and a request be under way.
    """
    parts = [part.partition("=") for part in header.split(",")]
    times = [value for key, _, value in parts if key == "t"]
    if len(times) != 1 or not (times[0].isascii() and times[0].isdigit() and len(times[0]) < 16):
        return False
    if abs(now_s - int(times[0])) > tolerance_s:
        return False
    right = _digest(secret, body, times[0]).encode()
    given = [value.encode() for key, _, value in parts if key == "v1"]
    return any(hmac.compare_digest(right, each) for each in given)


def _digest(secret: str, body: bytes, at: str) -> str:
    return hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
