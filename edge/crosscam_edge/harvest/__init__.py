"""From a run to pictures to learn from: labels that hold inside each camera, for free."""

from __future__ import annotations

from crosscam_edge.harvest.choose import Chosen, HarvestOptions, choose
from crosscam_edge.harvest.write import Harvest, harvest

__all__ = ["Chosen", "Harvest", "HarvestOptions", "choose", "harvest"]
