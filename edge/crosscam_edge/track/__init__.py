"""People of one camera: from detections to tracks, tracklets and joined fragments."""

from crosscam_edge.track.config import TrackerConfig
from crosscam_edge.track.gaps import TrackRow
from crosscam_edge.track.link import LinkConfig, link
from crosscam_edge.track.looks import FrameDetails
from crosscam_edge.track.person import EndedTrack
from crosscam_edge.track.refine import RefineConfig
from crosscam_edge.track.runner import CameraTracking, Verdict, apply_verdict
from crosscam_edge.track.tracker import Tracker
from crosscam_edge.track.tracklets import TrackletBuilder

__all__ = [
    "CameraTracking",
    "EndedTrack",
    "FrameDetails",
    "LinkConfig",
    "RefineConfig",
    "TrackRow",
    "Tracker",
    "TrackerConfig",
    "TrackletBuilder",
    "Verdict",
    "apply_verdict",
    "link",
]
