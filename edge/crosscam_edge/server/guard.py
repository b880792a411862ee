"""What every request meets first: whose host it names, how large it is; and headers of answers.

A header that an answer has already stands: files of the console may be cached, and load scripts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from crosscam_edge.server.errors import RefusedError, answer_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BODY = 1 << 16
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Guard:
    """Refuses requests that are never meant well, before anything else looks at them.

    Args:
        app: What comes after.
        hosts: Names that may stand in `Host`; None for any. On loopback anything else is a page of
            the web that had its own name point here (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = [*message.get("headers", ())]
                names = {name.lower() for name, _ in told}
                message["headers"] = [*told, *(each for each in _HEADERS if each[0] not in names)]
            await send(message)

        refused = self._refused(scope)
        if refused is not None:
            await answer_of(refused)(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)

    def _refused(self, scope: Scope) -> RefusedError | None:
        headers: dict[bytes, Any] = dict(scope["headers"])
        if self._hosts is not None and _host(headers.get(b"host", b"")) not in self._hosts:
            return RefusedError(
                421,
                "host",
                "this address is not called so",
                expected=f"a Host of {', '.join(sorted(self._hosts))}",
                fix="ask for 127.0.0.1; a proxy must say so too",
            )
        if b"transfer-encoding" in headers:
            return RefusedError(
                411, "length", "a body of unknown length", expected="Content-Length"
            )
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 18 or int(length) > MOST_BODY:
            return RefusedError(
                413, "too_large", "the body is too large", expected=f"{MOST_BODY} bytes at most"
            )
        return None


def _host(value: bytes) -> str:
    try:
        return (urlsplit(f"//{value.decode('ascii')}").hostname or "").rstrip(".")
    except ValueError:
        return ""
