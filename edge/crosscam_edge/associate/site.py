"""What a site file says about its cameras, as association wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam_edge.associate.config import AssociationConfig
from crosscam_edge.config.relations import least_transits, pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscam_edge.associate.learned import Learned
    from crosscam_edge.config import CameraConfig


def site_knowledge(
    cameras: Sequence[CameraConfig], learned: Learned | None = None
) -> AssociationConfig:
    """Return what is known of the cameras of a run, and of no others.

    Args:
        cameras: Those of the run; each has an id.
        learned: What earlier footage of the site has shown.
    """
    names = {str(camera.id) for camera in cameras}
    overlapping, separate = (
        frozenset(pair for pair in pairs(cameras, key) if pair <= names)
        for key in ("overlaps_with", "never_overlaps_with")
    )
    least = {way: s for way, s in least_transits(cameras).items() if names.issuperset(way)}
    return AssociationConfig(
        overlapping=overlapping, separate=separate, least_transit_s=least, learned=learned
    )
