"""What every request meets first: how many come, for which host, how large and how fast.

Answers get headers here.
A header that an answer has already stands: files of the console may be cached, and load scripts.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from crosscam_edge.server.errors import RefusedError, answer_of
from crosscam_edge.server.patience import Slow, in_time, patience_s

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from crosscam_edge.server.limits import Attempts

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
        slow: Counts bodies that came too slowly.
        pace: How many requests each address may send.
        larger: Bytes of the largest body, by method and path, where they are not `MOST_BODY`. Such
            a route must know who asks before it reads.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: frozenset[str] | None,
        slow: Slow,
        pace: Attempts,
        larger: Mapping[tuple[str, str], int],
    ) -> None:
        self._app, self._hosts, self._slow, self._larger = app, hosts, slow, larger
        self._pace = pace

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
        length = int(dict(scope["headers"]).get(b"content-length", b"0"))
        await self._app(scope, in_time(receive, patience_s(length), self._slow), guarded)

    def _refused(self, scope: Scope) -> RefusedError | None:
        headers: dict[bytes, Any] = dict(scope["headers"])
        address = (scope.get("client") or ("",))[0]
        wait = math.ceil(self._pace.wait_s(address))
        if wait > 0:
            self._pace.refused += 1
            return RefusedError(
                429,
                "too_many",
                "too many requests from this address",
                expected="fewer in a second",
                fix=f"wait {wait} seconds",
                headers={"Retry-After": str(wait)},
            )
        self._pace.count(address)
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
        most = self._larger.get((scope["method"], scope["path"]), MOST_BODY)
        if not length.isdigit() or len(length) > 18 or int(length) > most:
            return RefusedError(
                413, "too_large", "the body is too large", expected=f"{most} bytes at most"
            )
        return None


def _host(value: bytes) -> str:
    try:
        return (urlsplit(f"//{value.decode('ascii')}").hostname or "").rstrip(".")
    except ValueError:
        return ""
