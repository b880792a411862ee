"""The application: routes, who may use them, and what guards them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI

from crosscam_edge.server.access import Access
from crosscam_edge.server.errors import handle_errors
from crosscam_edge.server.following import SEND_S, Followers
from crosscam_edge.server.guard import LOOPBACK, Guard
from crosscam_edge.server.limits import Attempts
from crosscam_edge.server.patience import Slow
from crosscam_edge.server.routes import PREFIX, open_router, router
from crosscam_edge.server.routes_live import router as live_router
from crosscam_edge.server.routes_map import router as map_router
from crosscam_edge.server.routes_pictures import router as pictures_router
from crosscam_edge.server.routes_search import router as search_router
from crosscam_edge.server.upload import MOST_BYTES
from crosscam_edge.server.web import console_routes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from crosscam_edge.server.site import Site
    from crosscam_edge.server.tokens import Keyring

_VIEWERS = 8  # each has pictures of its own size encoded, at most
_UPLOADS = 4  # pictures that are sent at a time: they are in memory
_BURST, _PAUSE_S = 600, 0.02  # a page of the console asks for a hundred pictures at once


def make_app(
    site: Site,
    keyring: Keyring | None,
    *,
    loopback: bool,
    dropped: Callable[[], Mapping[str, int]] = dict,
    send_s: float = SEND_S,
    pace: Attempts | None = None,
) -> FastAPI:
    """Return the application of a run.

    Args:
        site: The run.
        keyring: Who may ask; None lets everybody look.
        loopback: Whether it is reached from this machine alone; then only its names do as hosts.
        dropped: Records that were dropped, by where they should have gone.
        send_s: A client that follows and takes nothing for longer is dropped.
        pace: How many requests each address may send; 600 at once and 50 a second if not given.
    """
    app = FastAPI(
        title="crosscam",
        version="1",
        summary="One identity per person, across every camera of a live site.",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.site = site
    app.state.access = Access(keyring)
    app.state.dropped = dropped
    app.state.followers = Followers()
    app.state.viewers = Followers(_VIEWERS)
    app.state.send_s = send_s
    app.state.uploads = Followers(_UPLOADS)
    app.state.slow = Slow()
    app.state.pace = Attempts(_BURST, _PAUSE_S) if pace is None else pace
    app.include_router(open_router)
    app.include_router(router)
    app.include_router(live_router)
    app.include_router(pictures_router)
    app.include_router(search_router)
    app.include_router(map_router)
    app.router.routes.extend(console_routes())
    handle_errors(app)
    app.add_middleware(
        Guard,
        hosts=LOOPBACK if loopback else None,
        slow=app.state.slow,
        pace=app.state.pace,
        larger={("POST", f"{PREFIX}/search/picture"): MOST_BYTES},
    )
    return app
