"""Who was seen, kept over restarts, and forgotten when it is time."""

from __future__ import annotations

from crosscam_edge.gallery.reader import Reader
from crosscam_edge.gallery.store import Gallery, Restored

__all__ = ["Gallery", "Reader", "Restored"]
