"""`crosscam build`: the file that runs best on a machine, and what it costs.

A `targets.Target` says which engines and precisions a box has, `plan` what will be built and tried
for it, `run` does that: it builds each, verifies all of them and keeps the fastest that may be
used.
"""

from __future__ import annotations

from crosscam_deploy.building.plan import Plan, Step, make_plan
from crosscam_deploy.building.run import Built, build
from crosscam_deploy.building.targets import TARGETS, Target, find_target

__all__ = ["TARGETS", "Built", "Plan", "Step", "Target", "build", "find_target", "make_plan"]
