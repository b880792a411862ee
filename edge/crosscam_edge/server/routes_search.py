"""Routes that find people by what they look like."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from crosscam_edge.config.strict import CAMERA_ID
from crosscam_edge.server import models
from crosscam_edge.server.access import Operator
from crosscam_edge.server.errors import RefusedError, unavailable
from crosscam_edge.server.routes import MOST_ID, PREFIX, REFUSALS, GlobalId, TheSite
from crosscam_edge.server.upload import KINDS
from crosscam_edge.types import TrackletKey

router = APIRouter(prefix=PREFIX, responses=REFUSALS)
Limit = Annotated[int, Query(ge=1, le=100, description="at most so many")]
_PICTURE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "JPEG, PNG or WebP of 8 MiB and 25 million pixels at most",
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in KINDS},
    }
}


@router.get("/identities/{global_id}/similar")
def similar(
    global_id: GlobalId,
    caller: Operator,
    site: TheSite,
    limit: Limit = 20,
    camera: Annotated[
        str | None, Query(pattern=CAMERA_ID, description="with `track`: one stay of theirs alone")
    ] = None,
    track: Annotated[int | None, Query(ge=1, le=MOST_ID, description="see `camera`")] = None,
) -> models.Matches:
    """Tell who else looks like somebody, by the looks that are kept.

    With `camera` and `track` like they did in that stay alone: one that may be somebody else's.
    """
    if (camera is None) != (track is None):
        raise RefusedError(
            422, "invalid", "one of 'camera' and 'track' is missing", expected="both, or neither"
        )
    stay = None if camera is None or track is None else TrackletKey(camera, track)
    found = site.searches.like_person(caller, global_id, limit, stay)
    return models.Matches(matches=[models.Match(**each) for each in found])


@router.post("/search/picture", openapi_extra=_PICTURE)
async def search_picture(
    request: Request,
    caller: Operator,
    site: TheSite,
    limit: Limit = 20,
    crop: Annotated[
        bool | None,
        Query(description="whether it is one person from edge to edge; found out if left out"),
    ] = None,
) -> models.PictureMatches:
    """Tell who looks like somebody in a picture, by the looks that are kept.

    A picture of one person from edge to edge is taken as it is. In any other one people are looked
    for, and the largest is taken. The picture is not kept.
    """
    uploads = request.app.state.uploads
    if not uploads.enter():
        raise unavailable("too many pictures are being sent already")
    try:
        data = await request.body()
        found, seen = await run_in_threadpool(site.searches.like_picture, caller, data, crop, limit)
    finally:
        uploads.leave()
    return models.PictureMatches(
        matches=[models.Match(**each) for each in found],
        person=models.Chosen(box=seen.box, people=seen.people, confidence=seen.confidence),
    )


@router.post("/search/text")
def search_text(
    body: models.Words, caller: Operator, site: TheSite, limit: Limit = 20
) -> models.Matches:
    """Tell who looks as words say; only where the run's model is a CLIP model with a text tower.

    Similarities of words and pictures are far lower than those of two pictures.
    """
    found = site.searches.like_words(caller, body.text, limit)
    return models.Matches(matches=[models.Match(**each) for each in found])
