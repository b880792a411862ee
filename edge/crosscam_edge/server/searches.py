"""Who looks like somebody, like a picture, or as words say: one search at a time, beside the run.

A search reads the looks of everybody who is kept, and may ask networks; the cameras need the same
cores. So whoever asks while another search goes on is refused at once, and counted.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from crosscam_edge.gallery.alike import looks_of_person, most_alike
from crosscam_edge.server.errors import RefusedError, no_identity, no_stay
from crosscam_edge.server.eyes import Eyes, bundle_of_words
from crosscam_edge.server.upload import decode
from crosscam_edge.types import TrackletKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from crosscam_edge.server.eyes import Seen
    from crosscam_edge.server.site import Site
    from crosscam_edge.server.tokens import Caller


class Searches:
    """Searches by looks. Any thread may ask.

    Args:
        site: What is searched.

    Attributes:
        refused: Searches that were refused because another one went on.
    """

    def __init__(self, site: Site) -> None:
        self.refused = 0
        self._site, self._eyes = site, Eyes(site.run)
        self._turn = threading.Lock()

    def close(self) -> None:
        """Free what was opened, once no search goes on."""
        with self._turn:
            self._eyes.close()

    def knows_words(self) -> bool:
        """Return whether the run's present model finds people by words."""
        return bundle_of_words(self._site.run.embedder) is not None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Search in the block, alone.

        Raises:
            RefusedError: Another search goes on.
        """
        if not self._turn.acquire(blocking=False):
            self.refused += 1
            raise RefusedError(
                503,
                "busy",
                "another search goes on",
                expected="one at a time",
                fix="try again in a moment",
                headers={"Retry-After": "1"},
            )
        try:
            yield
        finally:
            self._turn.release()

    def like_person(
        self, caller: Caller, global_id: int, limit: int, stay: TrackletKey | None = None
    ) -> list[dict[str, Any]]:
        """Return who else looks like somebody, most alike first.

        Args:
            caller: Gets people of their cameras, as these have seen them, and no others.
            global_id: Whom the others look like.
            limit: At most so many people.
            stay: As they were in this tracklet alone; None for all of theirs.

        Raises:
            RefusedError: Nothing that the caller may know of, or another search goes on.
        """
        reader = self._site.kept()[1]
        of = "" if stay is None else f"track {stay.camera_id}/{stay.track_id} of "
        self._site.note(caller, "search", f"like {of}identity {global_id}")
        final = reader.resolve(global_id)
        if reader.identity(final, caller.cameras) is None:
            raise no_identity(global_id)
        if stay is not None and stay not in {
            TrackletKey(row["camera"], row["track"])
            for row in reader.journey(final, caller.cameras)
        }:
            raise no_stay(global_id, stay)
        with self.turn():
            looks = looks_of_person(reader, final, caller.cameras, stay)
            if looks is None:
                return []
            found = most_alike(reader, *looks, limit=limit, cameras=caller.cameras, without=final)
        return self._told(caller, found)

    def like_picture(
        self, caller: Caller, data: bytes, crop: bool | None, limit: int
    ) -> tuple[list[dict[str, Any]], Seen]:
        """Return who looks like somebody in a picture, most alike first, and who was looked for.

        Args:
            caller: Gets people of their cameras, as these have seen them, and no others.
            data: JPEG, PNG or WebP.
            crop: Whether it is one person from edge to edge; None to find out.
            limit: At most so many people.

        Raises:
            RefusedError: It is no picture, nobody is in it, or another search goes on.
        """
        reader = self._site.kept()[1]
        with self.turn():
            image = decode(data)
            size = f"{image.shape[1]} x {image.shape[0]}"
            self._site.note(caller, "search", f"like a picture of {size} pixels")
            seen = self._eyes.look(image, crop)
            found = most_alike(
                reader, seen.looks, seen.model_id, limit=limit, cameras=caller.cameras
            )
        return self._told(caller, found), seen

    def like_words(self, caller: Caller, text: str, limit: int) -> list[dict[str, Any]]:
        """Return who looks as words say, most alike first; see `like_picture`.

        Raises:
            RefusedError: The run's model knows no words, or another search goes on.
        """
        reader = self._site.kept()[1]
        with self.turn():
            looks, model_id = self._eyes.read(text)
            self._site.note(caller, "search", f"like the words {text!r}")
            found = most_alike(reader, looks, model_id, limit=limit, cameras=caller.cameras)
        return self._told(caller, found)

    def _told(self, caller: Caller, found: Sequence[tuple[int, float]]) -> list[dict[str, Any]]:
        """Return what is said of people who were found; nothing of those who are gone meanwhile."""
        reader = self._site.kept()[1]
        told = []
        for global_id, cosine in found:
            known = reader.identity(global_id, caller.cameras)
            if known is None:
                continue
            told.append(
                {
                    "global_id": global_id,
                    "similarity": cosine,
                    "cameras": known["cameras"],
                    "last_ns": known["last_ns"],
                    "picture": known["picture"],
                }
            )
        return told
