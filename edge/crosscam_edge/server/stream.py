"""Records as server-sent events (HTML Living Standard, 9.2), as they happen."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from starlette.responses import Response

from crosscam_edge.server.hub import Hub, Missed, visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Message, Receive, Scope, Send

    from crosscam_edge.server.tokens import Caller

_POLL_S = 0.1
_ALIVE_S = 15.0
_ASK_S = 2.0
SEND_S = 20.0


class Followers:
    """Bounds how many follow at a time.

    Args:
        most: So many.
    """

    def __init__(self, most: int = 32) -> None:
        self._free = most

    def enter(self) -> bool:
        """Take a place; returns whether there was one. Of the event loop's thread alone."""
        if self._free == 0:
            return False
        self._free -= 1
        return True

    def leave(self) -> None:
        """Give a place back."""
        self._free += 1


class EventStream(Response):
    """Sends records from the hub until the client leaves, or falls behind.

    It looks for new ones ten times a second: the run never has to wake anybody.

    Args:
        hub: The records.
        caller: Who follows.
        after: Name of the last record they had; None for those that are yet to come.
        allowed: Whether they still may; asked every few seconds.
        followers: Where a place was taken for them.
        send_s: A client that takes nothing for longer is dropped.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        hub: Hub,
        caller: Caller,
        after: str | None,
        followers: Followers,
        allowed: Callable[[], bool],
        send_s: float = SEND_S,
    ) -> None:
        super().__init__()
        del self.headers["content-length"]
        self.headers["x-accel-buffering"] = "no"
        self._hub, self._caller, self._from = hub, caller, after
        self._after = 0
        self._followers, self._allowed, self._send_s = followers, allowed, send_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end."""
        work = asyncio.create_task(self._follow(send))
        left = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._followers.leave()
            for task in (work, left):
                task.cancel()
            await asyncio.gather(work, left, return_exceptions=True)

    async def _follow(self, send: Send) -> None:
        start: Message = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        try:
            await self._sent(send, start)
            await self._body(send, b": crosscam\n\n")
            self._after = self._hub.last if self._from is None else self._hub.number(self._from)
            said = asked = time.monotonic()
            while True:
                if time.monotonic() - asked >= _ASK_S:
                    asked = time.monotonic()
                    if not self._allowed():
                        await self._end(send, b"")
                        return
                text = self._new()
                if not text and time.monotonic() - said >= _ALIVE_S:
                    text = b":\n\n"  # a client that has left is noticed by this
                if text:
                    await self._body(send, text)
                    said = time.monotonic()
                else:
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            self._hub.too_slow()
        except Missed:
            self._hub.too_slow()
            # A client that comes back with its number would miss the same again.
            told = f"event: missed\nid: {self._hub.name(self._hub.last)}\ndata: {{}}\n\n"
            await self._end(send, told.encode())

    def _new(self) -> bytes:
        lines = []
        for number, record in self._hub.after(self._after):
            self._after = number
            seen = visible(record, self._caller)
            if seen is not None:
                data = json.dumps(seen, separators=(",", ":"), allow_nan=False)
                lines.append(
                    f"event: {seen['type']}\nid: {self._hub.name(number)}\ndata: {data}\n\n"
                )
        return "".join(lines).encode()

    async def _body(self, send: Send, body: bytes) -> None:
        await self._sent(send, {"type": "http.response.body", "body": body, "more_body": True})

    async def _end(self, send: Send, body: bytes) -> None:
        await self._sent(send, {"type": "http.response.body", "body": body, "more_body": False})

    async def _sent(self, send: Send, message: Message) -> None:
        async with asyncio.timeout(self._send_s):
            await send(message)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
