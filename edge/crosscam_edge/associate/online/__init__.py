"""Association while the cameras run."""

from __future__ import annotations

from crosscam_edge.associate.online.association import OnlineAssociation
from crosscam_edge.associate.online.types import EventKind, IdentityEvent, OnlineConfig

__all__ = ["EventKind", "IdentityEvent", "OnlineAssociation", "OnlineConfig"]
