"""People of one camera: from detections to tracks, tracklets and joined fragments."""

from crosscam_edge.track.config import TrackerConfig
from crosscam_edge.track.tracker import EndedTrack, FrameDetails, Tracker
from crosscam_edge.track.tracklets import TrackletBuilder

__all__ = ["EndedTrack", "FrameDetails", "Tracker", "TrackerConfig", "TrackletBuilder"]
