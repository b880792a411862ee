"""Who was seen, kept over restarts, and forgotten when it is time."""

from __future__ import annotations

from crosscam_edge.gallery.pictures import Pictures
from crosscam_edge.gallery.reader import Reader
from crosscam_edge.gallery.store import AuditBound, Gallery, Restored

__all__ = ["AuditBound", "Gallery", "Pictures", "Reader", "Restored"]
