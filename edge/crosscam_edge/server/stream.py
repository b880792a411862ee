"""Records as server-sent events (HTML Living Standard, 9.2), as they happen."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from crosscam_edge.server.following import SEND_S, Followers, Following
from crosscam_edge.server.hub import Hub, Missed, visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Send

    from crosscam_edge.server.tokens import Caller

_POLL_S = 0.1
_ALIVE_S = 15.0


class EventStream(Following):
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
        super().__init__(followers, allowed, send_s)
        self._hub, self._caller, self._from = hub, caller, after
        self._after = 0

    async def follow(self, send: Send) -> None:
        """Send what is new until the end."""
        try:
            await self.say(send, b": crosscam\n\n")
            self._after = self._hub.last if self._from is None else self._hub.number(self._from)
            said = time.monotonic()
            while self.may_go_on():
                text = self._new()
                if not text and time.monotonic() - said >= _ALIVE_S:
                    text = b":\n\n"  # a client that has left is noticed by this
                if text:
                    await self.say(send, text)
                    said = time.monotonic()
                else:
                    await asyncio.sleep(_POLL_S)
            await self.close(send)
        except TimeoutError:
            self._hub.too_slow()
        except Missed:
            self._hub.too_slow()
            # A client that comes back with its number would miss the same again.
            told = f"event: missed\nid: {self._hub.name(self._hub.last)}\ndata: {{}}\n\n"
            await self.close(send, told.encode())

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
