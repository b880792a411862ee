"""Routes about the map: where cameras are, and how long the ways between them take."""

from __future__ import annotations

from fastapi import APIRouter

from crosscam_edge.gallery.topology import Given
from crosscam_edge.server import models
from crosscam_edge.server.access import Admin, Viewer
from crosscam_edge.server.routes import PREFIX, REFUSALS, TheSite

router = APIRouter(prefix=PREFIX, responses=REFUSALS)


@router.get("/topology")
def topology(caller: Viewer, site: TheSite) -> models.Topology:
    """Tell where cameras are, and how long people took from one to the next."""
    return models.Topology.model_validate(site.map.seen_by(caller))


@router.put("/topology")
def put_topology(body: Given, caller: Admin, site: TheSite) -> models.Topology:
    """Keep positions and given ways, all of them: what is not there any more is forgotten.

    A given way counts when people are told apart: who comes in less than half of `p05_s` is less
    likely to be the one who left, until quicker ones are seen.
    """
    site.map.put(caller, body)
    return models.Topology.model_validate(site.map.seen_by(caller))
