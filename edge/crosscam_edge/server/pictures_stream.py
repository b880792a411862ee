"""What cameras see now, as a stream of JPEG pictures with boxes and ids.

A frame of the stream is the length of its header in four bytes (big-endian), the header in JSON,
and the picture. Whoever is slow gets the newest picture next, not the next one.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

from crosscam_edge.server.following import SEND_S, Followers, Following

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from starlette.types import Send

    from crosscam_edge.server.view import View

_ALIVE_S = 3.0


def framed(header: dict[str, Any], picture: bytes = b"") -> bytes:
    """Return a frame of the stream."""
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    return len(text).to_bytes(4, "big") + text + picture


class PictureStream(Following):
    """Sends the newest pictures of some cameras until the client leaves, or takes nothing.

    Args:
        view: The pictures; told that somebody follows.
        sees: Whether the client may see a camera.
        cameras: Those that are wanted; None for all that they may see.
        fps: Pictures of each camera in a second, at most.
        height: Of the pictures, pixels, at most.
        followers: Where a place was taken for the client.
        allowed: Whether they still may follow; asked every few seconds.
        send_s: A client that takes nothing for longer is dropped.
    """

    media_type = "application/octet-stream"

    def __init__(
        self,
        view: View,
        sees: Callable[[str], bool],
        cameras: Collection[str] | None,
        *,
        fps: float,
        height: int,
        followers: Followers,
        allowed: Callable[[], bool],
        send_s: float = SEND_S,
    ) -> None:
        super().__init__(followers, allowed, send_s)
        self._view, self._sees, self._cameras = view, sees, cameras
        self._fps, self._height = fps, height
        self._had: dict[str, int] = {}  # number of the last picture, by camera
        view.enter()

    def left(self) -> None:
        """Give back what was taken for the client."""
        self._view.leave()
        super().left()

    async def follow(self, send: Send) -> None:
        """Send what is new until the end."""
        try:
            said = 0.0
            while self.may_go_on():
                began = time.monotonic()
                if await self._new(send):
                    said = time.monotonic()
                elif time.monotonic() - said >= _ALIVE_S:
                    await self.say(send, framed({"camera": None, "jpeg": 0}))
                    said = time.monotonic()
                await asyncio.sleep(max(0.0, began + 1 / self._fps - time.monotonic()))
            await self.close(send)
        except TimeoutError:
            return  # whoever takes nothing is hung up on

    async def _new(self, send: Send) -> bool:
        """Send each camera's newest picture that was not sent; returns whether there was any."""
        wanted = [
            shown
            for shown in self._view.newest()
            if (self._cameras is None or shown.camera_id in self._cameras)
            and self._sees(shown.camera_id)
            and self._had.get(shown.camera_id) != shown.number
        ]
        encoding = [self._view.jpeg(shown, self._height) for shown in wanted]
        for shown, job in zip(wanted, encoding, strict=True):
            # Others may wait for the same one, so it goes on when this client leaves.
            picture = await asyncio.shield(asyncio.wrap_future(job))
            self._had[shown.camera_id] = shown.number
            await self.say(send, framed(shown.header(len(picture)), picture))
        return bool(wanted)
