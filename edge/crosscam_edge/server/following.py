"""Answers that never end: sent until the client leaves, is too slow, or may no longer ask."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Message, Receive, Scope, Send

_ASK_S = 2.0
SEND_S = 20.0


class Followers:
    """Bounds how many follow at a time.

    Args:
        most: So many.
    """

    def __init__(self, most: int = 32) -> None:
        self._most = self._free = most

    @property
    def count(self) -> int:
        """How many follow now."""
        return self._most - self._free

    def enter(self) -> bool:
        """Take a place; returns whether there was one. Of the event loop's thread alone."""
        if self._free == 0:
            return False
        self._free -= 1
        return True

    def leave(self) -> None:
        """Give a place back."""
        self._free += 1


class Following(Response, ABC):
    """An answer that goes on for as long as the client takes it.

    Args:
        followers: Where a place was taken for the client.
        allowed: Whether they still may follow; asked every few seconds.
        send_s: A client that takes nothing for longer is dropped.
    """

    def __init__(
        self, followers: Followers, allowed: Callable[[], bool], send_s: float = SEND_S
    ) -> None:
        super().__init__()
        del self.headers["content-length"]
        self.headers["x-accel-buffering"] = "no"
        self._followers, self._allowed, self._send_s = followers, allowed, send_s
        self._asked = time.monotonic()

    @abstractmethod
    async def follow(self, send: Send) -> None:
        """Send until the end; `begun` has been called."""

    def left(self) -> None:
        """Give back what was taken for the client."""
        self._followers.leave()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end."""
        work = asyncio.create_task(self._all(send))
        left = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, left):
                task.cancel()
            try:
                ended, _ = await asyncio.gather(work, left, return_exceptions=True)
            finally:
                self.left()
        if isinstance(ended, Exception):
            raise ended

    async def _all(self, send: Send) -> None:
        start: Message = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await self._sent(send, start)
        await self.follow(send)

    def may_go_on(self) -> bool:
        """Return whether the client may still follow; as it was a moment ago."""
        if time.monotonic() - self._asked < _ASK_S:
            return True
        self._asked = time.monotonic()
        return self._allowed()

    async def say(self, send: Send, body: bytes) -> None:
        """Send some of it.

        Raises:
            TimeoutError: The client takes nothing.
        """
        await self._sent(send, {"type": "http.response.body", "body": body, "more_body": True})

    async def close(self, send: Send, body: bytes = b"") -> None:
        """Send the last of it."""
        await self._sent(send, {"type": "http.response.body", "body": body, "more_body": False})

    async def _sent(self, send: Send, message: Message) -> None:
        async with asyncio.timeout(self._send_s):
            await send(message)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
