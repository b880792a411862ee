"""The map of a site: what somebody gave, what was learned, and who may know of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from crosscam_edge.gallery.topology import GivenFile, learned_links
from crosscam_edge.server.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_edge.gallery.topology import Given
    from crosscam_edge.server.site import Site
    from crosscam_edge.server.tokens import Caller

_MOST = 20_000  # tracklets, the newest, from which ways are learned


class SiteMap:
    """Where cameras are, and the ways between them. Any thread may ask.

    Args:
        site: Whose.
        folder: Of the run; what is given is kept there.

    Raises:
        InputError: What was kept there is damaged.
    """

    def __init__(self, site: Site, folder: Path) -> None:
        self._site, self._file = site, GivenFile(folder)

    def seen_by(self, caller: Caller) -> dict[str, Any]:
        """Return cameras and ways that a caller may know of, as their cameras have seen people."""
        given, names = self._file.given, [each.camera_id for each in self._site.cameras(caller)]
        places = {each.id: each for each in given.cameras}
        reader = self._site.reader
        transits = {} if reader is None else reader.transits(limit=_MOST, cameras=caller.cameras)
        now = set(names)
        return {
            "cameras": [
                {"id": name, "x": place.x if place else None, "y": place.y if place else None}
                for name in names
                for place in [places.get(name)]
            ],
            "links": [
                *learned_links({way: each for way, each in transits.items() if now >= {*way}}),
                *(
                    {**each.model_dump(by_alias=True), "count": 0}
                    for each in given.links
                    if now >= {each.start, each.end}
                ),
            ],
        }

    def put(self, caller: Caller, given: Given) -> None:
        """Keep what somebody gives instead of what was there, and let the association know.

        What was given of cameras that are not watched at present stays: nobody sees it here.

        Raises:
            RefusedError: It names a camera that is not there, or the run does not come round to it.
            RunError: It cannot be written.
        """
        names = {each.camera_id for each in self._site.run.health()}
        for each in sorted(given.names() - names):
            raise RefusedError(
                422,
                "invalid",
                f"there is no camera '{each}'",
                expected="cameras that are watched now",
                fix="GET /api/v1/topology lists them",
            )
        kept = self._file.write(given, names)
        self._site.watched(caller, "topology", "change")
        self._site.ask(partial(self._use, kept))

    def _use(self, given: Given) -> None:
        online = self._site.run.identities.online
        online.site = given.applied(online.site)
