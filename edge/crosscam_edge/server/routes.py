"""The routes of the interface."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from crosscam_edge.config.strict import CAMERA_ID
from crosscam_edge.live.camera import CameraHealth
from crosscam_edge.server import models
from crosscam_edge.server.access import Admin, Operator, Shown, Viewer
from crosscam_edge.server.errors import ErrorAnswer, no_camera, unavailable
from crosscam_edge.server.metrics import CONTENT_TYPE, metrics_text
from crosscam_edge.server.site import Site
from crosscam_edge.server.stream import EventStream
from crosscam_edge.server.tokens import Caller, Role
from crosscam_edge.types import TrackletKey

PREFIX = "/api/v1"
MOST_ID = (1 << 63) - 1
REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorAnswer, "description": meaning}
    for code, meaning in {
        401: "no token, or a wrong one",
        403: "the token's role does not do",
        404: "nothing there that the caller may know of",
        408: "a body that came too slowly",
        409: "the run keeps nobody, or it cannot be as asked",
        411: "a body of unknown length",
        413: "a body that is too large",
        421: "another host was meant",
        422: "a parameter is wrong",
        429: "too many requests, or wrong tokens",
        503: "not now",
    }.items()
}
open_router = APIRouter(prefix=PREFIX, responses={429: REFUSALS[429]})
router = APIRouter(prefix=PREFIX, responses=REFUSALS)


def the_site(request: Request) -> Site:
    """Return the run that the application is of."""
    site: Site = request.app.state.site
    return site


TheSite = Annotated[Site, Depends(the_site)]
GlobalId = Annotated[int, Path(ge=1, le=MOST_ID, description="id of a person")]
CameraId = Annotated[str, Path(pattern=CAMERA_ID, description="name of a camera")]
Time = Annotated[int | None, Query(ge=-MOST_ID, le=MOST_ID)]


@open_router.get("/health")
def health() -> models.Health:
    """Tell that the interface is up, and nothing else; needs no token."""
    return models.Health()


@router.get("/cameras")
def cameras(caller: Viewer, site: TheSite) -> models.Cameras:
    """Tell how the cameras are."""
    return models.Cameras(cameras=[_camera(each, caller, site) for each in site.cameras(caller)])


@router.get("/cameras/{camera_id}")
def camera(camera_id: CameraId, caller: Viewer, site: TheSite) -> models.Camera:
    """Tell how a camera is."""
    for each in site.cameras(caller):
        if each.camera_id == camera_id:
            return _camera(each, caller, site)
    raise no_camera(camera_id)


def _camera(found: CameraHealth, caller: Caller, site: Site) -> models.Camera:
    return models.Camera(
        id=found.camera_id,
        state=found.state.value,
        fault=None if found.fault is None else found.fault.value,
        detail=found.detail,
        fix=found.fix,
        since_ns=found.since_ns,
        address=found.address if caller.role.covers(Role.OPERATOR) else None,
        failures=found.failures,
        connections=found.connections,
        received=found.received,
        dropped=found.dropped,
        looked_at=site.run.looked_at().get(found.camera_id, 0),
        broken=site.run.failures().get(found.camera_id, 0),
        frame_rate=found.frame_rate,
        last_ns=found.last_ns,
        size=found.size,
        size_changes=found.size_changes,
        look_rate=found.look_rate,
        pace=found.pace.value,
        stream=models.Stream.model_validate(found.stream, from_attributes=True),
        clock=models.Clock.model_validate(found.clock, from_attributes=True),
    )


@router.get("/identities")
def identities(
    caller: Viewer,
    site: TheSite,
    camera: Annotated[
        str | None, Query(pattern=CAMERA_ID, description="only who was seen by this camera")
    ] = None,
    since_ns: Annotated[Time, Query(description="only who was seen then or later")] = None,
    until_ns: Annotated[Time, Query(description="only who was seen then or earlier")] = None,
    cursor: Annotated[
        int | None, Query(ge=1, le=MOST_ID, description="`next` of the page before")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="at most so many")] = 50,
) -> models.Identities:
    """Search the people who are kept: those whose id is newest first."""
    found, more = site.search(
        caller, camera=camera, since_ns=since_ns, until_ns=until_ns, cursor=cursor, limit=limit
    )
    return models.Identities(identities=[models.Identity(**each) for each in found], next=more)


@router.get("/identities/{global_id}")
def identity(global_id: GlobalId, caller: Viewer, site: TheSite) -> models.IdentityPage:
    """Tell where somebody was; an id that was merged is followed to who that is now."""
    return models.IdentityPage(**site.page_of(caller, global_id))


@router.get("/identities/{global_id}/export")
def export(global_id: GlobalId, caller: Operator, site: TheSite) -> models.Export:
    """Take out all that is kept of somebody, looks included."""
    page, rows, pictures = site.export(caller, global_id)
    blobs = ("boxes", "embeddings", "times", "qualities")
    return models.Export(
        identity=models.IdentityPage(**page),
        tracklets=[
            models.StoredTracklet(
                **{key: value for key, value in row.items() if key not in (*blobs, "global_id")},
                **{key: models.base64_of(row[key]) for key in blobs},
            )
            for row in rows
        ],
        pictures=[
            models.StoredPicture(**{**each, "jpeg": models.base64_of(each["jpeg"])})
            for each in pictures
        ],
    )


@router.post("/identities/{global_id}/merge")
def merge(
    global_id: GlobalId, body: models.Into, caller: Operator, site: TheSite
) -> models.Changed:
    """Take somebody for the same person as somebody else, for good: no review undoes it."""
    return models.Changed(global_id=site.merge(caller, global_id, body.into))


@router.post("/identities/{global_id}/split")
def split(
    global_id: GlobalId, body: models.Tracks, caller: Operator, site: TheSite
) -> models.Changed:
    """Make tracklets of somebody a person of their own, for good: no review undoes it."""
    keys = {TrackletKey(each.camera, each.track) for each in body.tracklets}
    return models.Changed(global_id=site.split(caller, global_id, keys))


@router.delete("/identities/{global_id}")
def erase(global_id: GlobalId, caller: Admin, site: TheSite) -> models.Erased:
    """Erase everything about somebody: in the gallery, and in what the run remembers.

    Where they are still in a picture they have no id until they have left it.
    """
    return models.Erased(**site.erase(caller, global_id))


@router.get(
    "/events", response_class=Response, responses={200: {"content": {"text/event-stream": {}}}}
)
async def events(
    request: Request,
    caller: Viewer,
    shown: Shown,
    site: TheSite,
    last_event_id: Annotated[
        str | None, Header(max_length=64, description="go on after this one")
    ] = None,
) -> Response:
    """Follow what happens, as server-sent events.

    `identity`, `camera` and `model` are those of events.jsonl. `missed` says that the client was
    too slow, or away for too long: what came before is in the gallery.
    """
    state = request.app.state
    if not state.followers.enter():
        raise unavailable("too many follow the events already")
    site.watched(caller, "events")
    token = None if shown is None else shown.credentials
    return EventStream(
        site.hub,
        caller,
        last_event_id,
        state.followers,
        lambda: state.access.still(token, caller),
        state.send_s,
    )


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(request: Request, caller: Viewer, site: TheSite) -> Response:
    """Tell the figures of the run as Prometheus reads them."""
    state = request.app.state
    text = metrics_text(site, caller, state.dropped, slow=state.slow, pace=state.pace)
    return Response(text, media_type=CONTENT_TYPE)
