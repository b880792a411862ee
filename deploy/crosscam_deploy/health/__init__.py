"""What is installed, what is missing and what really runs here: the checks of `crosscam doctor`."""

from __future__ import annotations

from crosscam_deploy.health.check import Check, Status
from crosscam_deploy.health.run import can_run, run_checks

__all__ = ["Check", "Status", "can_run", "run_checks"]
