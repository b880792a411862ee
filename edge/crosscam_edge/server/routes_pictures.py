"""Routes about the pictures that are kept of people."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from crosscam_edge.server import models
from crosscam_edge.server.access import Viewer
from crosscam_edge.server.routes import PREFIX, REFUSALS, GlobalId, TheSite

router = APIRouter(prefix=PREFIX, responses=REFUSALS)
Name = Annotated[str, Path(pattern="^[0-9]{1,18}$", description="name of a picture")]


@router.get("/identities/{global_id}/pictures")
def pictures(global_id: GlobalId, caller: Viewer, site: TheSite) -> models.Pictures:
    """Tell which pictures of somebody there are, those of best quality first."""
    found = site.pictures_of(caller, global_id)
    return models.Pictures(pictures=[models.Picture(**each) for each in found])


@router.get(
    "/pictures/{name}", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}}
)
def picture(name: Name, caller: Viewer, site: TheSite) -> Response:
    """Return a picture of a person."""
    return Response(site.picture(caller, name), media_type="image/jpeg")
