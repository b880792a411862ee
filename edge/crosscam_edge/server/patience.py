"""How long a request may take to come; who sends a byte now and then holds nothing for long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import h11
from starlette.exceptions import HTTPException
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from starlette.types import Message, Receive

HEAD_S = 10.0
"""Seconds in which the head of a request must come."""
_BODY_S = 10.0
_RATE = 128 << 10
_GRACE_S = 2.0


def patience_s(length: int) -> float:
    """Return the seconds in which a body of so many bytes must come: ten, and at 128 KiB/s."""
    return _BODY_S + length / _RATE


class Slow:
    """Counts requests that came too slowly.

    Attributes:
        count: So many.
    """

    def __init__(self) -> None:
        self.count = 0


def in_time(receive: Receive, seconds: float, slow: Slow) -> Receive:
    """Return what receives a body in time, or raises; after its end everything is as before.

    Args:
        receive: Receives.
        seconds: From now on, whoever asks for it when.
        slow: Counts.
    """
    ends = asyncio.get_running_loop().time() + seconds
    whole = False

    async def receive_in_time() -> Message:
        nonlocal whole
        if whole:
            return await receive()
        try:
            async with asyncio.timeout_at(ends):
                message = await receive()
        except TimeoutError:
            slow.count += 1
            # The rest of the body is not waited for either.
            raise HTTPException(408, headers={"Connection": "close"}) from None
        whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    return receive_in_time


class PatientProtocol(H11Protocol):
    """Hangs up on who does not get to the end of a request, whoever waits for it or not.

    Without it a head that never ends, or a body after an answer that refused it, would hold one of
    the connections for ever.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._slow: Slow = self.config.app.state.slow
        self._late: asyncio.TimerHandle | None = None
        self._awaited: Any = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._await()

    def data_received(self, data: bytes) -> None:
        """Take some of a request."""
        super().data_received(data)
        self._await()

    def on_response_complete(self) -> None:
        """End an answer; what comes next is another request."""
        super().on_response_complete()
        self._await()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self._forget()

    def _await(self) -> None:
        """Wait for the end of what is coming, from when it began: a head, or the body after it."""
        state, coming, seconds = self.conn.their_state, None, HEAD_S
        if state is h11.IDLE:
            coming = "head", self.cycle
        elif state is h11.SEND_BODY:
            length = int(dict(self.headers).get(b"content-length", b"0"))
            coming, seconds = ("body", self.cycle), patience_s(length) + _GRACE_S
        if coming != self._awaited:
            self._forget()
            self._awaited = coming
            if coming is not None:
                self._late = self.loop.call_later(seconds, self._hang_up)

    def _forget(self) -> None:
        if self._late is not None:
            self._late.cancel()
        self._late = self._awaited = None

    def _hang_up(self) -> None:
        # Between two requests nothing is owed: uvicorn ends such connections, and sooner.
        began = self.cycle is None or bool(self.conn.trailing_data[0])
        self._slow.count += began or self.conn.their_state is h11.SEND_BODY
        self.transport.abort()
