"""What the interface knows of a run, and how it asks for changes."""

from __future__ import annotations

import threading
from concurrent.futures import TimeoutError as TookTooLong
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from crosscam_edge.gallery import Reader
from crosscam_edge.live.camera import CameraHealth
from crosscam_edge.server.errors import (
    RefusedError,
    no_identity,
    no_picture,
    unavailable,
)
from crosscam_edge.server.hub import Hub
from crosscam_edge.server.searches import Searches
from crosscam_edge.server.site_map import SiteMap
from crosscam_edge.server.view import View
from crosscam_edge.sinks.forget import Erasure, Seen
from crosscam_edge.types import TrackletKey
from crosscam_kernels.errors import CrosscamError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from crosscam_edge.gallery import Gallery
    from crosscam_edge.live.run import LiveRun
    from crosscam_edge.server.tokens import Caller

T = TypeVar("T")
_WAIT_S = 10.0
_TRIES = 8
_MOST_EVENTS = 1000
_MOST_PICTURES = 200  # a minute's more than the gallery keeps of somebody


class Site:
    """A live run as clients see it. Any thread may ask.

    Args:
        run: The run.
        gallery: What it keeps; None when it keeps nothing.
        path: The gallery's file.
        erase: Takes somebody, by names and where they were, out of what was told; waits.

    Attributes:
        run: As above.
        hub: Its latest records; give each to `Hub.put`.
        view: What its cameras see now, for those who follow.
        searches: By looks.
        map: Where its cameras are, and the ways between them.
    """

    def __init__(
        self,
        run: LiveRun,
        gallery: Gallery | None,
        path: Path,
        hub: Hub,
        *,
        erase: Callable[[Collection[int], Collection[Seen]], None] | None = None,
    ) -> None:
        self.run, self.hub, self._erase_told = run, hub, erase
        self._gallery = gallery
        self._reader = None if gallery is None else Reader(path)
        self._erasing = threading.Lock()
        self.view = View(run.identities.id_of)
        run.watchers.append(self.view.look)
        self.searches = Searches(self)
        self.map = SiteMap(self, path.parent)

    def close(self) -> None:
        """Close what was opened."""
        self.run.watchers.remove(self.view.look)
        self.searches.close()
        if self._reader is not None:
            self._reader.close()

    def cameras(self, caller: Caller) -> list[CameraHealth]:
        """Return the cameras that a caller may know of."""
        return [each for each in self.run.health() if caller.sees(each.camera_id)]

    def knows(self, global_id: int) -> bool:
        """Return whether the run would know somebody again."""
        return global_id in self.run.identities.online.people.by_id

    def search(
        self,
        caller: Caller,
        *,
        camera: str | None,
        since_ns: int | None,
        until_ns: int | None,
        cursor: int | None,
        limit: int,
    ) -> tuple[list[dict[str, Any]], int | None]:
        """Return a page of identities, and where the next one begins."""
        cameras = caller.cameras
        if camera is not None:
            cameras = frozenset({camera}) if caller.sees(camera) else frozenset()
        asked = {"camera": camera, "since_ns": since_ns, "until_ns": until_ns, "cursor": cursor}
        self.note(
            caller,
            "search",
            " ".join(f"{key}={value}" for key, value in asked.items() if value is not None)
            or "all",
        )
        found = self.kept()[1].page(
            limit=limit + 1, before=cursor, since_ns=since_ns, until_ns=until_ns,
            within=cameras, cameras=caller.cameras,
        )  # fmt: skip
        more = found[limit - 1]["global_id"] if len(found) > limit else None
        return [self._with_state(each) for each in found[:limit]], more

    def page_of(self, caller: Caller, global_id: int) -> dict[str, Any]:
        """Return what is known of somebody.

        Raises:
            RefusedError: Nothing that the caller may know of.
        """
        self.note(caller, "look", f"identity {global_id}")
        with self.kept()[1].at_one_time():
            return self._page(caller, global_id)

    def pictures_of(self, caller: Caller, global_id: int) -> list[dict[str, Any]]:
        """Return what is said of the pictures of somebody, best first.

        Raises:
            RefusedError: Nothing that the caller may know of.
        """
        self.note(caller, "look", f"pictures of identity {global_id}")
        reader = self.kept()[1]
        with reader.at_one_time():
            final = reader.resolve(global_id)
            if reader.identity(final, caller.cameras) is None:
                raise no_identity(global_id)
            return reader.pictures(final, limit=_MOST_PICTURES, cameras=caller.cameras)

    def picture(self, caller: Caller, name: str) -> bytes:
        """Return a picture, JPEG.

        Raises:
            RefusedError: It is not there, or the caller may not see it.
        """
        found = self.kept()[1].picture(name, caller.cameras)
        if found is None:
            raise no_picture(name)
        self.note(caller, "look", f"picture {name} of identity {found['global_id']}")
        jpeg: bytes = found["jpeg"]
        return jpeg

    def export(
        self, caller: Caller, global_id: int
    ) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
        """Return what is known of somebody, all columns of their tracklets, and their pictures.

        Raises:
            RefusedError: Nothing that the caller may know of, or the audit cannot be written.
        """
        gallery, reader = self.kept()
        with reader.at_one_time():
            page = self._page(caller, global_id)
            stored = reader.stored(page["global_id"], caller.cameras)
            listed = reader.pictures(page["global_id"], cameras=caller.cameras)
            pictures = [reader.picture(each["name"], caller.cameras) for each in listed]
        self.note(caller, "export", f"identity {page['global_id']}")
        if not gallery.writer.flush():
            raise unavailable("what is exported cannot be noted in the audit now")
        return page, stored, [each for each in pictures if each is not None]

    def merge(self, caller: Caller, global_id: int, into: int) -> int:
        """Take two people for one; returns the id that stays.

        Raises:
            RefusedError: The caller may not know of both, all of what they are, or they are not
                remembered, or cannot be one.
        """
        absorbed, kept = (self._whole(caller, each) for each in (global_id, into))
        stays = self._changed(partial(self.run.merge, absorbed, kept))
        self.note(caller, "merge", f"identity {absorbed} into {kept}")
        return stays

    def split(self, caller: Caller, global_id: int, tracks: Collection[TrackletKey]) -> int:
        """Make tracklets of somebody a person of their own; returns the id of that one.

        Raises:
            RefusedError: As `merge`.
        """
        final = self._whole(caller, global_id)
        new = self._changed(partial(self.run.split, final, tracks))
        shown = ", ".join(f"{key.camera_id}/{key.track_id}" for key in sorted(tracks))
        self.note(caller, "split", f"identity {final}: {shown} to {new}")
        return new

    def _whole(self, caller: Caller, global_id: int) -> int:
        """Return who an id is by now, if the caller may know of all that they are.

        Whoever knows of some cameras only would change what others have seen.
        """
        reader = self.kept()[1]
        with reader.at_one_time():
            final = reader.resolve(global_id)
            found = reader.identity(final, caller.cameras)
            whole = reader.identity(final)
        if found is None or whole is None:
            raise no_identity(global_id)
        if found["tracklets"] != whole["tracklets"]:
            raise RefusedError(
                403,
                "forbidden",
                f"identity {global_id} was not seen by your cameras alone",
                expected="a token of all cameras",
                fix="ask somebody who may see all of them",
            )
        return final

    def _changed(self, work: Callable[[], int]) -> int:
        try:
            return self.ask(work)
        except InputError as error:
            raise RefusedError(
                409, "conflict", error.found, expected=error.expected, fix=error.fix
            ) from error

    def erase(self, caller: Caller, global_id: int) -> dict[str, Any]:
        """Erase somebody: out of the run's memory first, so that nothing is written again.

        The gallery comes last: as long as it knows them, who asks again finds them.

        Raises:
            RefusedError: There is no such person, or it cannot be done now.
        """
        gallery, reader = self.kept()
        with self._erasing:
            final, forgotten = self._forgotten(gallery, reader, global_id)
            names = [final, *reader.names(final)]
            known, count = reader.knows(final), 0
            seen = [
                Seen(TrackletKey(row["camera"], row["track"]), row["start_ns"], row["end_ns"])
                for row in reader.journey(final)
            ]
            if self._erase_told is not None and (known or forgotten):
                try:
                    self._erase_told(names, seen)
                except CrosscamError as error:
                    raise unavailable(error.found) from error
            if known:
                try:
                    with reader.lock:  # whoever reads would keep old pages in the log of writes
                        count = gallery.erase(final, who=caller.name)
                except CrosscamError as error:
                    raise unavailable(error.found) from error
            elif forgotten:
                gallery.audit(caller.name, "erase", f"identity {final}")
            else:
                raise no_identity(global_id)
            self.hub.erase(Erasure.of(names, seen))
            for each in names:
                self.view.forget(each)
            self.ask(partial(self.run.tell_erased, final))
        return {"global_id": final, "tracklets": count, "forgotten": forgotten}

    def _forgotten(self, gallery: Gallery, reader: Reader, global_id: int) -> tuple[int, bool]:
        """Have the run forget somebody; returns who that is, and whether it knew them.

        While the request waits for its turn they may be merged into somebody else. Once they are
        forgotten they cannot be.
        """
        for _ in range(_TRIES):
            if not gallery.writer.flush():
                raise unavailable("the gallery cannot be written now")
            final = reader.resolve(global_id)
            tracks = [TrackletKey(row["camera"], row["track"]) for row in reader.journey(final)]
            forgotten = self.ask(partial(self.run.forget, final, tracks))
            if not gallery.writer.flush():
                raise unavailable("the gallery cannot be written now")
            if reader.resolve(global_id) == final:
                return final, forgotten
        raise unavailable(f"identity {global_id} changes too quickly")

    def _page(self, caller: Caller, global_id: int) -> dict[str, Any]:
        reader = self.kept()[1]
        final = reader.resolve(global_id)
        found = reader.identity(final, caller.cameras)
        if found is None:
            raise no_identity(global_id)
        events = reader.events(final, limit=_MOST_EVENTS, cameras=caller.cameras)
        if caller.cameras is not None:
            hidden: Mapping[str, None] = {"other_id": None, "runner_up": None, "runner_up_id": None}
            # What moved away from this person went to somebody who may have been elsewhere.
            events = [{**each, **hidden} for each in events if each["global_id"] == final]
        return {
            **self._with_state(found),
            "asked_for": global_id,
            "merged": final != global_id,
            "names": reader.names(final) if caller.cameras is None else [],
            "journey": reader.journey(final, caller.cameras),
            "events": events,
        }

    def _with_state(self, found: dict[str, Any]) -> dict[str, Any]:
        return {**found, "state": "known" if self.knows(found["global_id"]) else "forgotten"}

    def kept(self) -> tuple[Gallery, Reader]:
        """Return what the run keeps.

        Raises:
            RefusedError: It keeps nobody.
        """
        if self._gallery is None or self._reader is None:
            raise RefusedError(
                409,
                "nothing_kept",
                "this run keeps nobody",
                expected="a run with a gallery",
                fix="crosscam run with --keep-days above 0",
            )
        return self._gallery, self._reader

    def audit_rows(self) -> tuple[int, int]:
        """Return how many rows of the audit are kept, and how many were let go."""
        return (0, 0) if self._reader is None else self._reader.audit_rows()

    @property
    def gallery(self) -> Gallery | None:
        """What the run keeps; None when it keeps nobody."""
        return self._gallery

    @property
    def reader(self) -> Reader | None:
        """Reads what the run keeps; None when it keeps nobody."""
        return self._reader

    def watched(self, caller: Caller, what: str, action: str = "follow") -> None:
        """Note what somebody does that needs nobody to be kept: looks, follows, draws the map."""
        if self._gallery is not None:
            self._gallery.audit(caller.name, action, what)

    def note(self, caller: Caller, action: str, detail: str) -> None:
        """Note who has asked for what."""
        self.kept()[0].audit(caller.name, action, detail)

    def ask(self, work: Callable[[], T]) -> T:
        """Have something done by the run's thread; returns what it returned.

        Raises:
            RefusedError: The run does not come round to it.
        """
        asked = self.run.ask(work)
        try:
            return asked.result(_WAIT_S)
        except TookTooLong:
            if asked.cancel():
                raise unavailable("the run does not come round to it") from None
            return asked.result()  # it has begun
