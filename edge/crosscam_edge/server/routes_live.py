"""Routes about the run as it is now: what cameras see, who asks, how it is set up."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from crosscam_edge.config.strict import CAMERA_ID
from crosscam_edge.server import models
from crosscam_edge.server.access import Admin, Shown, Viewer
from crosscam_edge.server.errors import no_camera, unavailable
from crosscam_edge.server.pictures_stream import PictureStream
from crosscam_edge.server.routes import PREFIX, REFUSALS, TheSite
from crosscam_edge.server.settings import shown_settings

router = APIRouter(prefix=PREFIX, responses=REFUSALS)
_NAMES = f"{CAMERA_ID[:-1]}(,{CAMERA_ID[1:-1]})*$"


@router.get("/me")
def me(caller: Viewer, site: TheSite) -> models.Me:
    """Tell who asks, as the interface knows them, and whether words find people."""
    cameras = None if caller.cameras is None else sorted(caller.cameras)
    words = site.searches.knows_words()
    return models.Me(name=caller.name, role=caller.role.value, cameras=cameras, words=words)


@router.get("/settings")
def settings(caller: Admin, site: TheSite) -> models.Settings:
    """Tell the configuration as it runs; secrets are left out."""
    return models.Settings(settings=shown_settings(site.run.settings))


@router.get(
    "/live",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
async def live(
    request: Request,
    caller: Viewer,
    shown: Shown,
    site: TheSite,
    cameras: Annotated[
        str | None,
        Query(pattern=_NAMES, max_length=16_640, description="names, with commas; all if left out"),
    ] = None,
    fps: Annotated[float, Query(gt=0, le=25, description="of each camera, at most")] = 5.0,
    height: Annotated[
        int, Query(ge=64, le=2160, description="of the pictures at most, pixels")
    ] = 360,
) -> Response:
    """Follow what cameras see, with boxes and ids: a stream of frames that never ends.

    A frame is four bytes (big-endian) with the length of its header, the header in JSON, and a JPEG
    of `jpeg` bytes. The header has `camera`, `ns` (when it was taken), `width` and `height` (of the
    camera's own picture), `jpeg`, and `people`: `track`, `global_id` (null while it is not known)
    and `box` (`[x1, y1, x2, y2]`, in pixels of the camera's own picture). Without new pictures
    there is a frame with `"camera": null, "jpeg": 0` every few seconds.
    """
    wanted = None if cameras is None else frozenset(cameras.split(","))
    known = {each.camera_id for each in site.cameras(caller)}
    for each in sorted((wanted or frozenset()) - known):
        raise no_camera(each)
    state = request.app.state
    if not state.viewers.enter():
        raise unavailable("too many look at the pictures already")
    site.watched(caller, "pictures of " + ("all" if wanted is None else ", ".join(sorted(wanted))))
    token = None if shown is None else shown.credentials
    return PictureStream(
        site.view,
        caller.sees,
        wanted,
        fps=fps,
        height=height,
        followers=state.viewers,
        allowed=lambda: state.access.still(token, caller),
        send_s=state.send_s,
    )
