"""Keep secrets out of logs, reports, metrics and error messages."""

from __future__ import annotations

import re

# Up to the last @: passwords may hold one, and a / after a name and a colon, should they or not.
_URL_USERINFO = re.compile(
    r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)(?:[^/\s]*|[^/\s:]+:[^\s\"'<>]*)@"
)
# Cameras take passwords there, under many names.
_URL_QUERY = re.compile(r"(?P<url>rtsps?://[^\s?'\"<>]*\?)[^\s'\"<>]+", re.IGNORECASE)
_SECRET_PAIR = re.compile(
    r"(?P<key>(?:pass(?:word|wd)?|pwd|secret|token|api_?key|access_?key|bearer"
    r"|auth(?:orization|basic|key)?)"
    r"[\"']?\s*[=:]\s*[\"']?)(?P<value>[^\s&\"',;]+)",
    re.IGNORECASE,
)
MASK = "***"


def redact(text: str) -> str:
    """Mask passwords in URLs, what follows the `?` of cameras', and values of secret-looking keys.

    Args:
        text: Any text on its way to a log, a page or a user.

    Returns:
        The text with each secret replaced by ``***``.

    Example:
        >>> redact("rtsp://admin:pa55@10.0.0.7/stream?token=abc")
        'rtsp://***@10.0.0.7/stream?***'
    """
    text = _URL_USERINFO.sub(rf"\g<scheme>{MASK}@", text)
    text = _URL_QUERY.sub(rf"\g<url>{MASK}", text)
    return _SECRET_PAIR.sub(rf"\g<key>{MASK}", text)
